"""Runs beside each other: what may be ranked, means with intervals over seeds, paired differences, and in words.

A run is the content of its record (report/records.py, recording.py): from a run folder or from results/. Its label is
its recipe and adjustment; runs of one label differ in their seeds. Accuracy is that of the last epoch, the mean over
classes, which is top-1 where every class has as many test images.
"""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fsgl.evaluation.statistics import (
    Difference,
    Interval,
    holm,
    mean_interval,
    paired_bootstrap,
    paired_difference,
    verdict,
)
from fsgl.report.render import Table
from fsgl.report.table import EMPTY
from fsgl.report.transfers import describe_transfer, transfer_key

Run = Mapping[str, Any]
_OF_A_METHOD = ("recipe", "method", "sam", "seed", "transfer", "averaging")
_TUNED = ("schedule", "lr"), ("optim", "weight_decay")
_GROUPS = ("many", "medium", "few")


def label_of(run: Run) -> str:
    """RECIPE, or RECIPE+ADJUSTMENT."""
    adjusted = (run.get("adjustment") or {}).get("name")
    return "+".join(filter(None, [run["settings"]["recipe"], adjusted]))


def ranked_with(run: Run) -> str:
    """Equal for runs that may be ranked against each other: those that differ in method and seed only.

    The images and their split, draw, backbone, what it began with, batch, form of the schedule and epochs, test set and
    groups; a sorting key. Learning rate and weight decay count to the method: what suits one does not suit the other.
    """
    shared = {name: part for name, part in run["settings"].items() if name not in _OF_A_METHOD}
    for part, name in _TUNED:
        shared[part] = {key: value for key, value in shared[part].items() if key != name}
    return json.dumps([shared["data"]["name"], shared, run["data"]["split_hash"], transfer_key(run)], sort_keys=True)


def method_of(run: Run) -> str:
    """Equal for runs that differ in their seed only, of those that may be ranked against each other."""
    settings = run["settings"]
    own = [settings[name] for name in ("recipe", "method", "sam")]
    adjusted = (run.get("adjustment") or {}).get("name")
    return json.dumps([*own, settings.get("averaging"), adjusted, tuned(run)], sort_keys=True)


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


def make_entries(runs: Sequence[Run], failed: Mapping[str, Sequence[int]] | None = None) -> list[Entry]:
    """One entry a label, the best accuracy first. failed: seeds without result, by label.

    Raises ValueError where the runs may not be ranked against each other.
    """
    if len({ranked_with(run) for run in runs}) > 1:
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
    """Last epoch, mean over classes, %."""
    value: float | None = run["epochs"][-1]["test"]["balanced"]
    return value


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


def _last(name: str) -> Callable[[Run], float | None]:
    return lambda run: run["epochs"][-1]["test"][name]


def beyond(*path: str) -> Callable[[Run], float | None]:
    """A figure of ``reliability.beyond_accuracy``; None of records from before there was that."""

    def figure(run: Run) -> float | None:
        value: Any = run.get("beyond")
        for name in path:
            value = None if value is None else value.get(name)
        return None if value is None else float(value)

    return figure


def with_interval(interval: Interval | None) -> str:
    """71.3 ± 0.4, or the mean alone."""
    if interval is None:
        return EMPTY
    return f"{interval.mean:.1f}" + ("" if interval.half_width is None else f" ± {interval.half_width:.1f}")


def accuracy_table(entries: Sequence[Entry], title: str) -> Table:
    """A row a label: accuracy with its interval over seeds, groups, what it cost, and the other two epochs."""
    rows = []
    for entry in entries:
        cost = entry.runs[0]["cost"] if entry.runs else {}
        seeds = str(len(entry.runs)) + (f" ({len(entry.failed)} failed)" if entry.failed else "")
        rows.append((
            entry.label, seeds, with_interval(entry.interval(accuracy)),
            *(entry.mean(_last(group)) for group in _GROUPS),
            entry.mean(beyond("worst_class")), entry.mean(beyond("harmonic_mean")), entry.mean(_last("ece")),
            str(cost.get("passes_per_step", EMPTY)), _seconds(entry),
            entry.mean(best_on_validation), entry.mean(best_on_test),
        ))  # fmt: skip
    headings = (
        "method", "seeds", "accuracy", *_GROUPS, "worst class", "harmonic", "ECE", "passes", "seconds",
        "best on val", "best on test (unfair)",
    )  # fmt: skip
    note = (
        "accuracy: last epoch, mean over classes, % (± 95 % interval over seeds, Student's t); passes: forward passes "
        "of the backbone a step; seconds: of training; best on val: the epoch that is best on validation images; best "
        "on test: what papers often report, and no fair figure."
    )
    return Table(title, headings, tuple(rows), (note,))


def reliability_table(entries: Sequence[Entry]) -> Table:
    """Calibration by group and accuracy with abstention."""
    figures = (
        *(beyond("ece", group) for group in _GROUPS), *(beyond("selective", share) for share in ("90", "80", "50")),
        beyond("aurc"),
    )  # fmt: skip
    headings = ("method", *(f"ECE {group}" for group in _GROUPS), "acc at 90 %", "at 80 %", "at 50 %", "AURC")
    rows = tuple((entry.label, *(entry.mean(figure) for figure in figures)) for entry in entries if entry.runs)
    note = "acc at 90 %: of the 90 % of test images that the network is surest of; AURC: mean risk over all coverages."
    return Table("Calibration and abstention, %", headings, rows, (note,))


