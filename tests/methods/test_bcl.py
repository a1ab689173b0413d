"""BCL: its two losses from its network's parts."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests.builders import make_batch

from fsgl.errors import UserError
from fsgl.losses.contrastive import balanced_contrastive
from fsgl.methods import Bcl
from fsgl.models.backbones import build_backbone

COUNTS = torch.tensor([50, 7, 20, 2])


def test_losses_are_those_of_its_three_views() -> None:
    torch.manual_seed(0)
    method = Bcl(contrast=0.6, classification=2.0, temperature=0.2, width=9)
    model = method.build(build_backbone("resnet8-slim", 1), COUNTS).double().eval()
    batch = make_batch(5, (1, 8, 8), 4, views=3, dtype=torch.float64)
    labels = batch.original.labels
    first, second, third = (model.features(view) for view in batch.original.views)
    logits = 30 * F.cosine_similarity(first[:, None], model.fc.weight[None], dim=2)
    classification = F.cross_entropy(logits + (COUNTS / 79).double().log(), labels)
    z = torch.cat([F.normalize(model.projection(each)) for each in (second, third)])
    centres = F.normalize(model.centre_projection(model.fc.weight))
    assert z.shape == (10, 9)
    contrast = balanced_contrastive(z, torch.cat([labels, labels]), centres, 0.2)
    losses = method.loss(model, method.mix(batch, 4, torch.Generator()), 0.0)
    assert losses.total.item() == pytest.approx((2 * classification + 0.6 * contrast).item(), rel=1e-6)
    losses.total.backward()
    assert all(weight.grad is not None for weight in model.parameters())
    for wrong in ({"contrast": -1.0}, {"temperature": 0.0}, {"width": 0}):
        with pytest.raises(UserError, match="must be"):
            Bcl(**wrong)
