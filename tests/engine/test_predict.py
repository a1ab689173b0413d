from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fsgl.engine.predict import predict_features, predict_logits
from fsgl.methods import CrossEntropy
from fsgl.models.assemble import Classifier


def make_net(dtype: torch.dtype = torch.float32) -> Classifier:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(12), nn.Dropout(0.5))
    return Classifier(backbone, nn.Linear(12, 5)).to(dtype)


def images(count: int = 7, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(count, 3, 2, 2, generator=torch.Generator().manual_seed(1)).to(dtype)


@pytest.mark.parametrize("sizes", [[7], [3, 3, 1], [1] * 7])
def test_logits_are_of_evaluation_mode_in_order_whatever_the_batches(sizes: list[int]) -> None:
    net = make_net()
    net.backbone[1].running_mean.fill_(0.5)
    normed = (images().flatten(1) - 0.5) / np.sqrt(1 + 1e-5)
    expected = (normed @ net.fc.weight.T + net.fc.bias).detach().numpy()
    logits = predict_logits(net.train(), CrossEntropy(), iter(images().split(sizes)))
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    assert logits.dtype == np.float32
    features = predict_features(net, iter(images().split(sizes)))
    np.testing.assert_allclose(features, normed, rtol=1e-4, atol=1e-5)
    assert net.training


@pytest.mark.parametrize(("side", "largest"), [(32, 256), (128, 16), (224, 5), (700, 1)])
def test_a_pass_on_a_cpu_has_a_quarter_of_a_million_pixels(side: int, largest: int) -> None:
    net, passes = make_net().eval(), []
    net.backbone.register_forward_pre_hook(lambda _, arguments: passes.append(len(arguments[0])))
    for count in (1, 5, 300):
        passes.clear()
        whole = net(images(count)).detach().numpy()
        passes.clear()
        np.testing.assert_allclose(
            predict_logits(net, CrossEntropy(), [images(count)], side=side), whole, rtol=1e-4, atol=1e-5
        )
        assert sum(passes) == count
        assert max(passes) == min(count, largest)
        assert max(passes) * side**2 <= 2**18 or largest == 1


@pytest.mark.parametrize("training", [True, False])
def test_model_is_left_as_it_was(training: bool) -> None:
    net = make_net().train(training)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    predict_logits(net, CrossEntropy(), [images()])
    assert net.training is training
    assert all(module.training is training for module in net.modules())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert torch.is_grad_enabled()


def test_mode_is_put_back_after_an_error_too() -> None:
    net = make_net().train()
    with pytest.raises(RuntimeError):
        predict_logits(net, CrossEntropy(), [torch.zeros(2, 99)])
    assert net.training


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_any_precision_comes_back_as_float32(dtype: torch.dtype) -> None:
    logits = predict_logits(make_net(dtype), CrossEntropy(), [images(dtype=dtype)])
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, predict_logits(make_net(), CrossEntropy(), [images()]), atol=0.1)


def test_weights_can_still_be_trained_on() -> None:
    net = make_net()
    predict_logits(net, CrossEntropy(), [images()])
    net(images()).sum().backward()
    assert net.fc.weight.grad is not None
