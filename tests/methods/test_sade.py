"""SADE: each expert's loss against torch's cross-entropy, and the experts' networks."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from fsgl.errors import UserError
from fsgl.losses.margins import inverse_log_prior
from fsgl.methods import Sade
from fsgl.methods.mixtures import one_hot
from fsgl.models.backbones import BACKBONES, build_backbone
from fsgl.types import Mixed

COUNTS = torch.tensor([50, 7, 20, 2])


def test_three_experts_each_with_its_prior() -> None:
    torch.manual_seed(0)
    method = Sade(tau=1.5)
    model = method.build(build_backbone("resnet8-slim", 1), COUNTS).double().eval()
    images, labels = torch.randn(6, 1, 8, 8).double(), torch.tensor([0, 1, 2, 3, 0, 2])
    prior = [n / 79 for n in (50, 7, 20, 2)]
    inverse = [2 / 79, 20 / 79, 7 / 79, 50 / 79]  # 50 <-> 2, 20 <-> 7
    shifts = [
        [0.0] * 4,
        [math.log(p) for p in prior],
        [math.log(p) - 1.5 * math.log(q) for p, q in zip(prior, inverse, strict=True)],
    ]
    shared = model.backbone.trunk(images)
    total, mean = 0.0, torch.zeros(6, 4).double()
    for tail, head, shift in zip(model.backbone.tails, model.fc.heads, shifts, strict=True):
        features = tail(shared)
        logits = 30 * F.cosine_similarity(features[:, None], head.weight[None], dim=2)
        total += F.cross_entropy(logits + torch.tensor(shift).double(), labels).item()
        mean += logits / 3
    losses = method.loss(model, Mixed((images,), (one_hot(labels, 4, torch.float64),)), 0.0)
    assert losses.total.item() == pytest.approx(total, rel=1e-6)
    assert sum(term.item() for term in losses.terms.values()) == pytest.approx(total, rel=1e-6)
    torch.testing.assert_close(method.predict(model, images), mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(inverse_log_prior(COUNTS), torch.tensor(inverse).double().log())
    with pytest.raises(UserError, match="must be"):
        Sade(scale=0.0)


@pytest.mark.parametrize("name", [name for name, info in BACKBONES.items() if info.image_size == 32])
def test_one_expert_is_the_backbone_itself_and_others_are_not_its_copies(name: str) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(name, 1).eval()
    images = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        plain = backbone(images)
        model = Sade().build(backbone, COUNTS).eval()
        features = model.features(images)
        torch.testing.assert_close(features[:, : backbone.feature_dim], plain)
        deviations = [next(tail.parameters()).std().item() for tail in model.backbone.tails]
        assert not torch.equal(*(next(tail.parameters()) for tail in list(model.backbone.tails)[:2]))
        assert deviations == pytest.approx([deviations[0]] * 3, rel=0.2)  # drawn by the same rule
        Sade().begin(model, pretrained=True)
        first, second, third = model.features(images).chunk(3, dim=1)
    assert torch.equal(first, second)
    assert torch.equal(first, third)
