from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from fsgl.methods.cross_entropy import CrossEntropy
from fsgl.models.assemble import Classifier
from fsgl.models.backbones import build_backbone
from fsgl.types import Batch, Sample


def make_batch() -> Batch:
    random = torch.Generator().manual_seed(0)
    views = (torch.randn(6, 3, 4, 4, generator=random, dtype=torch.float64),)
    return Batch(Sample(views, torch.tensor([0, 4, 1, 1, 2, 0])))


def net() -> Classifier:
    torch.manual_seed(0)
    return Classifier(nn.Flatten(), nn.Linear(48, 5)).double()


def test_mix_shows_the_images_as_they_are() -> None:
    batch, random = make_batch(), torch.Generator().manual_seed(1)
    before = random.get_state()
    mixed = CrossEntropy().mix(batch, 5, random)
    assert mixed.images == batch.original.views
    assert torch.equal(mixed.targets[0], torch.eye(5, dtype=torch.float64)[batch.original.labels])
    assert torch.equal(random.get_state(), before)  # it has nothing to draw


def test_loss_is_torchs_whatever_the_progress() -> None:
    batch, model = make_batch(), net()
    mixed = CrossEntropy().mix(batch, 5, torch.Generator())
    expected = F.cross_entropy(model(batch.original.views[0]), batch.original.labels)
    for progress in (0.0, 0.9):
        losses = CrossEntropy().loss(model, mixed, progress)
        torch.testing.assert_close(losses.total, expected, rtol=1e-13, atol=0)
        assert losses.ascended is losses.total
        assert losses.terms["cross_entropy"].item() == losses.total.item()
        assert not losses.terms["cross_entropy"].requires_grad


def test_contract() -> None:
    method = CrossEntropy()
    assert (method.views, method.needs_two_streams, method.passes) == (1, False, 1)
    model = method.build(build_backbone("resnet8-slim", 1), torch.tensor([5, 4, 3]))
    images = torch.randn(2, 1, 8, 8)
    assert torch.equal(method.predict(model.eval(), images), model.fc(model.backbone(images)))
    assert method.predict(model, images).shape == (2, 3)
