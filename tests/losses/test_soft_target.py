from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.special
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fsgl.losses.soft_target import soft_cross_entropy

LOGITS = arrays(np.float64, (4, 3), elements=st.floats(-50, 50))
TARGETS = arrays(np.float64, (4, 3), elements=st.floats(0, 3))


@given(LOGITS, TARGETS)
def test_against_loops(logits: np.ndarray, target: np.ndarray) -> None:
    """Rows of the target need not sum to 1."""
    total = 0.0
    for i in range(4):
        normaliser = scipy.special.logsumexp(logits[i])
        for k in range(3):
            total -= target[i, k] * (logits[i, k] - normaliser)
    found = soft_cross_entropy(torch.from_numpy(logits), torch.from_numpy(target))
    assert found.item() == pytest.approx(total / 4, rel=1e-12, abs=1e-12)


def test_one_hot_rows_give_torchs_cross_entropy() -> None:
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([4, 0, 1, 1, 3, 2])
    found = soft_cross_entropy(logits, F.one_hot(labels, 5).double())
    torch.testing.assert_close(found, F.cross_entropy(logits, labels), rtol=1e-14, atol=0)


def test_equal_logits_cost_log_k() -> None:
    target = torch.tensor([[0.25, 0.75, 0, 0]], dtype=torch.float64)
    assert soft_cross_entropy(torch.full((1, 4), 7.0, dtype=torch.float64), target).item() == pytest.approx(math.log(4))


@given(LOGITS, TARGETS)
def test_gradient_is_total_weight_times_softmax_less_target(logits: np.ndarray, target: np.ndarray) -> None:
    leaf = torch.from_numpy(logits).requires_grad_()
    soft_cross_entropy(leaf, torch.from_numpy(target)).backward()
    expected = (target.sum(axis=1, keepdims=True) * scipy.special.softmax(logits, axis=1) - target) / 4
    assert leaf.grad is not None
    np.testing.assert_allclose(leaf.grad.numpy(), expected, rtol=1e-10, atol=1e-12)


def test_large_logits_neither_overflow_nor_become_nan() -> None:
    logits = torch.tensor([[1e30, -1e30], [-1e30, 1e30]])
    assert soft_cross_entropy(logits, torch.eye(2)).item() == 0
    assert torch.isfinite(soft_cross_entropy(logits * 1e-27, torch.eye(2).flip(0)))


def test_permuting_classes_changes_nothing() -> None:
    random = torch.Generator().manual_seed(1)
    logits, target = (torch.rand(3, 6, generator=random, dtype=torch.float64) for _ in range(2))
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    found = soft_cross_entropy(logits[:, order], target[:, order])
    torch.testing.assert_close(found, soft_cross_entropy(logits, target), rtol=1e-14, atol=0)


def test_shapes_that_would_broadcast_are_refused() -> None:
    for shape in ((2, 1), (3,), (1, 3)):
        with pytest.raises(ValueError, match="differ in shape"):
            soft_cross_entropy(torch.randn(2, 3), torch.rand(shape))
