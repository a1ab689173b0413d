"""Runs beside each other: which may be ranked, all seeds of one method as an entry, and the figures of a run.

A run is the content of its record (report/records.py, recording.py): from a run folder or from results/. Its label is
its recipe and adjustment; runs of one label differ in their seeds. The headline is the accuracy of the last epoch, the
mean over classes, which is top-1 where every class has as many test images.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from fsgl.comparison.grid import TUNED
from fsgl.data.load import DataSpec
from fsgl.evaluation.statistics import Interval, mean_interval
from fsgl.methods import METHODS
from fsgl.optim.averaging import AveragingSpec
from fsgl.optim.sam import SamSpec
from fsgl.optim.schedule import Schedule
from fsgl.recipes.experiment import EvaluationSpec, OptimSpec
from fsgl.report.table import EMPTY
from fsgl.report.transfers import describe_transfer, transfer_key
from fsgl.settings import default_of, rule_of

Run = Mapping[str, Any]
_OF_A_METHOD = ("recipe", "method", "sam", "seed", "transfer", "averaging", "tuning")
# Parts of an experiment with settings that came later: at their defaults they are no difference to older records.
_PARTS: dict[str, Any] = {"data": DataSpec, "schedule": Schedule, "optim": OptimSpec, "evaluation": EvaluationSpec}
_TUNED = ("schedule", "lr"), ("optim", "weight_decay")
HEADLINE = "mean over classes"


def label_of(run: Run) -> str:
    """RECIPE, with +tuned and +ADJUSTMENT where it is."""
    adjusted = (run.get("adjustment") or {}).get("name")
    return "+".join(filter(None, [run["settings"]["recipe"], TUNED if budget_of(run) else None, adjusted]))


def budget_of(run: Run) -> str:
    """What each method's tuning had; "" for untuned."""
    return str((run["settings"].get("tuning") or {}).get("budget", ""))


def ranked_with(run: Run, any_epochs: bool = False) -> str:
    """Equal for runs that may be ranked against each other: those that differ in method and seed only.

    any_epochs: of a comparison at equal cost, where epochs differ, too.

    The images and their split, draw, backbone, what it began with, batch, form of the schedule and epochs, test set and
    groups; a sorting key. Learning rate and weight decay count to the method: what suits one does not suit the other.
    What was tuned stands apart from what was not, and from what had another budget.
    """
    shared = {name: part for name, part in run["settings"].items() if name not in _OF_A_METHOD}
    for part, kind in _PARTS.items():
        found = _as_compared(shared.get(part, {}), kind)
        shared[part] = {name: value for name, value in found.items() if (part, name) not in _TUNED}
    if any_epochs:
        shared["optim"].pop("epochs")
    tuning = run["settings"].get("tuning") or {}
    kind = [budget_of(run), tuning.get("on", "")]
    return _key([shared["data"]["name"], shared, run["data"]["split_hash"], transfer_key(run), kind])


