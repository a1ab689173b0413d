from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import sigmoid_focal_loss

from fsgl.losses.focal import focal_loss


def logits(classes: int = 5) -> torch.Tensor:
    return 4 * torch.randn(7, classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def targets(classes: int = 5) -> torch.Tensor:
    return torch.eye(classes, dtype=torch.float64)[torch.arange(7) % classes]


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_against_a_loop(gamma: float) -> None:
    total = 0.0
    for row, label in zip(logits().tolist(), targets().argmax(1).tolist(), strict=True):
        p = math.exp(row[label]) / sum(math.exp(value) for value in row)
        total -= (1 - p) ** gamma * math.log(p)
    assert focal_loss(logits(), targets(), gamma).item() == pytest.approx(total / 7, rel=1e-12)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_two_classes_are_torchvisions_sigmoid(gamma: float) -> None:
    """softmax over (o, 0) is a sigmoid, whose focal loss torchvision has."""
    score = logits(1)[:, 0]
    is_first = torch.tensor([1.0, 0, 1, 0, 0, 1, 1], dtype=torch.float64)
    ours = focal_loss(torch.stack([score, 0 * score], 1), torch.stack([is_first, 1 - is_first], 1), gamma)
    theirs = sigmoid_focal_loss(score, is_first, alpha=-1, gamma=gamma, reduction="mean")
    torch.testing.assert_close(ours, theirs)


def test_gamma_0_is_cross_entropy() -> None:
    expected = F.cross_entropy(logits(), targets().argmax(1))
    torch.testing.assert_close(focal_loss(logits(), targets(), 0.0), expected, rtol=1e-13, atol=0)


def test_certain_images_have_a_gradient_of_zero_and_not_nan() -> None:
    certain = torch.tensor([[60.0, 0.0]], requires_grad=True)
    loss = focal_loss(certain, torch.tensor([[1.0, 0.0]]), 0.5)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-9)
    assert certain.grad is not None
    assert certain.grad.abs().max() < 1e-9
