"""How long a training will take, measured on its first steps, and how many of its epochs fit a given time.

A schedule that is cut off ends at a high learning rate, with a network that is worse than one of fewer epochs. So the
number of epochs is what a time budget decides, before the first one, and the schedule is over these.
"""

from __future__ import annotations

import copy
import shlex
import time
from dataclasses import dataclass, replace

import numpy as np
import torch

from fsgl.data.stream.features import ImageFeatures
from fsgl.engine.fit import StepReport, fit
from fsgl.engine.runtime import Placement, Runtime
from fsgl.errors import UserError
from fsgl.recipes.experiment import Experiment
from fsgl.runs.assemble import assemble
from fsgl.runs.network import ModelWithData

TRIED_SECONDS, TRIED_STEPS = 10.0, 20  # of measuring, whichever is over first; the first step warms up
SCORED = 64  # images, by which scoring is timed
FORETOLD_STEPS, FORETOLD_AFTER = 4, 3.0  # after so many steps and seconds it is said how long the rest will take,
LONG = 600.0  # where that is more than so many seconds
MARGIN = 0.9  # of the time that is left: what is measured in seconds is not the same for an hour


@dataclass(frozen=True)
class Pace:
    """Seconds of an epoch's steps, and of scoring validation and test images once."""

    epoch: float
    scoring: float

    def total(self, epochs: int, every: int) -> float:
        """Seconds of so many epochs, scored every so many and twice at the end."""
        return epochs * self.epoch + (epochs // every + 2) * self.scoring


def measure(network: ModelWithData, runtime: Runtime, placement: Placement) -> Pace:
    """Of a network before its training, which stays as it is: a copy of it takes some steps."""
    with torch.random.fork_rng():  # of dropout and the like
        return _measured(replace(network, model=copy.deepcopy(network.model)), runtime, placement)


def _measured(tried: ModelWithData, runtime: Runtime, placement: Placement) -> Pace:
    state, plan = assemble(tried.experiment, tried, replace(runtime, compile=False, cuda_graphs=False), placement)
    start = warm = time.perf_counter()
    steps = 0

    def enough(report: StepReport) -> bool:
        nonlocal warm, steps
        warm, steps = (time.perf_counter(), 0) if report.step == 1 else (warm, steps + 1)
        return steps >= TRIED_STEPS or time.perf_counter() - start > TRIED_SECONDS

    for _ in fit(state, plan, enough):
        break
    a_step = (time.perf_counter() - warm) / steps if steps else time.perf_counter() - start
    parts = [part for part in (tried.data.val, tried.data.test) if part is not None and len(part)]
    some = parts[-1].take(np.arange(min(SCORED, len(parts[-1]))))
    start = time.perf_counter()
    tried.logits(some, placement.device, 0 if isinstance(some, ImageFeatures) else runtime.workers)
    scoring = (time.perf_counter() - start) / len(some) * sum(map(len, parts))
    return Pace(a_step * plan.stream.steps_per_epoch, scoring)


def fit_into(network: ModelWithData, seconds: float, pace: Pace) -> ModelWithData:
    """The network with as many of its experiment's epochs as fit. Raises UserError where not one does."""
    experiment = network.experiment
    every, wanted = experiment.evaluation.every, experiment.optim.epochs
    left = MARGIN * seconds
    fitting = next((n for n in range(wanted, 0, -1) if pace.total(n, every) <= left), 0)
    if not fitting:
        raise UserError(
            f"one epoch takes about {said(pace.total(1, every))}, and of the time budget {said(max(0.0, seconds))} are "
            "left; give more, or take a smaller network or images (--backbone, --image-size), or fsgl auto"
        )
    if fitting == wanted:
        return network
    return replace(network, experiment=replace(experiment, optim=replace(experiment.optim, epochs=fitting)))


def within_budget(network: ModelWithData, runtime: Runtime, placement: Placement, deadline: float) -> ModelWithData:
    """As ``fit_into``, by what is measured now; says what fits. deadline: by ``time.monotonic``."""
    fitted = fit_into(network, deadline - time.monotonic(), measure(network, runtime, placement))
    fitting, wanted = fitted.experiment.optim.epochs, network.experiment.optim.epochs
    if runtime.show:
        print("time budget: all epochs fit" if fitted is network else f"time budget: {fitting} of {wanted} epochs fit")
    return fitted


class Foretelling:
    """What to say once, after the first steps of a training that takes long on a CPU.

    steps: of the whole training.
    """

    def __init__(self, experiment: Experiment, device: torch.device, steps: int) -> None:
        self._experiment, self._steps = experiment, steps
        self._over = device.type != "cpu" or experiment.transfer.cached_views > 0
        self._start = time.monotonic()
        self._first: int | None = None

    def __call__(self, steps: int) -> str | None:
        """After so many steps in all."""
        if self._over:
            return None
        if self._first is None:  # the first step warms up
            self._start, self._first = time.monotonic(), steps
            return None
        taken, passed = steps - self._first, time.monotonic() - self._start
        if taken < FORETOLD_STEPS or passed < FORETOLD_AFTER:
            return None
        self._over = True
        left = passed / taken * (self._steps - steps)
        return None if left < LONG else f"about {said(left)} to go, scoring aside; faster: {self._faster()}"

    def _faster(self) -> str:
        data, transfer = self._experiment.data, self._experiment.transfer
        ways = ["--time-budget MINUTES trains as many epochs as fit"]
        if transfer.weights is not None and transfer.train != "heads":
            ways.append("--freeze trains the heads alone")
        if data.name == "own":
            ways.append(f"fsgl auto {shlex.quote(data.root)} --minutes 10")
        return "; ".join(ways)


def said(seconds: float) -> str:
    """As a person would: "40 s", "12 min", "3.5 h", "4 days"."""
    for most, unit, size in ((90, "s", 1), (90 * 60, "min", 60), (48 * 3600, "h", 3600)):
        if seconds < most:
            amount = seconds / size
            return f"{amount:.1f} {unit}" if unit == "h" and amount < 10 else f"{max(1, round(amount))} {unit}"
    return f"{seconds / 86400:.0f} days"
