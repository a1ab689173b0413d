"""Remix against a loop over the images, and what it becomes at the ends of its settings."""

from __future__ import annotations

import math

import pytest
import torch
from tests.builders import make_batch
from torch import nn

from fsgl.errors import UserError
from fsgl.methods import MixUp, Remix
from fsgl.methods.mixtures import draw_lambda
from fsgl.models.backbones import build_backbone

COUNTS = torch.tensor([50, 7, 20, 2])
K = len(COUNTS)


def make_net(method: MixUp | Remix) -> nn.Module:
    torch.manual_seed(0)
    return method.build(build_backbone("resnet8-slim", 1), COUNTS).double().eval()


def share_of_first(lam: float, first: int, second: int, kappa: float, tau: float) -> float:
    """The paper's lambda_y."""
    ratio = COUNTS[first].item() / COUNTS[second].item()
    if ratio >= kappa and lam < tau:
        return 0.0
    if ratio <= 1 / kappa and 1 - lam < tau:
        return 1.0
    return lam


@pytest.mark.parametrize(("kappa", "tau"), [(3.0, 0.5), (2.5, 0.8)])
def test_labels_lean_to_the_rarer_class_as_a_loop_has_it(kappa: float, tau: float) -> None:
    method, seen = Remix(0.7, kappa, tau), set()
    model, batch = make_net(method), make_batch(12, (1, 8, 8), K, dtype=torch.float64)
    labels = batch.original.labels.tolist()
    for seed in range(6):
        mixed = method.mix(batch, K, torch.Generator().manual_seed(seed))
        same = torch.Generator().manual_seed(seed)
        lam, others = draw_lambda(0.7, same), torch.randperm(12, generator=same).tolist()
        images = batch.original.views[0]
        torch.testing.assert_close(mixed.images[0], lam * images + (1 - lam) * images[others])
        total = 0.0
        for row, i, j in zip(model(mixed.images[0]).tolist(), range(12), others, strict=True):
            share = share_of_first(lam, labels[i], labels[j], kappa, tau)
            seen.add({0.0: "second", 1.0: "first"}.get(share, "mixed"))
            normalizer = math.log(sum(map(math.exp, row)))
            total += normalizer - share * row[labels[i]] - (1 - share) * row[labels[j]]
        assert method.loss(model, mixed, 0.5).total.item() == pytest.approx(total / 12, rel=1e-9)
    assert seen == {"first", "second", "mixed"}


def test_without_a_threshold_it_is_mixup() -> None:
    batch = make_batch(12, (1, 8, 8), K, dtype=torch.float64)
    losses = []
    for method in (Remix(1.0, tau=0.0), Remix(1.0, kappa=1e9), MixUp(1.0)):
        mixed = method.mix(batch, K, torch.Generator().manual_seed(1))
        losses.append(method.loss(make_net(method), mixed, 0.5).total.item())
    assert losses[0] == losses[1] == pytest.approx(losses[2], rel=1e-12)


@pytest.mark.parametrize("wrong", [{"beta": 0.0}, {"kappa": 0.5}, {"tau": 1.1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match="must be"):
        Remix(**wrong)
