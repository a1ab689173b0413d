from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from fsgl.errors import UserError
from fsgl.optim.averaging import AveragingSpec, WeightAverage
from fsgl.types import Batch, Sample


def make_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_mean_of_weights_and_present_buffers() -> None:
    net, seen = make_net(), []
    average = WeightAverage(net)
    for step in range(5):
        net(torch.randn(6, 3, generator=torch.Generator().manual_seed(step)))
        with torch.no_grad():
            net[0].weight += step
        seen.append(copy.deepcopy(net.state_dict()))
        average.add(net)
        weights = dict(net.named_parameters())
        for name, mean in average.model.state_dict().items():
            values = np.stack([state[name].numpy() for state in seen])
            expected = values.mean(axis=0) if name in weights else values[-1]
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
    for wrong in ({"low": 0.6}, {"low": 0.0}, {"cycle": 0}):
        with pytest.raises(UserError, match=r"averaging\.(low|cycle)"):
            AveragingSpec(0.5, **wrong)


def test_rates_are_those_of_the_authors_schedule() -> None:
    """As their train.py has it, for epochs up to the first that counts; there 161 of 200, here from 150 on."""
    spec, start = AveragingSpec(0.75), 150
    for epoch in range(200):
        t = epoch / start
        factor = 1.0 if t <= 0.5 else 1.0 - (1.0 - 0.5) * (t - 0.5) / 0.4 if t <= 0.9 else 0.5
        assert spec.rate(0.1, epoch, 200) == pytest.approx(0.1 * factor, rel=1e-12)
        assert spec.counts(epoch, 200) == (epoch >= 150)


def test_cyclic_rates_fall_within_each_cycle_whose_last_epoch_counts() -> None:
    """The paper's section 3.1: alpha(i) = (1 - t(i)) alpha_1 + t(i) alpha_2, t(i) = (mod(i - 1, c) + 1) / c."""
    spec = AveragingSpec(0.5, high=0.5, low=0.1, cycle=5)
    for i, epoch in enumerate(range(10, 20), start=1):
        t = ((i - 1) % 5 + 1) / 5
        assert spec.rate(1.0, epoch, 20) == pytest.approx((1 - t) * 0.5 + t * 0.1)
        assert spec.counts(epoch, 20) == (i % 5 == 0)
    assert not any(AveragingSpec().counts(epoch, 20) for epoch in range(20))


class Predicting(nn.Sequential):
    predict = nn.Sequential.forward


def test_statistics_are_those_of_torchs_own_pass() -> None:
    torch.manual_seed(0)
    images = [torch.randn(7, 3) for _ in range(4)]
    net = Predicting(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.BatchNorm1d(4))
    net[3].requires_grad_(False)  # of a frozen part they stay
    average, theirs = WeightAverage(net.eval()), copy.deepcopy(net)
    torch.optim.swa_utils.update_bn(images, theirs)
    average.renew_statistics(Batch(Sample((each,), torch.zeros(7))) for each in images)
    torch.testing.assert_close(average.model[1].running_mean, theirs[1].running_mean)
    torch.testing.assert_close(average.model[1].running_var, theirs[1].running_var)
    assert torch.equal(average.model[3].running_mean, torch.zeros(4))
    assert (average.model[1].momentum, average.model.training) == (0.1, False)
