from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fsgl.errors import UserError
from fsgl.optim.sam import Sam, SamSpec, frozen_batch_norm_statistics, make_ascent, perturbed_as_list


def normed_net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)).double()


def data(seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    inputs = torch.randn(8, 4, generator=random, dtype=torch.float64)
    return inputs, torch.randint(3, (8,), generator=random)


def loss_of(net: nn.Module) -> torch.Tensor:
    inputs, labels = data()
    return nn.functional.cross_entropy(net(inputs), labels)


def copies(net: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in net.parameters()]


@given(st.integers(0, 2**32), st.floats(0, 2))
def test_a_step_on_a_quadratic_is_the_papers(seed: int, rho: float) -> None:
    """f(w) = w'Aw / 2: g = Aw, e = rho g / |g|, descent gradient A(w + e), all in NumPy."""
    random = np.random.default_rng(seed)
    root = random.normal(size=(5, 5))
    matrix, start = root @ root.T + np.eye(5), random.normal(size=5) + 3
    gradient = matrix @ start
    expected = start - 0.01 * matrix @ (start + rho * gradient / math.sqrt(sum(g * g for g in gradient)))

    parts = [nn.Parameter(torch.from_numpy(start[:2].copy())), nn.Parameter(torch.from_numpy(start[2:].copy()))]
    optimizer = torch.optim.SGD(parts, lr=0.01)

    def f() -> torch.Tensor:
        w = torch.cat(parts)
        return w @ torch.from_numpy(matrix) @ w / 2

    f().backward()
    with Sam(parts, rho).ascend():
        f().backward()
    optimizer.step()
    np.testing.assert_allclose(torch.cat(parts).detach().numpy(), expected, rtol=1e-10, atol=1e-10)


def test_a_step_of_adamw_takes_the_gradient_above_and_decays_the_weights_below() -> None:
    """Two steps by hand: Adam's moments of the gradient at w + e, decoupled decay of w (Loshchilov and Hutter 2019)."""
    lr, decay, rho, start = 0.1, 0.2, 0.5, np.array([3.0, -4.0, 1.0])
    curve = np.array([1.0, 2.0, 0.5])
    weights = nn.Parameter(torch.from_numpy(start.copy()))
    optimizer = torch.optim.AdamW([weights], lr=lr, weight_decay=decay, fused=True)
    ascend = make_ascent(nn.ParameterList([weights]), SamSpec(rho))
    w, first, second = start.copy(), np.zeros(3), np.zeros(3)
    for step in (1, 2):

        def gradient() -> None:
            (torch.from_numpy(curve) * weights**2).sum().backward()

        optimizer.zero_grad(set_to_none=True)
        with ascend(gradient):
            gradient()
        optimizer.step()
        up = 2 * curve * w
        g = 2 * curve * (w + rho * up / np.linalg.norm(up))
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
        w = w * (1 - lr * decay)
        w = w - lr * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        np.testing.assert_allclose(weights.detach().numpy(), w, rtol=1e-9)


@pytest.mark.parametrize("rho", [1e-3, 0.05, 3.0])
def test_ascent_goes_rho_far_along_the_gradient_of_all_parameters_together(rho: float) -> None:
    net = normed_net()
    before = copies(net)
    loss_of(net).backward()
    gradients = [parameter.grad.clone() for parameter in net.parameters() if parameter.grad is not None]
    norm = math.sqrt(sum(float((gradient**2).sum()) for gradient in gradients))
    with Sam(net.parameters(), rho).ascend():
        assert all(parameter.grad is None for parameter in net.parameters())
        moves = [now.detach() - old for now, old in zip(net.parameters(), before, strict=True)]
        assert math.sqrt(sum(float((move**2).sum()) for move in moves)) == pytest.approx(rho, rel=1e-9)
        for move, gradient in zip(moves, gradients, strict=True):
            torch.testing.assert_close(move, rho / norm * gradient, rtol=1e-7, atol=1e-12)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=8), st.floats(0, 10))
def test_return_is_bit_for_bit(values: list[float], rho: float) -> None:
    parameter = nn.Parameter(torch.tensor(values))
    before = parameter.detach().clone()
    sam = Sam([parameter], rho)
    for _ in range(2):  # also where the kept copies are used again
        parameter.grad = torch.linspace(-1, 7, len(values))
        with sam.ascend():
            pass
        assert torch.equal(parameter.detach().view(torch.int32), before.view(torch.int32))


