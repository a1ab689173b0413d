from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from fsgl.errors import UserError
from fsgl.optim.averaging import AveragingSpec, WeightAverage


def make_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_mean_of_weights_and_statistics() -> None:
    net, seen = make_net(), []
    average = WeightAverage(net)
    for step in range(5):
        net(torch.randn(6, 3, generator=torch.Generator().manual_seed(step)))
        with torch.no_grad():
            net[0].weight += step
        seen.append(copy.deepcopy(net.state_dict()))
        average.add(net)
        for name, mean in average.model.state_dict().items():
            values = np.stack([state[name].numpy() for state in seen])
            expected = values.mean(axis=0) if mean.is_floating_point() else values[-1]
            np.testing.assert_allclose(mean.numpy(), expected, rtol=1e-5, atol=1e-6)
    first = WeightAverage(make_net())
    first.add(net)
    assert all(torch.equal(first.model.state_dict()[name], value) for name, value in net.state_dict().items())


def test_is_a_copy_and_can_be_saved() -> None:
    net = make_net()
    average = WeightAverage(net)
    average.add(net)
    with torch.no_grad():
        net[0].weight.zero_()
    assert average.model[0].weight.abs().min() > 0
    again = WeightAverage(net)
    again.load_state_dict(average.state_dict())
    assert again.count == 1
    assert torch.equal(again.model[0].weight, average.model[0].weight)


def test_start_out_of_range() -> None:
    for start in (-0.1, 1.1):
        with pytest.raises(UserError, match=r"averaging\.start must be"):
            AveragingSpec(start)
