from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fsgl.losses.class_weights import power_class_weights
from fsgl.models.assemble import Classifier, FourHeadNet, build_classifier, build_four_heads
from fsgl.models.backbones import build_backbone
from fsgl.models.feature_scaling import FeatureScaling, FeatureScalingSpec
from fsgl.models.heads import FourHeads

COUNTS = torch.tensor([9, 50, 4])
SMALL = "resnet8-slim"


def tiny_net(gamma: float = 0.5) -> FourHeadNet:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.BatchNorm1d(6))
    weights = power_class_weights(COUNTS, 1.2).float()
    return FourHeadNet(backbone, FeatureScaling(COUNTS, gamma), FourHeads(6, 3, 4), weights)


def images(count: int = 5) -> torch.Tensor:
    return torch.randn(count, 3, 2, 2, generator=torch.Generator().manual_seed(1))


def labels(count: int = 5) -> torch.Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(2))


def test_training_forward_scales_the_feature_that_all_four_heads_see() -> None:
    net = tiny_net()
    h = net.backbone(images())
    scale = labels() @ torch.tensor([1 + 0.5 * 2 / 3, 1.5, 1 + 0.5 / 3])  # ranks 1, 0, 2
    for found, expected in zip(net(images(), labels()), net.heads(h * scale[:, None]), strict=True):
        torch.testing.assert_close(found, expected)


def test_evaluation_forward_does_not_scale() -> None:
    net = tiny_net().eval()
    for found, expected in zip(net(images(), labels()), net.heads(net.backbone(images())), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("training", [True, False])
def test_prediction_is_the_rebalanced_classifier_on_unscaled_features(training: bool) -> None:
    net = tiny_net(gamma=2.0).train(training)
    assert torch.equal(net.predict(images()), net.heads.fc_cb(net.backbone(images())))


def test_class_statistics_are_saved_with_the_network() -> None:
    state = tiny_net().state_dict()
    assert {"class_weights_K", "feature_scaling.omega_PK"} <= set(state)
    other = tiny_net(gamma=0.1)
    other.load_state_dict(state)
    assert torch.equal(other.feature_scaling.omega_PK, tiny_net().feature_scaling.omega_PK)


def test_classifier_is_backbone_and_fc() -> None:
    torch.manual_seed(0)
    net = Classifier(nn.Flatten(), nn.Linear(12, 3))
    expected = images().flatten(1) @ net.fc.weight.T + net.fc.bias
    torch.testing.assert_close(net(images()), expected)
    assert torch.equal(net.predict(images()), net(images()))


@pytest.mark.parametrize("name", [SMALL, "resnet18"])
def test_built_heads_fit_the_backbone(name: str) -> None:
    torch.manual_seed(3)
    spec = FeatureScalingSpec(0.5, "half", "index", 1)
    backbone = build_backbone(name, 1)
    net = build_four_heads(backbone, COUNTS, spec, power_class_weights(COUNTS, 1.0))
    assert net.feature_scaling.spec == spec
    assert net.heads.fc_cb.weight.shape == (3, backbone.feature_dim)
    assert net.heads.contrast_head.weight.shape == (backbone.head_width, backbone.head_width)
    assert net.class_weights_K.dtype == torch.get_default_dtype()
    assert next(net.backbone.parameters()).shape[1] == 1
    for head in (net.heads.fc, net.heads.fc_cb, net.heads.projection_head):
        deviation = math.sqrt(2 / backbone.feature_dim) if backbone.linear_init == "kaiming_normal" else None
        if deviation is None:  # PyTorch's default: uniform up to 1 / sqrt(fan in)
            assert head.weight.abs().max() <= 1 / math.sqrt(backbone.feature_dim)
        else:
            assert head.weight.std().item() == pytest.approx(deviation, rel=0.15)


def test_built_classifier_fits_the_backbone() -> None:
    torch.manual_seed(3)
    net = build_classifier(build_backbone(SMALL), 40)
    assert net.fc.weight.shape == (40, 64)
    assert net.fc.weight.std().item() == pytest.approx(math.sqrt(2 / 64), rel=0.1)
    assert net(torch.randn(2, 3, 8, 8)).shape == (2, 40)


def test_every_fsm_setting_starts_from_the_same_weights() -> None:
    """Ablations are compared at one seed: nothing but the scaling may differ."""
    states = []
    for spec in (FeatureScalingSpec(), FeatureScalingSpec(1.0), FeatureScalingSpec(0.5, "linear*same", "index", 2)):
        torch.manual_seed(5)
        states.append(build_four_heads(build_backbone(SMALL), COUNTS, spec, torch.ones(3)).state_dict())
    torch.manual_seed(5)
    trunk = build_backbone(SMALL, 3).state_dict()
    for name in states[0]:
        if "omega" not in name:
            assert torch.equal(states[0][name], states[1][name])
            assert torch.equal(states[0][name], states[2][name])
    assert all(torch.equal(value, states[0][f"backbone.{name}"]) for name, value in trunk.items())
