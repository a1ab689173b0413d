"""How an experiment's settings came about, and what of them may be tuned.

published    as its paper or its authors' code has them (``Method.origins``)
default      as the recipe has them, of which at least one value is ours
given        changed by hand
tuned        chosen by ``fsgl tune`` on validation images, within ``Method.search`` and the ranges below

What is judged are the method's own settings, SAM's and those of averaging; learning rate and weight decay are of the
data set's recipe, and shared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fsgl.errors import UserError
from fsgl.methods.search import Choice, Range, Search
from fsgl.optim.averaging import AveragingSpec
from fsgl.settings import check, setting

# Of every method, around its recipe's value: where the field's values for one data set lie.
SHARED = {"schedule.lr": 10.0, "optim.weight_decay": 10.0}
RHO = Range(0.01, 0.3, log=True)


@dataclass(frozen=True)
class TuningSpec:
    """How a tuned experiment's settings were found; ``fsgl tune`` sets it. The defaults: they were not."""

    budget: str = setting("", "that every method had, such as 20 trials; empty for untuned")
    trials: int = setting(0, "that this one used", at_least=0)
    on: str = setting("", "what they were judged by: validation, or so many folds")
    names: str = setting("", "the settings chosen, with commas")

    def __post_init__(self) -> None:
        check(self, "tuning")
        if bool(self.budget) != (self.trials > 0):
            raise UserError("tuning.budget and tuning.trials belong together; fsgl tune sets both")

    def __str__(self) -> str:
        return f"tuned, {self.trials} trials on {self.on}"


def search_space(experiment: Any) -> dict[str, Search]:
    """What ``fsgl tune`` may try, by the settings' dotted names; always holds the experiment's own values.

    experiment: an ``Experiment``. A range or choice that its own value lies outside of is widened to it.
    """
    space: dict[str, Search] = {}
    for name, factor in SHARED.items():
        value = value_of(experiment, name)
        if value > 0:
            space[name] = Range(value / factor, value * factor, log=True)
    if experiment.sam.rho > 0:
        space["sam.rho"] = RHO
    space |= {f"averaging.{name}": search for name, search in _of_averaging(experiment.averaging).items()}
    space |= {f"method.{name}": search for name, search in experiment.method.searched.items()}
    for name, search in space.items():
        value = value_of(experiment, name)
        if search.holds(value):
            continue
        if isinstance(search, Range):
            space[name] = Range(min(search.low, value), max(search.high, value), search.log)
        else:
            space[name] = Choice((*search.values, value))
    return space


def _of_averaging(spec: AveragingSpec) -> dict[str, Search]:
    """Of SWA the paper's own: from when on, between which rates, and in what cycles; of a moving average its decay."""
    if spec.ema:
        return {"ema": Choice((0.9, 0.99, 0.999, 0.9999))}
    if not spec.on:
        return {}
    middle = min(max(0.5, spec.low), spec.high)  # the low rate may not be above the high one
    return {
        "start": Range(0.5, 0.9), "high": Range(middle, max(1.0, middle)), "low": Range(min(0.05, middle), middle),
        "cycle": Choice((1, 2, 4)),
    }  # fmt: skip


def value_of(experiment: Any, name: str) -> Any:
    """Of a setting by its dotted name."""
    for part in name.split("."):
        experiment = getattr(experiment, part)
    return experiment


def how_set(experiment: Any, as_made: Any) -> str:
    """How an experiment's settings came about, in words. as_made: its recipe's, unchanged."""
    if experiment.tuning.trials:
        return str(experiment.tuning)
    if any(getattr(experiment, part) != getattr(as_made, part) for part in ("method", "sam", "averaging")):
        return "given"
    if experiment.recipe.endswith("+sam"):
        return "default"  # its radius: one for all methods, whose own papers have others or none
    origins: Mapping[str, str] = experiment.method.origins
    chosen = {field.name for field in dataclasses.fields(experiment.method)}
    return "default" if any(origins[name].startswith("ours") for name in chosen & set(origins)) else "published"
