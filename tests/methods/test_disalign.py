"""DisAlign against its equations, and that each stage trains its own part alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fsgl.errors import UserError
from fsgl.methods import DisAlign
from fsgl.methods.mixtures import one_hot
from fsgl.models.backbones import build_backbone
from fsgl.types import Mixed

COUNTS = [50, 7, 20, 2]


def test_both_stages_by_hand() -> None:
    torch.manual_seed(0)
    method = DisAlign()
    model = method.build(build_backbone("resnet8-slim", 1), torch.tensor(COUNTS)).double().eval()
    images, labels = torch.randn(6, 1, 8, 8).double(), torch.tensor([0, 1, 2, 3, 0, 2])
    mixed = Mixed((images,), (one_hot(labels, 4, torch.float64),))
    h = model.features(images).detach()
    plain = F.linear(h, model.fc.linear.weight, model.fc.linear.bias).detach()
    losses = method.loss(model, mixed, 0.0)
    assert losses.total.item() == pytest.approx(F.cross_entropy(plain, labels).item(), rel=1e-9)
    losses.total.backward()
    assert torch.equal(method.predict(model, images), plain)
    assert model.fc.scale_K.grad is None  # so that neither gradients nor weight decay touch the alignment
    assert model.fc.confidence.weight.grad is None

    method.enter_second_stage(model, fresh=True)
    with torch.no_grad():
        model.fc.shift_K.copy_(torch.tensor([0.5, -1, 0, 2]))
    c = torch.sigmoid(0.1 * h.sum(1, keepdim=True) + model.fc.confidence.bias)
    aligned = (1 + c * model.fc.scale_K) * plain + c * model.fc.shift_K
    torch.testing.assert_close(method.predict(model, images), aligned)
    weights = np.array([(n / 79) ** -1.2 for n in COUNTS])
    weights = torch.from_numpy(weights * 4 / weights.sum())
    losses = method.loss(model, mixed, 0.9)
    assert losses.total.item() == pytest.approx(F.cross_entropy(aligned, labels, weights).item(), rel=1e-6)
    assert {name for name, weight in model.named_parameters() if weight.requires_grad} == {
        "fc.confidence.weight", "fc.confidence.bias", "fc.scale_K", "fc.shift_K"
    }  # fmt: skip
    again = method.build(build_backbone("resnet8-slim", 1), torch.tensor(COUNTS)).double().eval()
    again.load_state_dict(model.state_dict())  # as ``fsgl predict`` does
    torch.testing.assert_close(again.predict(images), aligned)
    with pytest.raises(UserError, match="must be"):
        DisAlign(scale=-1.0)