def priors_table(entries: Sequence[Entry]) -> Table:
    """Accuracy under long-tailed, even and reversed test classes."""
    names = next((list(run["beyond"]["priors"]) for entry in entries for run in entry.runs if run.get("beyond")), [])
    rows = tuple(
        (entry.label, *(entry.mean(beyond("priors", name)) for name in names)) for entry in entries if entry.runs
    )
    note = "forward-50: test classes as unequal as by imbalance factor 50 in training; backward: the tail is frequent."
    return Table("Accuracy by the classes' frequency at test, %", ("method", *names), rows, (note,))


@dataclass(frozen=True)
class Comparison:
    """An entry against the reference.  over_images: over resampled test images; None without per-image results."""

    entry: Entry
    over_seeds: Difference
    p_adjusted: float | None
    over_images: Difference | None
    words: str


def compare_with(entries: Sequence[Entry], reference: Entry) -> list[Comparison]:
    """Every other entry against the reference, at the seeds that both have; p-values adjusted for their number (Holm).

    Raises ValueError where the reference has no run.
    """
    if not reference.runs:
        raise ValueError(f"{reference.label} has no result to compare with")
    others = [entry for entry in entries if entry is not reference and reference.paired(entry, accuracy)[0]]
    differences = [paired_difference(*reference.paired(entry, accuracy)) for entry in others]
    adjusted = holm([difference.p_value for difference in differences])
    return [
        Comparison(
            entry, difference, p, _over_images(reference, entry),
            verdict(reference.label, entry.label, difference, p),
        )
        for entry, difference, p in zip(others, differences, adjusted, strict=True)
    ]  # fmt: skip


def differences_table(comparisons: Sequence[Comparison], reference: Entry) -> Table:
    """A row a comparison, the sentence at its end."""
    rows = []
    for comparison in comparisons:
        seeds, images = comparison.over_seeds, comparison.over_images
        rows.append((
            comparison.entry.label, _signed(seeds.interval),
            EMPTY if seeds.effect_size is None else f"{seeds.effect_size:+.1f}", _p(seeds.p_value),
            _p(comparison.p_adjusted), EMPTY if images is None else _signed(images.interval), comparison.words,
        ))  # fmt: skip
    headings = ("method", "difference", "effect", "p", "p (Holm)", "over images", "in words")
    note = (
        f"difference: from {reference.label}, in points, at equal seeds and splits, with its 95 % interval (paired t); "
        "effect: d_z, mean over deviation of the differences; p (Holm): adjusted for the number of rows; over images: "
        "top-1, 95 % interval over resampled test images (paired bootstrap) for these trained networks."
    )
    return Table(f"Against {reference.label}", headings, tuple(rows), (note,))


def describe_shared(runs: Sequence[Run], environment: Mapping[str, Any]) -> str:
    """What all rows of a comparison share, in words, with their learning rates and decays. environment: of a run."""
    run = runs[0]
    settings, data, cost = run["settings"], run["data"], run["cost"]
    draw = "" if settings["data"]["imbalance_factor"] is None else f"draw `{settings['data']['draw']}`, "  # own tails
    threads = f"{environment['threads']} thread{'s' if environment['threads'] != 1 else ''}"
    return (
        f"{data['train']:,} training images ({data['largest_class']} to {data['smallest_class']} a class, {draw}"
        f"split `{data['split_hash'][:12]}`), {data['test']:,} test images; "
        f"{settings['backbone']} ({cost['backbone_parameters'] / 1e6:.2f} M parameters, "
        f"{cost['multiply_adds_per_image'] / 1e6:.3g} M multiply-adds), batch {settings['optim']['batch_size']}, "
        f"{_describe_tuned(runs)}, "
        f"{settings['optim']['epochs']} epochs, {describe_transfer(run)}; accuracy of the last epoch. Measured on "
        f"{environment['processor']}, {threads} a run, torch {environment['versions']['torch']}."
    )


def _describe_tuned(runs: Sequence[Run]) -> str:
    labels: dict[tuple[float, float], set[str]] = defaultdict(set)
    for run in runs:
        labels[tuned(run)].add(label_of(run))
    if len(labels) == 1:
        ((lr, decay),) = labels
        return f"learning rate {lr:g}, weight decay {decay:g}"
    each = (f"{lr:g} and {decay:g} ({', '.join(sorted(of))})" for (lr, decay), of in sorted(labels.items()))
    return f"learning rate and weight decay {'; '.join(each)}"


def _over_images(reference: Entry, entry: Entry) -> Difference | None:
    pairs = []
    for run in reference.runs:
        other = next((each for each in entry.runs if each["settings"]["seed"] == run["settings"]["seed"]), None)
        if other is not None and run.get("right") and other.get("right") and run["n"] == other["n"]:
            pairs.append((_right(run), _right(other)))
    if not pairs:
        return None
    a, b = zip(*pairs, strict=True)
    return paired_bootstrap(np.stack(a), np.stack(b))


def _right(run: Run) -> np.ndarray:
    packed = np.frombuffer(base64.b64decode(run["right"]), dtype=np.uint8)
    return np.unpackbits(packed, count=run["n"]).astype(bool)


def _seconds(entry: Entry) -> str:
    seconds = [run["train_seconds"] for run in entry.runs]
    if not seconds:
        return EMPTY
    mean = float(np.mean(seconds))
    return f"{mean:.1f}" if mean < 10 else f"{mean:.0f}"


def _signed(interval: Interval) -> str:
    bounds = "" if interval.low is None else f" [{interval.low:+.1f}, {interval.high:+.1f}]"
    return f"{interval.mean:+.1f}{bounds}"


def _p(value: float | None) -> str:
    return EMPTY if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"
