from __future__ import annotations

import copy
from dataclasses import dataclass, field

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fsgl.engine.step import NonFiniteLoss, require_finite, training_step
from fsgl.methods import CrossEntropy
from fsgl.models.assemble import Classifier
from fsgl.optim.sam import SamSpec, make_ascent
from fsgl.types import Batch, Losses, Mixed, Sample

NAN, INF = float("nan"), float("inf")


def make_net() -> Classifier:
    torch.manual_seed(0)
    return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.BatchNorm1d(6), nn.ReLU()), nn.Linear(6, 4))


def make_batch(seed: int = 0) -> Batch:
    random = torch.Generator().manual_seed(seed)
    return Batch(Sample((torch.randn(8, 3, 2, 2, generator=random),), torch.randint(4, (8,), generator=random)))


def make_sgd(net: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-3)


def take(net: nn.Module, optimizer: torch.optim.Optimizer, method: object, sam: SamSpec, batch: Batch) -> Losses:
    ascend = make_ascent(net, sam)
    return training_step(net, method, optimizer, ascend, batch, 4, 0.5, torch.Generator().manual_seed(9))


def test_steps_of_cross_entropy_are_a_plain_torch_loop() -> None:
    ours, plain = make_net(), make_net()
    ours_sgd, plain_sgd = make_sgd(ours), make_sgd(plain)
    for step in range(3):
        batch = make_batch(step)
        losses = take(ours, ours_sgd, CrossEntropy(), SamSpec(0.0), batch)
        plain_sgd.zero_grad()
        expected = F.cross_entropy(plain(batch.original.views[0]), batch.original.labels)
        expected.backward()
        plain_sgd.step()
        assert losses.total.item() == pytest.approx(expected.item(), rel=1e-6)
    for (name, now), value in zip(ours.state_dict().items(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(now, value, rtol=1e-5, atol=1e-7, msg=name)


def test_steps_with_sam_are_a_loop_that_spells_it_out() -> None:
    ours, plain = make_net(), make_net()
    ours_sgd, plain_sgd = make_sgd(ours), make_sgd(plain)
    for step in range(3):
        batch = make_batch(step)
        take(ours, ours_sgd, CrossEntropy(), SamSpec(0.3, "both"), batch)
        weights = [parameter.detach().clone() for parameter in plain.parameters()]
        for climb in (True, False):
            plain_sgd.zero_grad()
            F.cross_entropy(plain(batch.original.views[0]), batch.original.labels).backward()
            norm = sum(float((parameter.grad**2).sum()) for parameter in plain.parameters()) ** 0.5
            with torch.no_grad():
                for parameter, weight in zip(plain.parameters(), weights, strict=True):
                    parameter.copy_(weight + 0.3 * parameter.grad / norm if climb else weight)
        plain_sgd.step()
    for (name, now), value in zip(ours.state_dict().items(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(now, value, rtol=1e-4, atol=1e-5, msg=name)


@dataclass(frozen=True)
class Spy(CrossEntropy):
    """Cross-entropy that notes what it is asked, and answers with a broken term at one of its calls."""

    calls: list[tuple] = field(default_factory=list)
    broken_at: int = -1
    broken: float = NAN

    def mix(self, batch: Batch, num_classes: int, generator: torch.Generator) -> Mixed:
        self.calls.append(("mix", num_classes, torch.rand((), generator=generator).item()))
        return super().mix(batch, num_classes, generator)

    def loss(self, model: Classifier, mixed: Mixed, progress: float) -> Losses:
        losses = super().loss(model, mixed, progress)
        gradient_free = all(parameter.grad is None for parameter in model.parameters())
        self.calls.append(("loss", id(mixed), progress, gradient_free))
        good = {"good": torch.tensor(1.0)}
        if self.broken_at == sum(call[0] == "loss" for call in self.calls) - 1:
            return Losses(losses.total * self.broken, terms={**good, "bad": torch.tensor(self.broken)})
        return Losses(losses.total, terms=good)


@pytest.mark.parametrize(("rho", "passes"), [(0.0, 1), (0.05, 2)])
def test_one_mixture_serves_both_passes_and_old_gradients_are_gone(rho: float, passes: int) -> None:
    net, spy = make_net(), Spy()
    for parameter in net.parameters():
        parameter.grad = torch.full_like(parameter, NAN)
    take(net, make_sgd(net), spy, SamSpec(rho), make_batch())
    mixes, losses = ([call[1:] for call in spy.calls if call[0] == kind] for kind in ("mix", "loss"))
    draw = torch.rand((), generator=torch.Generator().manual_seed(9)).item()
    assert mixes == [(4, draw)]
    assert len(losses) == passes
    assert len(set(losses)) == 1  # the same mixed batch and progress, and no gradient left over
    assert losses[0][1:] == (0.5, True)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize(("rho", "broken_at"), [(0.0, 0), (0.5, 0), (0.5, 1)])
def test_a_loss_that_is_no_number_stops_before_the_weights_change(value: float, rho: float, broken_at: int) -> None:
    """Also in SAM's second pass, when the weights are away: they are back."""
    net = make_net()
    optimizer = make_sgd(net)
    take(net, optimizer, CrossEntropy(), SamSpec(rho), make_batch(1))
    weights = [parameter.detach().clone() for parameter in net.parameters()]
    momentum = copy.deepcopy(optimizer.state_dict()["state"])
    with pytest.raises(NonFiniteLoss) as caught:
        take(net, optimizer, Spy(broken_at=broken_at, broken=value), SamSpec(rho), make_batch(2))
    assert list(caught.value.terms) == ["bad"]
    assert str(caught.value) == f"bad is {value}"
    assert all(torch.equal(now, old) for now, old in zip(net.parameters(), weights, strict=True))
    for index, kept in momentum.items():
        assert torch.equal(optimizer.state_dict()["state"][index]["momentum_buffer"], kept["momentum_buffer"])


def test_names_the_terms_or_else_the_total() -> None:
    one, nan, inf = torch.tensor(1.0), torch.tensor(NAN), torch.tensor(INF)
    with pytest.raises(NonFiniteLoss, match=r"^total is nan$"):
        require_finite(Losses(nan, terms={"a": one}))
    with pytest.raises(NonFiniteLoss, match=r"^a is inf, b is nan$"):
        require_finite(Losses(nan, terms={"a": inf, "b": nan, "c": one}))
    with pytest.raises(NonFiniteLoss, match=r"^total is inf$"):
        require_finite(Losses(inf))
    fine = Losses(one, terms={"a": one})
    assert require_finite(fine) is fine
