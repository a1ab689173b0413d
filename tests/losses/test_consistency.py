from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fsgl.losses.consistency import consistency

SEEDS = st.integers(0, 2**32)


def four(seed: int = 0, batch: int = 5, width: int = 3) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, width, generator=random, dtype=torch.float64) for _ in range(4)]


def by_hand(p_g: np.ndarray, z_l: np.ndarray, p_l: np.ndarray, z_g: np.ndarray) -> float:
    total = 0.0
    for p, z in ((p_g, z_l), (p_l, z_g)):
        for first, second in zip(p, z, strict=True):
            dot = sum(a * b for a, b in zip(first, second, strict=True))
            total -= dot / math.sqrt(sum(a * a for a in first)) / math.sqrt(sum(b * b for b in second))
    return total / len(p_g)


@given(SEEDS)
def test_against_loops(seed: int) -> None:
    vectors = four(seed)
    assert consistency(*vectors).item() == pytest.approx(by_hand(*(v.numpy() for v in vectors)), rel=1e-10, abs=1e-12)


def test_projections_get_no_gradient_and_predictions_get_the_whole() -> None:
    leaves = [vector.requires_grad_() for vector in four()]
    consistency(*leaves).backward()
    p_g, z_l, p_l, z_g = leaves
    assert z_l.grad is None
    assert z_g.grad is None
    step = 1e-6
    for place, leaf in ((0, p_g), (2, p_l)):
        assert leaf.grad is not None
        for index in np.ndindex(5, 3):
            values = []
            for sign in (1, -1):
                moved = [vector.detach().numpy().copy() for vector in leaves]
                moved[place][index] += sign * step
                values.append(by_hand(*moved))
            assert leaf.grad[index].item() == pytest.approx((values[0] - values[1]) / (2 * step), abs=1e-8)


@given(SEEDS, st.floats(1e-3, 1e3))
def test_lengths_do_not_matter_and_views_are_alike(seed: int, scale: float) -> None:
    p_g, z_l, p_l, z_g = four(seed)
    found = consistency(p_g, z_l, p_l, z_g).item()
    assert -2 <= found <= 2
    assert consistency(p_g * scale, z_l, p_l, z_g / scale).item() == pytest.approx(found, abs=1e-9)
    assert consistency(p_l, z_g, p_g, z_l).item() == pytest.approx(found, abs=1e-12)


def test_ends_of_the_range() -> None:
    _, z_l, _, z_g = four()
    assert consistency(z_l, z_l, z_g, z_g).item() == pytest.approx(-2)
    assert consistency(-z_l, z_l, -z_g, z_g).item() == pytest.approx(2)


def test_a_zero_vector_is_no_nan() -> None:
    p_g, z_l, p_l, z_g = four()
    leaf = torch.zeros_like(p_g).requires_grad_()
    found = consistency(leaf, z_l, p_l, torch.zeros_like(z_g))
    found.backward()
    assert found.item() == 0
    assert leaf.grad is not None
    assert torch.isfinite(leaf.grad).all()