def test_return_after_an_exception_inside() -> None:
    net = normed_net()
    before = copies(net)
    loss_of(net).backward()

    def ascended() -> None:
        assert not torch.equal(net[0].weight, before[0])
        raise KeyError

    with pytest.raises(KeyError), Sam(net.parameters(), 0.5).ascend():
        ascended()
    assert all(torch.equal(now, old) for now, old in zip(net.parameters(), before, strict=True))


def test_a_parameter_without_gradient_stays_and_takes_no_part() -> None:
    moving, resting = nn.Parameter(torch.tensor([3.0, 4.0])), nn.Parameter(torch.tensor([7.0]))
    moving.grad = torch.tensor([3.0, 4.0])
    with Sam([moving, resting], 0.5).ascend():
        assert moving.tolist() == pytest.approx([3.3, 4.4])
        assert resting.item() == 7
        resting.grad = torch.ones(1)  # from the descent loss: it must outlive the ascent
    assert moving.tolist() == [3, 4]
    assert resting.grad is not None


def test_parameters_may_have_a_gradient_in_one_step_and_none_in_the_next() -> None:
    first, second = (nn.Parameter(torch.ones(2)) for _ in range(2))
    sam = Sam([first, second], 1.0)
    for moved, rested in ((first, second), (second, first)):
        moved.grad, rested.grad = torch.tensor([0.0, 2.0]), None
        with sam.ascend():
            assert moved.tolist() == [1, 2]
            assert rested.tolist() == [1, 1]
    with sam.ascend():  # none has one
        pass
    assert first.tolist() == second.tolist() == [1, 1]


def test_the_earlier_name_is_known() -> None:
    assert Sam.climb is Sam.ascend


def test_no_gradient_is_no_ascent_and_no_nan() -> None:
    parameter = nn.Parameter(torch.tensor([1.0, -2.0]))
    parameter.grad = torch.zeros(2)
    with Sam([parameter], 0.05).ascend():
        assert parameter.tolist() == [1, -2]


def test_sam_takes_over_weights_that_changed_between_steps() -> None:
    parameter = nn.Parameter(torch.tensor([1.0]))
    sam = Sam([parameter], 1.0)
    for start in (1.0, 5.0):
        with torch.no_grad():
            parameter.fill_(start)
        parameter.grad = torch.ones(1)
        with sam.ascend():
            assert parameter.item() == start + 1
        assert parameter.item() == start


def plain_step(net: nn.Module) -> None:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-3)
    optimizer.zero_grad()
    loss_of(net).backward()
    optimizer.step()


@pytest.mark.parametrize("rho", [0.0, -1.0])
def test_rho_zero_or_less_is_a_plain_step_bit_for_bit(rho: float) -> None:
    plain, ours = normed_net(), normed_net()
    plain_step(plain)
    optimizer = torch.optim.SGD(ours.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-3)
    asked = []
    with make_ascent(ours, SamSpec(rho))(lambda: asked.append(1) or loss_of(ours)):
        loss_of(ours).backward()
    optimizer.step()
    assert not asked  # no pass is spent on it
    for (name, now), expected in zip(ours.state_dict().items(), plain.state_dict().values(), strict=True):
        assert torch.equal(now, expected), name


def test_an_ascent_of_length_zero_is_a_plain_step_bit_for_bit() -> None:
    plain, ours = normed_net(), normed_net()
    plain_step(plain)
    optimizer = torch.optim.SGD(ours.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-3)
    loss_of(ours).backward()
    with Sam(ours.parameters(), 0.0).ascend():
        loss_of(ours).backward()
    optimizer.step()
    assert all(torch.equal(now, old) for now, old in zip(ours.parameters(), plain.parameters(), strict=True))


