"""Epochs of training, as a generator: whoever runs it measures, logs, saves and prints between them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from fsgl.data.stream.streams import Stream
from fsgl.engine.environment import seeded
from fsgl.engine.step import Updates, training_step
from fsgl.engine.tally import NonFiniteLoss, Tally
from fsgl.methods.base import Method
from fsgl.optim.averaging import AveragingSpec
from fsgl.optim.schedule import Schedule, cosine
from fsgl.randomness import generator

# On a GPU the losses are fetched, and checked, every so many steps; on a CPU, where nothing waits, every step.
READ_EVERY = 20


@dataclass
class TrainState:
    """All that training changes; what a checkpoint holds.

    epoch, step: the next step to take.  tally: the loss terms (and "total"), summed over the present epoch's images.
    seconds: that the present epoch's steps took, in this process and in earlier ones.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    tally: Tally = field(default_factory=Tally)
    epoch: int = 0
    step: int = 0
    images: int = 0
    seconds: float = 0.0

    def means(self) -> dict[str, float]:
        """Loss terms, averaged over the present epoch's images so far; waits for the device. Raises NonFiniteLoss."""
        return {name: value / self.images for name, value in self.sums().items() if self.images}

    def sums(self) -> dict[str, float]:
        """Loss terms, summed over the present epoch's images. Raises NonFiniteLoss, with ``step`` set to where it was:
        the weights are as they were then, but steps were counted on until this was read."""
        try:
            return self.tally.read()
        except NonFiniteLoss as error:
            self.step = error.steps if error.steps is not None else self.step
            raise

    def forget_momentum(self) -> None:
        """In place, as the optimizer's own memory."""
        for memory in self.optimizer.state.values():
            for value in memory.values():
                if isinstance(value, torch.Tensor):
                    value.zero_()

    def state_dict(self) -> dict[str, Any]:
        sums = self.sums()  # first, as it may raise
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "sums": sums,
            "images": self.images,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.images, self.seconds = state["images"], state["seconds"]
        self.tally.restart(state["sums"], self.step)


@dataclass(frozen=True)
class StepReport:
    """Where training stands after a step: for a display, and for deciding to stop.

    loss: the means of the terms over the epoch as of the last time that they were fetched; fresh: that was just now.
    """

    epoch: int
    step: int
    steps_per_epoch: int
    lr: float
    loss: dict[str, float]
    images_per_second: float
    fresh: bool = True


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
class TrainingPlan:
    """What ``fit`` does with a state: everything that stays the same during training.

    update: of that state's weights, with its tally.
    second_stage: the epoch at which one begins, None for training in one piece (``Method.second_stage``).
    averaging: of weights; where it is on, the learning rate is its own.
    """

    method: Method
    stream: Stream
    schedule: Schedule
    update: Updates
    num_classes: int
    epochs: int
    seed: int
    second_stage: int | None = None
    averaging: AveragingSpec = field(default_factory=AveragingSpec)

    def rate(self, epoch: float) -> float:
        """The learning rate of an epoch, or of a place in it (``Schedule.rate``); a second stage has a schedule of its
        own, a cosine from its base rate."""
        if self.averaging.on:
            return self.averaging.rate(self.schedule.lr, int(epoch), self.epochs)
        if self.second_stage is None:
            return self.schedule.rate(epoch, self.epochs)
        if epoch < self.second_stage:
            return self.schedule.rate(epoch, self.second_stage)
        base = self.method.second_optim()[0] or self.schedule.lr
        return cosine(base, epoch - self.second_stage, self.epochs - self.second_stage)

    def enter_stage(self, state: TrainState) -> None:
        """Let the network and the optimizer be as the present epoch wants them; again, after a resumption."""
        if self.second_stage is None or state.epoch < self.second_stage:
            return
        fresh = (state.epoch, state.step) == (self.second_stage, 0)
        with seeded(self.seed, "second stage"):
            self.method.enter_second_stage(state.model, fresh)
        if (decay := self.method.second_optim()[1]) is not None:
            for group in state.optimizer.param_groups:
                group["weight_decay"] = decay
        if fresh:
            state.forget_momentum()


def fit(state: TrainState, plan: TrainingPlan, should_stop: Callable[[StepReport], bool]) -> Iterator[EpochReport]:
    """Train from where the state is to the last epoch, yielding after each.

    ``should_stop`` is asked after every step; once it says so, the epoch is yielded as far as it got and training ends.
    Raises NonFiniteLoss.
    """
    while state.epoch < plan.epochs:
        report, stopped = _epoch(state, plan, should_stop)
        yield report
        if stopped:
            return


def _set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_factor", 1.0)  # of a fine-tuned backbone (runs/assemble.py)


def _epoch(
    state: TrainState, plan: TrainingPlan, should_stop: Callable[[StepReport], bool]
) -> tuple[EpochReport, bool]:
    epoch, total_steps = state.epoch, plan.stream.steps_per_epoch
    lr = plan.rate(epoch)
    _set_rate(state.optimizer, lr)
    plan.enter_stage(state)
    state.model.train()
    images_before, seconds_before = state.images, state.seconds
    read_every = 1 if state.tally.bad.device.type == "cpu" else READ_EVERY
    loss: dict[str, float] = {}
    stopped, start = False, time.perf_counter()
    for batch in plan.stream.batches(epoch, state.step):
        if plan.schedule.by_step and not plan.averaging.on:
            lr = plan.rate(epoch + (state.step + 0.5) / total_steps)
            _set_rate(state.optimizer, lr)
        training_step(
            plan.update,
            plan.method,
            batch,
            plan.num_classes,
            progress=epoch / plan.epochs,
            generator=generator(plan.seed, "mix", epoch, state.step),
        )
        state.images += batch.images
        state.step += 1
        fresh = state.step % read_every == 0 or state.step == total_steps
        loss = state.means() if fresh else loss
        state.seconds += time.perf_counter() - start
        speed = (state.images - images_before) / (state.seconds - seconds_before)
        stopped = should_stop(StepReport(epoch, state.step, total_steps, lr, loss, speed, fresh))
        if stopped:
            break
        start = time.perf_counter()
    finished = state.step == total_steps
    report = EpochReport(epoch, finished, lr, state.means(), state.seconds, state.images)
    if finished:
        state.epoch, state.step, state.images, state.seconds = epoch + 1, 0, 0, 0.0
        state.tally.restart()
    return report, stopped
