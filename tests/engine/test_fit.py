from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fsgl.data.stream.streams import ArrayStream, StreamSpec
from fsgl.data.stream.transforms import CropFlip
from fsgl.engine.fit import EpochReport, StepReport, TrainingPlan, TrainState, fit
from fsgl.engine.step import Update
from fsgl.engine.tally import NonFiniteLoss
from fsgl.losses.class_weights import power_class_weights
from fsgl.methods import Glmc
from fsgl.models.assemble import FourHeadNet
from fsgl.models.feature_scaling import FeatureScaling
from fsgl.models.heads import FourHeads
from fsgl.optim.sam import SamSpec, make_ascent
from fsgl.optim.schedule import Schedule
from fsgl.types import Batch, Losses, Mixed

COUNTS = [12, 6, 3]
IMAGES = np.random.default_rng(0).integers(0, 256, (21, 6, 6, 3), dtype=np.uint8)
LABELS = np.repeat(np.arange(3), COUNTS)
EPOCHS, STEPS = 3, 4


def on(report: StepReport) -> bool:
    return False


def stop_at(*places: tuple[int, int]) -> Callable[[StepReport], bool]:
    """Stops after the step before (epoch, step), counted as ``TrainState`` counts."""
    return lambda report: (report.epoch, report.step) in places


def make_state() -> TrainState:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    weights = power_class_weights(COUNTS, 1.2).float()
    net = FourHeadNet(backbone, FeatureScaling(COUNTS, 0.5), FourHeads(5, 3, 4), weights)
    return TrainState(net, torch.optim.SGD(net.parameters(), lr=9.0, momentum=0.9, weight_decay=5e-3, fused=True))


def make_recipe(state: TrainState, method: Glmc | None = None, epochs: int = EPOCHS) -> TrainingPlan:
    stream = ArrayStream(IMAGES, LABELS, 3, StreamSpec(6, 2, 0.5, seed=4), CropFlip(padding=1), (0.5,) * 3, (0.25,) * 3)
    method = method or Glmc()
    update = Update(state.model, method, state.optimizer, make_ascent(state.model, SamSpec(0.05)), state.tally)
    return TrainingPlan(method, stream, Schedule(0.2), update, 3, epochs, seed=4)


def through_a_file(state: TrainState) -> TrainState:
    """What another process would make of the saved state."""
    buffer = io.BytesIO()
    torch.save(state.state_dict(), buffer)
    buffer.seek(0)
    fresh = make_state()
    with torch.no_grad():
        for value in fresh.model.state_dict().values():
            value.fill_(3)
    fresh.load_state_dict(torch.load(buffer, weights_only=True))
    return fresh


def numbers(report: EpochReport) -> tuple[Any, ...]:
    return report.epoch, report.finished, report.lr, report.loss, report.images


