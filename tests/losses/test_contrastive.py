"""Both contrastive losses against loops over images, and what pins them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from fsgl.losses.contrastive import balanced_contrastive, parametric_contrastive

K, D, B = 4, 5, 6
random = torch.Generator().manual_seed(0)


def unit(rows: int) -> torch.Tensor:
    return normalize(torch.randn(rows, D, generator=random, dtype=torch.float64), dim=1)


def test_balanced_against_a_loop() -> None:
    z, centres, labels, t = unit(2 * B), unit(K), torch.tensor([0, 0, 1, 3, 0, 1] * 2), 0.3
    everything = np.concatenate([z.numpy(), centres.numpy()])
    of = [*labels.tolist(), *range(K)]
    total = 0.0
    for i in range(2 * B):
        others = [j for j in range(len(of)) if j != i]
        mean = {  # of each class, the mean of exp(similarity) over its members but i
            k: np.mean([math.exp(everything[i] @ everything[j] / t) for j in others if of[j] == k]) for k in range(K)
        }
        members = [j for j in others if of[j] == of[i]]
        log_sum = math.log(sum(mean.values()))
        total -= np.mean([everything[i] @ everything[j] / t - log_sum for j in members])
    assert balanced_contrastive(z, labels, centres, t).item() == pytest.approx(total / (2 * B), rel=1e-10)


def test_balanced_needs_every_class_only_as_a_centre() -> None:
    """A batch of one class alone: each image has its view and centre as positives, and all centres as negatives."""
    z = unit(2).requires_grad_()
    balanced_contrastive(z, torch.tensor([2, 2]), unit(K), 0.1).backward()
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize("gamma", [1.0, 0.3])
def test_parametric_against_a_loop(gamma: float) -> None:
    logits = torch.randn(B, K, generator=random, dtype=torch.float64)
    z, others, t, alpha, beta = unit(B), unit(B + 3), 0.2, 0.05, 0.7
    labels = torch.tensor([0, 0, 1, 3, 0, 1])
    other_labels = torch.tensor([*labels.tolist(), 1, 3, -1])  # keys, and a queue with an empty place
    everything, of = torch.cat([z, others]).numpy(), [*labels.tolist(), *other_labels.tolist()]
    total = 0.0
    for i in range(B):
        seen = [j for j in range(len(of)) if j != i and of[j] >= 0]
        similar = {j: everything[i] @ everything[j] / t for j in seen}
        log_sum = math.log(sum(map(math.exp, logits[i].tolist())) + gamma * sum(map(math.exp, similar.values())))
        same = [j for j in seen if of[j] == of[i]]
        gain = beta * (logits[i, of[i]].item() - log_sum) + alpha * sum(similar[j] - log_sum for j in same)
        total -= gain / (beta + alpha * len(same))
    found = parametric_contrastive(logits, z, labels, others, other_labels, alpha, beta, gamma, t)
    assert found.item() == pytest.approx(total / B, rel=1e-10)


def test_parametric_without_anything_to_contrast_is_cross_entropy() -> None:
    logits, z = torch.randn(1, K, generator=random, dtype=torch.float64), unit(1)
    found = parametric_contrastive(logits, z, torch.tensor([2]), unit(4), torch.full((4,), -1), 0.1, 1.0, 1.0, 0.1)
    assert found.item() == pytest.approx(cross_entropy(logits, torch.tensor([2])).item(), rel=1e-12)
