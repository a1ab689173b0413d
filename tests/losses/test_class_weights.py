from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from fsgl.losses.class_weights import effective_number_weights, power_class_weights

COUNTS = st.lists(st.integers(1, 6000), min_size=1, max_size=30)


@given(COUNTS, st.floats(-2, 3))
def test_against_loops(counts: list[int], power: float) -> None:
    total = 0.0
    for n in counts:
        total += n**-power
    expected = [len(counts) * n**-power / total for n in counts]
    weights = power_class_weights(counts, power)
    assert weights.dtype == torch.float64
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-12)


@given(COUNTS, st.floats(0, 3), st.integers(2, 9))
def test_mean_is_one_and_only_ratios_count(counts: list[int], power: float, factor: int) -> None:
    weights = power_class_weights(counts, power)
    assert weights.mean().item() == pytest.approx(1)
    order = np.argsort(counts, kind="stable")
    assert (np.diff(weights.numpy()[order]) <= 1e-12).all()
    scaled = power_class_weights([n * factor for n in counts], power)
    torch.testing.assert_close(scaled, weights, rtol=1e-12, atol=0)


@given(COUNTS)
def test_power_zero_is_all_ones(counts: list[int]) -> None:
    assert power_class_weights(counts, 0.0).tolist() == [1.0] * len(counts)


@given(st.integers(1, 500), st.integers(1, 30), st.floats(-3, 3))
def test_balanced_classes_weigh_the_same(count: int, classes: int, power: float) -> None:
    assert power_class_weights([count] * classes, power).tolist() == [1.0] * classes


def test_power_one_is_scikit_learns_balanced_up_to_scale() -> None:
    counts = [7, 100, 3, 40]
    labels = np.repeat(np.arange(4), counts)
    balanced = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    np.testing.assert_allclose(power_class_weights(counts, 1.0).numpy(), balanced / balanced.mean(), rtol=1e-12)


def test_permuting_classes_permutes_the_weights() -> None:
    counts, order = torch.tensor([7, 100, 3, 40]), torch.tensor([2, 0, 3, 1])
    permuted = power_class_weights(counts[order], 1.2)
    torch.testing.assert_close(permuted, power_class_weights(counts, 1.2)[order], rtol=1e-14, atol=0)


@pytest.mark.parametrize("power", [150.0, 400.0, -150.0])
def test_a_large_power_leaves_all_the_weight_to_one_class(power: float) -> None:
    expected = [2.0, 0.0] if power > 0 else [0.0, 2.0]
    assert power_class_weights([1, 1000], power).tolist() == expected


@pytest.mark.parametrize("counts", [[3, 0, 0], [3, -1, 2]])
def test_a_class_without_images_is_refused(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="class 1 has no image"):
        power_class_weights(counts, 1.0)


@given(COUNTS, st.floats(0, 0.9999))
def test_effective_number_against_a_sum(counts: list[int], beta: float) -> None:
    """The effective number is 1 + beta + ... + beta^(n - 1) (Cui et al., proposition 1)."""
    inverse = [1 / sum(beta**i for i in range(n)) for n in counts]
    expected = [len(counts) * value / sum(inverse) for value in inverse]
    np.testing.assert_allclose(effective_number_weights(counts, beta), expected, rtol=1e-9)


def test_effective_number_at_its_ends() -> None:
    assert effective_number_weights([9, 3], 0.0).tolist() == [1.0, 1.0]
    nearly_one = effective_number_weights([9, 3], 1 - 1e-12)
    np.testing.assert_allclose(nearly_one, power_class_weights([9, 3], 1.0), rtol=1e-6)
    for beta in (-0.1, 1.0):
        with pytest.raises(ValueError, match="beta must be"):
            effective_number_weights([9, 3], beta)
    with pytest.raises(ValueError, match="class 1 has no image"):
        effective_number_weights([9, 0], 0.9)
