from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from fsgl.models.heads import FourHeads, initialise


def test_outputs_are_the_four_linear_maps() -> None:
    torch.manual_seed(0)
    heads = FourHeads(6, 5, 4).double()
    features = torch.randn(3, 6, dtype=torch.float64)
    out = heads(features)

    def linear(name: str, value: np.ndarray) -> np.ndarray:
        layer = heads.get_submodule(name)
        return value @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()

    projection = linear("projection_head", features.numpy())
    expected = [linear("fc", features.numpy()), linear("fc_cb", features.numpy()), projection]
    expected.append(linear("contrast_head", projection))  # p = W z: on the projection, not on the feature
    for found, by_hand in zip(out, expected, strict=True):
        np.testing.assert_allclose(found.detach().numpy(), by_hand, rtol=1e-12, atol=1e-12)
    assert out.conventional_BK.shape == out.rebalanced_BK.shape == (3, 5)
    assert out.projection_BD.shape == out.prediction_BD.shape == (3, 4)
    assert torch.equal(out.rebalanced_BK, heads.fc_cb(features))
    assert torch.equal(out.prediction_BD, heads.contrast_head(out.projection_BD))


def test_names_are_the_releases() -> None:
    shapes = {name: tuple(value.shape) for name, value in FourHeads(6, 5, 4).state_dict().items()}
    assert shapes == {
        "fc.weight": (5, 6), "fc.bias": (5,), "fc_cb.weight": (5, 6), "fc_cb.bias": (5,),
        "projection_head.weight": (4, 6), "projection_head.bias": (4,),
        "contrast_head.weight": (4, 4), "contrast_head.bias": (4,),
    }  # fmt: skip


def test_kaiming_normal_is_he_with_fan_in() -> None:
    torch.manual_seed(1)
    linear = nn.Linear(128, 200)
    bias = linear.bias.detach().clone()
    initialise(nn.Sequential(nn.ReLU(), linear), "kaiming_normal")
    weights = linear.weight.detach().flatten().numpy()
    assert scipy.stats.kstest(weights, scipy.stats.norm(0, math.sqrt(2 / 128)).cdf).pvalue > 0.01
    assert scipy.stats.kstest(weights, scipy.stats.norm(0, math.sqrt(1 / 128)).cdf).pvalue < 1e-6
    assert torch.equal(linear.bias, bias)


@pytest.mark.parametrize("module", [FourHeads(6, 5, 4), nn.Linear(3, 2)])
def test_default_leaves_pytorchs_weights(module: nn.Module) -> None:
    before = {name: value.clone() for name, value in module.state_dict().items()}
    initialise(module, "default")
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