def assert_same(first: TrainState, second: TrainState) -> None:
    assert (first.epoch, first.step, first.tally.read(), first.images) == (
        second.epoch, second.step, second.tally.read(), second.images
    )  # fmt: skip
    for (name, one), other in zip(first.model.state_dict().items(), second.model.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    momenta = [state.optimizer.state_dict()["state"] for state in (first, second)]
    assert momenta[0].keys() == momenta[1].keys()
    for index in momenta[0]:
        assert torch.equal(momenta[0][index]["momentum_buffer"], momenta[1][index]["momentum_buffer"])


@pytest.mark.parametrize(
    "stops", [[(0, 1)], [(0, 3), (1, 2)], [(0, 4)], [(1, 1), (1, 2), (1, 3)], [(2, 4)], [(0, 4), (2, 3)]]
)
def test_stopped_and_resumed_is_uninterrupted_bit_for_bit(stops: list[tuple[int, int]]) -> None:
    whole = make_state()
    expected = [numbers(report) for report in fit(whole, make_recipe(whole), on)]
    state, found = make_state(), []
    for stop in [*stops, None]:
        torch.manual_seed(len(found) + 77)  # another process would not have the same
        reports = list(fit(state, make_recipe(state), on if stop is None else stop_at(stop)))
        found += [numbers(report) for report in reports if report.finished]
        if stop is not None:
            at_end = stop[1] == STEPS
            assert (state.epoch, state.step) == ((stop[0] + 1, 0) if at_end else stop)
            assert reports[-1].finished is at_end
        state = through_a_file(state)
    assert found == expected
    assert_same(state, whole)
    assert (state.epoch, state.step) == (EPOCHS, 0)


def test_a_finished_training_goes_no_further() -> None:
    state = make_state()
    list(fit(state, make_recipe(state, epochs=1), on))
    before = through_a_file(state)
    assert list(fit(state, make_recipe(state, epochs=1), on)) == []
    assert_same(state, before)


def test_should_stop_is_asked_once_a_step_and_sees_where_training_stands() -> None:
    state, seen = make_state(), []

    def note(report: StepReport) -> bool:
        seen.append(report)
        return False

    reports = list(fit(state, make_recipe(state), note))
    assert [(report.epoch, report.step) for report in seen] == [(e, s) for e in range(EPOCHS) for s in (1, 2, 3, 4)]
    assert all(report.steps_per_epoch == STEPS and report.images_per_second > 0 for report in seen)
    for epoch, report in enumerate(reports):
        steps = seen[epoch * STEPS : (epoch + 1) * STEPS]
        assert {step.lr for step in steps} == {report.lr}
        assert report.lr == pytest.approx(0.1 * (1 + np.cos(np.pi * epoch / EPOCHS)))
        assert report.loss == steps[-1].loss
        assert (report.finished, report.images, report.epoch) == (True, 21, epoch)
        assert report.seconds > 0
    assert state.optimizer.param_groups[0]["lr"] == reports[-1].lr


def test_a_rate_by_steps_is_that_of_the_step_also_after_a_stop() -> None:
    schedule = Schedule(0.2, "step-cosine")
    state = make_state()
    seen: list[float] = []

    def watch(report: StepReport) -> bool:
        seen.append(state.optimizer.param_groups[0]["lr"])
        return (report.epoch, report.step) == (1, 2)

    list(fit(state, replace(make_recipe(state), schedule=schedule), watch))
    list(fit(state, replace(make_recipe(state), schedule=schedule), watch))
    assert seen == [schedule.rate((step + 0.5) / STEPS, EPOCHS) for step in range(EPOCHS * STEPS)]


def test_the_first_stop_ends_training_within_the_epoch() -> None:
    state = make_state()
    (report,) = fit(state, make_recipe(state), stop_at((0, 2), (0, 3)))
    assert (report.finished, report.images) == (False, 12)
    assert (state.epoch, state.step, state.images) == (0, 2, 12)


@dataclass(frozen=True)
class Counting(Glmc):
    """GLMC whose recorded term is the number of its call, and whose loss breaks at one of them."""

    break_at: int = -1
    progresses: tuple[list[float], ...] = ([],)

    def loss(self, model: FourHeadNet, mixed: Mixed, progress: float) -> Losses:
        (calls,) = self.progresses
        calls.append(progress)
        losses = super().loss(model, mixed, progress)
        total = losses.total * float("nan") if len(calls) == self.break_at else losses.total
        return replace(losses, total=total, terms={"call": torch.tensor(float(len(calls)))})


def test_means_weigh_every_image_alike_and_progress_is_epoch_over_epochs() -> None:
    state = make_state()
    method = Counting(progresses=([],))
    reports = list(fit(state, make_recipe(state, method), on))
    for epoch, report in enumerate(reports):  # SAM asks twice; the second answer is the one that is descended
        calls = [2 * (epoch * STEPS + step) for step in (1, 2, 3, 4)]
        expected = sum(call * size for call, size in zip(calls, (6, 6, 6, 3), strict=True)) / 21
        assert report.loss["call"] == pytest.approx(expected)
    assert method.progresses[0] == [epoch / EPOCHS for epoch in range(EPOCHS) for _ in range(2 * STEPS)]


@dataclass(frozen=True)
class Drawing(Glmc):
    """GLMC that notes the first number of every step's generator."""

    drawn: tuple[list[float], ...] = ([],)

    def mix(self, batch: Batch, num_classes: int, generator: torch.Generator) -> Mixed:
        self.drawn[0].append(torch.rand((), generator=generator).item())
        return super().mix(batch, num_classes, generator)


def test_every_step_of_every_epoch_mixes_by_its_own_numbers() -> None:
    state, method = make_state(), Drawing(drawn=([],))
    list(fit(state, make_recipe(state, method), on))
    assert len(set(method.drawn[0])) == len(method.drawn[0]) == EPOCHS * STEPS


@pytest.mark.parametrize("break_at", [11, 12])  # in epoch 1, at its second step: SAM's first and second pass
def test_a_loss_that_is_no_number_leaves_the_state_of_the_step_before(break_at: int) -> None:
    good = make_state()
    list(fit(good, make_recipe(good), stop_at((1, 1))))
    state = make_state()
    with pytest.raises(NonFiniteLoss, match="total is nan"):
        list(fit(state, make_recipe(state, Counting(break_at=break_at, progresses=([],))), on))
    assert (state.epoch, state.step) == (1, 1)
    for one, other in zip(state.model.parameters(), good.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_model_is_trained_in_training_mode_and_stays_the_same_object() -> None:
    state = make_state()
    state.model.eval()
    parameters = list(state.model.parameters())
    places = [parameter.data_ptr() for parameter in parameters]
    list(fit(state, make_recipe(state, epochs=1), on))
    assert state.model.training
    assert [parameter.data_ptr() for parameter in state.model.parameters()] == places
