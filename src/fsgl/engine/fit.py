"""Epochs of training, as a generator: whoever runs it measures, logs, saves and prints between them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from fsgl.data.streams import Stream
from fsgl.engine.step import training_step
from fsgl.methods.base import Method
from fsgl.optim.sam import Ascent
from fsgl.optim.schedule import Schedule
from fsgl.randomness import generator
from fsgl.types import Losses


@dataclass
class TrainState:
    """All that training changes; what a checkpoint holds.

    epoch, step: the next step to take.  sums: of the loss terms (and "total") over the present epoch's images.
    seconds: that the present epoch's steps took, in this process and in earlier ones.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    images: int = 0
    seconds: float = 0.0

    def add(self, losses: Losses, images: int) -> None:
        """Count a step that descended ``losses`` on a batch of so many images."""
        for name, value in {"total": losses.total, **losses.terms}.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.item() * images
        self.images += images
        self.step += 1

    def means(self) -> dict[str, float]:
        """Loss terms, averaged over the present epoch's images so far."""
        return {name: value / self.images for name, value in self.sums.items()}

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "sums": dict(self.sums),
            "images": self.images,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.sums, self.images, self.seconds = dict(state["sums"]), state["images"], state["seconds"]


@dataclass(frozen=True)
class StepReport:
    """Where training stands after a step: for a display, and for deciding to stop.

    loss: the means of the terms over the epoch so far.
    """

    epoch: int
    step: int
    steps_per_epoch: int
    lr: float
    loss: dict[str, float]
    images_per_second: float


@dataclass(frozen=True)
class EpochReport:
    """An epoch of training, or the part of it before a stop.

    finished: False where a stop cut it short; the state then points at the next step.
    seconds: of its steps, without what ``should_stop`` took.
    """

    epoch: int
    finished: bool
    lr: float
    loss: dict[str, float]
    seconds: float
    images: int


@dataclass(frozen=True)
class Recipe:
    """What ``fit`` does with a state: everything that stays the same during training."""

    method: Method
    stream: Stream
    schedule: Schedule
    ascend: Ascent
    num_classes: int
    epochs: int
    seed: int


def fit(state: TrainState, recipe: Recipe, should_stop: Callable[[StepReport], bool]) -> Iterator[EpochReport]:
    """Train from where the state is to the last epoch, yielding after each.

    ``should_stop`` is asked after every step; once it says so, the epoch is yielded as far as it got and training ends.
    Raises NonFiniteLoss.
    """
    while state.epoch < recipe.epochs:
        report, stopped = _epoch(state, recipe, should_stop)
        yield report
        if stopped:
            return


def _epoch(
    state: TrainState, recipe: Recipe, should_stop: Callable[[StepReport], bool]
) -> tuple[EpochReport, bool]:
    epoch, total_steps = state.epoch, recipe.stream.steps_per_epoch
    lr = recipe.schedule.rate(epoch, recipe.epochs)
    for group in state.optimizer.param_groups:
        group["lr"] = lr
    state.model.train()
    images_before, seconds_before = state.images, state.seconds
    stopped, start = False, time.perf_counter()
    for batch in recipe.stream.batches(epoch, state.step):
        losses = training_step(
            state.model,
            recipe.method,
            state.optimizer,
            recipe.ascend,
            batch,
            recipe.num_classes,
            progress=epoch / recipe.epochs,
            generator=generator(recipe.seed, "mix", epoch, state.step),
        )
        state.add(losses, len(batch.original.labels))
        state.seconds += time.perf_counter() - start
        speed = (state.images - images_before) / (state.seconds - seconds_before)
        stopped = should_stop(StepReport(epoch, state.step, total_steps, lr, state.means(), speed))
        if stopped:
            break
        start = time.perf_counter()
    finished = state.step == total_steps
    report = EpochReport(epoch, finished, lr, state.means(), state.seconds, state.images)
    if finished:
        state.epoch, state.step, state.sums, state.images, state.seconds = epoch + 1, 0, {}, 0, 0.0
    return report, stopped