def _as_compared(settings: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    """Of a part of an experiment, by today's names, without what came later and stands at its default."""
    now = {rule_of(item).formerly or item.name: item.name for item in fields(kind)}
    named = {now.get(name, name): value for name, value in settings.items()}
    later = {item.name: default_of(item) for item in fields(kind) if item.metadata.get("later")}
    return {
        name: value for name, value in named.items() if not (name in later and _is_default(value, later[name]))
    }  # fmt: skip


def _key(content: list[Any]) -> str:
    """Text, equal for what is equal; 20 is 20.0, as a number is written one way or the other by who gave it."""
    return json.dumps(json.loads(json.dumps(content), parse_int=float), sort_keys=True)


def _is_default(value: Any, default: Any) -> bool:
    """Of a setting, or of settings together, of which there may have been fewer."""
    if is_dataclass(default) and not isinstance(default, type):
        whole = asdict(default)
        return {**whole, **value} == whole
    return bool(value == default)


def method_of(run: Run) -> str:
    """Equal for runs that differ in their seed only, of those that may be ranked against each other."""
    settings = run["settings"]
    method = METHODS.get(settings["method"].get("name"))
    own = [
        settings["recipe"],
        settings["method"] if method is None else _as_compared(settings["method"], method),
        _as_compared(settings["sam"], SamSpec),
    ]
    adjusted = (run.get("adjustment") or {}).get("name")
    averaging = {**asdict(AveragingSpec()), **(settings.get("averaging") or {})}
    return _key([*own, averaging, adjusted, tuned(run)])


def tuned(run: Run) -> tuple[float, float]:
    """Learning rate and weight decay."""
    lr, decay = (run["settings"][part][name] for part, name in _TUNED)
    return lr, decay


@dataclass(frozen=True)
class Entry:
    """All seeds of one label.  failed: seeds that have no result."""

    label: str
    runs: tuple[Run, ...]
    failed: tuple[int, ...] = ()

    @property
    def seeds(self) -> list[int]:
        return [run["settings"]["seed"] for run in self.runs]

    def values(self, figure: Callable[[Run], float | None]) -> list[float]:
        return [value for run in self.runs if (value := figure(run)) is not None]

    def mean(self, figure: Callable[[Run], float | None]) -> str:
        values = self.values(figure)
        return f"{np.mean(values):.1f}" if values else EMPTY

    def interval(self, figure: Callable[[Run], float | None]) -> Interval | None:
        values = self.values(figure)
        return mean_interval(values) if values else None

    def paired(self, other: Entry, figure: Callable[[Run], float | None]) -> tuple[list[float], list[float]]:
        """This one's and the other's figures of the seeds that both have."""
        mine, others = ({run["settings"]["seed"]: figure(run) for run in entry.runs} for entry in (self, other))
        both = [
            (a, b) for seed in mine.keys() & others.keys()
            if (a := mine[seed]) is not None and (b := others[seed]) is not None
        ]  # fmt: skip
        return [a for a, _ in both], [b for _, b in both]


def make_entries(
    runs: Sequence[Run], failed: Mapping[str, Sequence[int]] | None = None, any_epochs: bool = False
) -> list[Entry]:
    """One entry a label, the best accuracy first. failed: seeds without result, by label.  any_epochs: at equal cost.

    Raises ValueError where the runs may not be ranked against each other.
    """
    if len({ranked_with(run, any_epochs) for run in runs}) > 1:
        raise ValueError("these runs differ in more than method and seed, so they are not ranked against each other")
    by_method: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_method[method_of(run)].append(run)
    failed = dict(failed or {})
    entries = [
        Entry(label_of(same[0]), tuple(sorted(same, key=lambda run: run["settings"]["seed"])),
              tuple(failed.pop(label_of(same[0]), ())))
        for same in by_method.values()
    ]  # fmt: skip
    entries.sort(key=lambda entry: -float(np.mean(entry.values(accuracy))))
    return [*entries, *(Entry(label, (), tuple(seeds)) for label, seeds in failed.items())]


def accuracy(run: Run) -> float | None:
    """The headline: last epoch, mean over classes, %."""
    value: float | None = run["epochs"][-1]["test"]["balanced"]
    return value


def top1(run: Run) -> float | None:
    """Last epoch, over images whatever their class, %."""
    value: float | None = run["epochs"][-1]["test"]["top1"]
    return value


def top1_differs(entries: Sequence[Entry]) -> bool:
    """Whether the mean over classes and top-1 are two metrics here: where the classes' test images differ in number."""
    pairs = [(top1(run), accuracy(run)) for entry in entries for run in entry.runs]
    return any(a is not None and b is not None and abs(a - b) > 1e-6 for a, b in pairs)


def best_on_validation(run: Run) -> float | None:
    """Test accuracy of the epoch that is best on validation; None without validation images."""
    scored = [epoch for epoch in run["epochs"] if epoch.get("val") and epoch["val"]["balanced"] is not None]
    if not scored:
        return None
    value: float | None = max(scored, key=lambda epoch: epoch["val"]["balanced"])["test"]["balanced"]
    return value


def best_on_test(run: Run) -> float | None:
    """Of the epoch that is best on test: what papers often report, and not fair."""
    return max(epoch["test"]["balanced"] for epoch in run["epochs"])


def last(name: str) -> Callable[[Run], float | None]:
    """A figure of the last epoch's test metrics."""
    return lambda run: run["epochs"][-1]["test"][name]


def reliability(*path: str) -> Callable[[Run], float | None]:
    """A figure of ``reliability.beyond_accuracy``; None of records from before there was that."""

    def figure(run: Run) -> float | None:
        value: Any = run.get("beyond")
        for name in path:
            value = None if value is None else value.get(name)
        return None if value is None else float(value)

    return figure


def describe_shared(runs: Sequence[Run], environment: Mapping[str, Any]) -> str:
    """What all rows of a comparison share, in words, with their learning rates and decays. environment: of a run."""
    run = runs[0]
    settings, data, cost = run["settings"], run["data"], run["cost"]
    draw = "" if settings["data"]["imbalance_factor"] is None else f"draw `{settings['data']['draw']}`, "  # own tails
    return (
        f"{data['train']:,} training images ({data['largest_class']} to {data['smallest_class']} a class, {draw}"
        f"split `{data['split_hash'][:12]}`), {data['test']:,} test images; "
        f"{settings['backbone']} ({cost['backbone_parameters'] / 1e6:.2f} M parameters, "
        f"{cost['multiply_adds_per_image'] / 1e6:.3g} M multiply-adds), batch {settings['optim']['batch_size']}, "
        f"{describe_rates(runs)}, "
        f"{_epochs(runs)} epochs, {describe_transfer(run)}; accuracy of the last epoch. Measured on "
        f"{describe_machine(environment)}, torch {environment['versions']['torch']}."
    )


def describe_machine(environment: Mapping[str, Any]) -> str:
    """What a run was trained on, from its record's environment."""
    if environment.get("device", "cpu") not in ("cpu", "mps"):
        return f"{environment['device']} in {environment.get('precision', 'float32')}"
    return f"{environment['processor']}, {environment['threads']} thread{'s' * (environment['threads'] != 1)} a run"


def _epochs(runs: Sequence[Run]) -> str:
    found = sorted({run["settings"]["optim"]["epochs"] for run in runs})
    return str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"


def describe_rates(runs: Sequence[Run]) -> str:
    """Learning rate and decay, with the rows of each where they differ."""
    labels: dict[tuple[float, float], set[str]] = defaultdict(set)
    for run in runs:
        labels[tuned(run)].add(label_of(run))
    if len(labels) == 1:
        ((lr, decay),) = labels
        return f"learning rate {lr:g}, weight decay {decay:g}"
    each = (f"{lr:g} and {decay:g} ({', '.join(sorted(of))})" for (lr, decay), of in sorted(labels.items()))
    return f"learning rate and weight decay {'; '.join(each)}"