@pytest.mark.parametrize("batch_norm", ["first", "both"])
def test_batch_norm_statistics_by_hand(batch_norm: str) -> None:
    net = normed_net()
    inputs, _ = data()
    hidden = [net[0](inputs)]
    with make_ascent(net, SamSpec(2.0, batch_norm))(lambda: loss_of(net).backward()):
        hidden.append(net[0](inputs))
        loss_of(net).backward()
    mean, var = torch.zeros(6).double(), torch.ones(6).double()
    for seen in hidden if batch_norm == "both" else hidden[:1]:
        mean = 0.9 * mean + 0.1 * seen.mean(dim=0)
        var = 0.9 * var + 0.1 * seen.var(dim=0, unbiased=True)
    torch.testing.assert_close(net[1].running_mean, mean.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(net[1].running_var, var.detach(), rtol=1e-12, atol=1e-12)
    assert net[1].num_batches_tracked.item() == (2 if batch_norm == "both" else 1)


def test_frozen_statistics_change_nothing_but_the_buffers() -> None:
    net = normed_net()
    before = copy.deepcopy(net.state_dict())
    inputs, _ = data()
    with frozen_batch_norm_statistics(net):
        frozen = net(inputs)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(frozen, net(inputs))  # still normalised by the batch
    assert not torch.equal(net[1].running_mean, before["1.running_mean"])  # and as before afterwards


def test_freezing_leaves_modes_and_other_layers_alone() -> None:
    tracked, bare, evaluating = nn.BatchNorm1d(2), nn.BatchNorm1d(2, track_running_stats=False), nn.BatchNorm1d(2)
    several = nn.SyncBatchNorm(2)
    net = nn.ModuleList([tracked, bare, evaluating, several, nn.GroupNorm(1, 2), nn.Dropout()])
    evaluating.eval()
    with torch.no_grad():
        evaluating.running_mean.fill_(3.0)
    modes = [module.training for module in net.modules()]
    x = torch.tensor([[3.0, 3.0], [3.0, 3.0]])
    with frozen_batch_norm_statistics(net):
        assert [module.training for module in net.modules()] == modes
        assert evaluating(x).abs().max() == 0  # a layer in evaluation mode keeps using its running mean
        assert not several.track_running_stats
    assert [module.training for module in net.modules()] == modes
    assert [layer.track_running_stats for layer in (tracked, bare, evaluating, several)] == [True, False, True, True]


def test_freezing_ends_with_an_exception() -> None:
    layer = nn.BatchNorm1d(2)
    with pytest.raises(KeyError), frozen_batch_norm_statistics(layer):
        raise KeyError
    assert layer.track_running_stats


@pytest.mark.parametrize("rho", [-0.1, math.nan, math.inf])
def test_sam_refuses_a_radius_that_is_none(rho: float) -> None:
    with pytest.raises(ValueError, match="rho must be finite"):
        Sam([], rho)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"batch_norm": "frist"}, "did you mean 'first'"), ({"rho": math.nan}, "rho"), ({"rho": math.inf}, "rho")],
)
def test_mistakes_in_the_settings(wrong: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        SamSpec(**wrong)


def test_ascent_after_the_model_was_converted() -> None:
    parameter = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    sam = Sam([parameter], rho=1.0)
    for dtype in (torch.float32, torch.float64):
        parameter.data = parameter.data.to(dtype)
        parameter.grad = torch.tensor([3.0, 4.0], dtype=dtype)
        with sam.ascend():
            torch.testing.assert_close(parameter.data, torch.tensor([3.6, 4.8], dtype=dtype))
        torch.testing.assert_close(parameter.data, torch.tensor([3.0, 4.0], dtype=dtype))


def test_step_inside_the_ascent_is_refused() -> None:
    """It would change the perturbed copy, which the return throws away: nothing would be learnt, without a word."""
    parameter = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    sam = Sam([parameter], rho=1.0)
    parameter.square().sum().backward()

    def step_within() -> None:
        with sam.ascend():
            parameter.square().sum().backward()
            optimizer.step()

    with pytest.raises(RuntimeError, match=r"optimizer\.step\(\) after it"):
        step_within()
    assert parameter.tolist() == [3.0, 4.0]


def test_the_ascent_of_whole_lists_is_that_of_one_weight_at_a_time() -> None:
    """What a GPU does against what a CPU does."""
    weights = [torch.randn(3, 2, 3, 3).to(memory_format=torch.channels_last), torch.randn(5), torch.randn(())]
    gradients = [torch.randn_like(weight) for weight in weights]
    scale = torch.tensor(0.37)
    perturbed = perturbed_as_list(weights, gradients, scale)
    for weight, gradient, result in zip(weights, gradients, perturbed, strict=True):
        torch.testing.assert_close(result, weight + 0.37 * gradient, rtol=1e-6, atol=1e-6)
        assert result.stride() == weight.stride()
        assert result.data_ptr() != gradient.data_ptr()
