from __future__ import annotations

import copy
from dataclasses import dataclass, field

import pytest
import torch
import torch.nn.functional as F
from tests import builders
from torch import nn

from fsgl.engine.step import Update, training_step
from fsgl.engine.tally import NonFiniteLoss, Tally
from fsgl.methods import CrossEntropy
from fsgl.models.assemble import Classifier
from fsgl.optim.sam import SamSpec, make_ascent
from fsgl.types import Batch, Losses, Mixed

NAN, INF = float("nan"), float("inf")


def make_net() -> Classifier:
    torch.manual_seed(0)
    return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.BatchNorm1d(6), nn.ReLU()), nn.Linear(6, 4))


def make_batch(seed: int = 0) -> Batch:
    return builders.make_batch(8, (3, 2, 2), 4, seed=seed)


def make_sgd(net: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-3, fused=True)


def take(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    method: object,
    sam: SamSpec,
    batch: Batch,
    tally: Tally | None = None,
) -> Losses:
    update = Update(net, method, optimizer, make_ascent(net, sam), tally or Tally())
    return training_step(update, method, batch, 4, 0.5, torch.Generator().manual_seed(9))


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
        for ascent in (True, False):
            plain_sgd.zero_grad()
            F.cross_entropy(plain(batch.original.views[0]), batch.original.labels).backward()
            norm = sum(float((parameter.grad**2).sum()) for parameter in plain.parameters()) ** 0.5
            with torch.no_grad():
                for parameter, weight in zip(plain.parameters(), weights, strict=True):
                    parameter.copy_(weight + 0.3 * parameter.grad / norm if ascent else weight)
        plain_sgd.step()
    for (name, now), value in zip(ours.state_dict().items(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(now, value, rtol=1e-4, atol=1e-5, msg=name)


@dataclass(frozen=True)
class Spy(CrossEntropy):
    """Cross-entropy that notes what it is asked, and answers with a broken term at one of its calls."""

    calls: list[tuple] = field(default_factory=list)
    broken_at: int = -1
    broken: float = NAN

    def __post_init__(self) -> None:
        """No settings, and so not checked as such: one of them is no number on purpose."""

    def mix(self, batch: Batch, num_classes: int, generator: torch.Generator) -> Mixed:
        self.calls.append(("mix", num_classes, torch.rand((), generator=generator).item()))
        return super().mix(batch, num_classes, generator)

    def loss(self, model: Classifier, mixed: Mixed, progress: float) -> Losses:
        losses = super().loss(model, mixed, progress)
        gradient_free = all(parameter.grad is None for parameter in model.parameters())
        self.calls.append(("loss", id(mixed), progress, gradient_free))
        terms = {"good": torch.tensor(1.0), "bad": torch.tensor(1.0)}
        if self.broken_at == sum(call[0] == "loss" for call in self.calls) - 1:
            return Losses(losses.total * self.broken, terms={**terms, "bad": torch.tensor(self.broken)})
        return Losses(losses.total, terms=terms)


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
def test_from_a_loss_that_is_no_number_on_the_weights_stay(value: float, rho: float, broken_at: int) -> None:
    """Also from one in SAM's second pass, when the weights are away: they are back."""
    net = make_net()
    optimizer, tally = make_sgd(net), Tally()
    take(net, optimizer, CrossEntropy(), SamSpec(rho), make_batch(1), Tally())
    tally.read()
    weights = [parameter.detach().clone() for parameter in net.parameters()]
    momentum = copy.deepcopy(optimizer.state_dict()["state"])
    take(net, optimizer, Spy(broken_at=broken_at, broken=value), SamSpec(rho), make_batch(2), tally)
    take(net, optimizer, Spy(), SamSpec(rho), make_batch(3), tally)  # before anybody looked
    with pytest.raises(NonFiniteLoss) as caught:
        tally.read()
    assert list(caught.value.terms) == ["bad"]
    assert str(caught.value) == f"bad is {value}"
    assert caught.value.steps == 0
    assert all(torch.equal(now, old) for now, old in zip(net.parameters(), weights, strict=True))
    for index, kept in momentum.items():
        assert torch.equal(optimizer.state_dict()["state"][index]["momentum_buffer"], kept["momentum_buffer"])


@dataclass(frozen=True)
class Scripted(CrossEntropy):
    """Cross-entropy whose total and terms are given, one for each call."""

    script: tuple[list[tuple[float, ...]], ...] = ([],)

    def loss(self, model: Classifier, mixed: Mixed, progress: float) -> Losses:
        total, *terms = self.script[0].pop(0)
        scale = super().loss(model, mixed, progress).total
        return Losses(scale * 0 + total, terms={f"t{i}": torch.tensor(term) for i, term in enumerate(terms)})


@pytest.mark.parametrize(
    ("script", "said", "steps"),
    [
        ([(NAN,)], "total is nan", 0),
        ([(1.0,), (INF,), (NAN,)], "total is inf", 1),
        ([(1.0, 2.0, 3.0), (2.0, 2.0, 3.0), (NAN, INF, NAN), (NAN, NAN, 1.0)], "t0 is inf, t1 is nan", 2),
        ([(NAN, 1.0, NAN)], "t1 is nan", 0),
    ],
)
def test_the_first_loss_that_is_no_number_is_named_with_its_step(script: list, said: str, steps: int) -> None:
    net = make_net()
    optimizer, tally, method = make_sgd(net), Tally(), Scripted(script=(list(script),))
    for _ in script:
        take(net, optimizer, method, SamSpec(), make_batch(), tally)
    with pytest.raises(NonFiniteLoss) as caught:
        tally.read()
    assert (str(caught.value), caught.value.steps) == (said, steps)


def test_a_tally_adds_as_python_does_and_goes_on_from_its_own_sums() -> None:
    random = torch.Generator().manual_seed(3)
    values, sizes = torch.rand(9, 2, generator=random).tolist(), [8, 8, 3] * 3
    expected = [0.0, 0.0]
    first = Tally()
    for row, size in zip(values, sizes, strict=True):
        losses = Losses(torch.tensor(row[0]), terms={"a": torch.tensor(row[1])})
        first.add(first.values(losses), size)
        expected = [old + torch.tensor(value).item() * size for old, value in zip(expected, row, strict=True)]
    assert first.read() == {"total": expected[0], "a": expected[1]}  # to the last bit
    second = Tally()
    second.restart(first.read(), 9)
    assert second.read() == first.read()
    second.restart()
    assert second.read() == {"total": 0.0, "a": 0.0}
    assert Tally().read() == {}


def test_an_optimizer_that_is_not_fused_takes_the_same_steps() -> None:
    fused, plain = make_net(), make_net()
    sgd = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-3)
    for step in range(2):
        take(fused, make_sgd(fused), CrossEntropy(), SamSpec(0.1), make_batch(step))
        take(plain, sgd, CrossEntropy(), SamSpec(0.1), make_batch(step))
        sgd.state.clear()
    for one, other in zip(fused.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
