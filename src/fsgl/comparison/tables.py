"""The tables of a comparison, from its entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fsgl.comparison.cost import seconds
from fsgl.comparison.differences import Comparison
from fsgl.comparison.entries import (
    HEADLINE,
    Entry,
    Run,
    accuracy,
    best_on_test,
    best_on_validation,
    budget_of,
    last,
    reliability,
    top1,
    top1_differs,
)
from fsgl.evaluation.statistics import Interval
from fsgl.recipes.budget import budget_note
from fsgl.report.render import Table
from fsgl.report.table import EMPTY
from fsgl.report.tested import UNTESTED, is_untested, rests_on

_GROUPS = ("many", "medium", "few")


def accuracy_table(entries: Sequence[Entry], title: str, tuned_at: int | None = None) -> Table:
    """A row a label: accuracy with its interval over seeds, groups, what it cost, and the other two epochs.

    tuned_at: epochs that tuned rows were tuned for; None is as many as they were trained for.
    """
    two = top1_differs(entries)
    epochs = {run["settings"]["optim"]["epochs"] for entry in entries for run in entry.runs}
    stated = any(run.get("settings_from") for entry in entries for run in entry.runs)
    groups = _groups(entries)
    rows = []
    for entry in entries:
        cost = entry.runs[0]["cost"] if entry.runs else {}
        seeds = str(len(entry.runs)) + (f" ({len(entry.failed)} failed)" if entry.failed else "")
        rows.append((
            entry.label, with_interval(entry.interval(accuracy)),  # first, for those with narrow screens
            *([with_interval(entry.interval(top1))] if two else []),
            *([_settings_from(entry, tuned_at)] if stated else []), seeds,
            *(UNTESTED if is_untested(groups, group) else entry.mean(last(group)) for group in _GROUPS),
            entry.mean(reliability("worst_class")), entry.mean(reliability("harmonic_mean")), entry.mean(last("ece")),
            str(cost.get("passes_per_step", EMPTY)), *([_epochs(entry)] if len(epochs) > 1 else []), _seconds(entry),
            entry.mean(best_on_validation), entry.mean(best_on_test),
        ))  # fmt: skip
    headings = (
        "method", HEADLINE, *(["top-1"] if two else []), *(["settings"] if stated else []), "seeds", *_GROUPS,
        "worst class", "harmonic", "ECE", "passes", *(["epochs"] if len(epochs) > 1 else []), "seconds",
        "best on val", "best on test (unfair)",
    )  # fmt: skip
    note = (
        f"{HEADLINE}: accuracy of the last epoch, % (± 95 % interval over seeds, Student's t); passes: forward passes "
        "of the backbone a step; seconds: of training, of the fastest seed; best on val: the epoch that is best on "
        "validation images; best on test: what papers often report, and no fair figure."
    )
    if stated:
        note += (
            " Settings of the method's own: published, as its paper or its authors' code has them; default, of which "
            "one at least is ours; given by hand; or tuned. Adjusted on validation: what is done after training has "
            "one number, which was chosen there."
        )
    elsewhere = any(_tuned_for_others(run, tuned_at) for entry in entries for run in entry.runs)
    if elsewhere:
        note += (
            f" Rows tuned for {tuned_at} epochs and trained for another number of them say so: other settings might "
            "suit that number better."
        )
    tested = [] if groups is None else rests_on(groups, HEADLINE)
    short = budget_note([run for entry in entries for run in entry.runs])
    return Table(title, headings, tuple(rows), (note, *tested, *([] if short is None else [short])))


def _groups(entries: Sequence[Entry]) -> Mapping[str, Any] | None:
    """Of the classes, as metrics have them; those of all runs that are ranked together are the same."""
    return next((run["epochs"][-1]["test"].get("groups") for entry in entries for run in entry.runs), None)


def _settings_from(entry: Entry, tuned_at: int | None) -> str:
    return ", ".join(sorted({_run_settings_from(run, tuned_at) for run in entry.runs})) or EMPTY


def _run_settings_from(run: Run, tuned_at: int | None) -> str:
    trained, adjusted = run.get("settings_from") or EMPTY, run.get("adjustment") or {}
    if _tuned_for_others(run, tuned_at):
        trained += f", for {tuned_at} epochs"
    tuned_on = adjusted.get("tuned_on", "given")
    return trained if tuned_on == "given" else f"{trained}, adjusted on {tuned_on}"


def _tuned_for_others(run: Run, tuned_at: int | None) -> bool:
    """Whether its settings were chosen for another number of epochs than it was trained for."""
    return bool(budget_of(run)) and tuned_at not in (None, run["settings"]["optim"]["epochs"])


def reliability_table(entries: Sequence[Entry]) -> Table:
    """Calibration by group and accuracy with abstention."""
    figures = (
        *(reliability("ece", group) for group in _GROUPS),
        *(reliability("selective", share) for share in ("90", "80", "50")),
        reliability("aurc"),
    )
    headings = ("method", *(f"ECE {group}" for group in _GROUPS), "acc at 90 %", "at 80 %", "at 50 %", "AURC")
    groups = _groups(entries)
    untested = [is_untested(groups, group) for group in _GROUPS] + [False] * 4
    rows = tuple(
        (entry.label, *(UNTESTED if un else entry.mean(figure) for figure, un in zip(figures, untested, strict=True)))
        for entry in entries if entry.runs
    )  # fmt: skip
    note = "acc at 90 %: of the 90 % of test images that the network is surest of; AURC: mean risk over all coverages."
    return Table("Calibration and abstention, %", headings, rows, (note,))


def priors_table(entries: Sequence[Entry]) -> Table:
    """Accuracy under long-tailed, even and reversed test classes."""
    names = next((list(run["beyond"]["priors"]) for entry in entries for run in entry.runs if run.get("beyond")), [])
    rows = tuple(
        (entry.label, *(entry.mean(reliability("priors", name)) for name in names)) for entry in entries if entry.runs
    )
    note = "forward-50: test classes as unequal as by imbalance factor 50 in training; backward: the tail is frequent."
    return Table("Accuracy by the classes' frequency at test, %", ("method", *names), rows, (note,))


def differences_table(comparisons: Sequence[Comparison], reference: Entry, note: str = "") -> Table:
    """A row a comparison, the sentence at its end. note: of what else is to be known, such as earlier looks."""
    two = any(each.top1 is not None for each in comparisons)
    rows = []
    for each in comparisons:
        seeds, images = each.headline.difference, each.over_images
        rows.append((
            each.entry.label, signed(seeds.interval),
            EMPTY if seeds.effect_size is None else f"{seeds.effect_size:+.1f}", _p(seeds.p_value),
            _p(each.headline.p_adjusted), EMPTY if images is None else signed(images.interval),
            *([EMPTY if each.top1 is None else signed(each.top1.difference.interval)] if two else []), each.words,
        ))  # fmt: skip
    headings = (
        "method", f"{HEADLINE}, over seeds", "effect", "p", "p (Holm)", f"{HEADLINE}, over images",
        *(["top-1, over seeds"] if two else []), "in words",
    )  # fmt: skip
    notes = (
        f"Differences from {reference.label}, in points, at equal seeds and splits. Over seeds: 95 % interval of the "
        "paired t test, which p is of, too; effect: d_z, mean over deviation of the differences; p (Holm): adjusted "
        "for the number of rows, and what the words go by. Over images: 95 % interval over test images resampled class "
        "by class (paired bootstrap), for these trained networks. Seeds that would tell: with a probability of 80 %.",
        *([note] if note else []),
    )
    return Table(f"Against {reference.label}", headings, tuple(rows), notes)


def with_interval(interval: Interval | None) -> str:
    """71.3 ± 0.4, or the mean alone."""
    if interval is None:
        return EMPTY
    return f"{interval.mean:.1f}" + ("" if interval.half_width is None else f" ± {interval.half_width:.1f}")


def signed(interval: Interval) -> str:
    """+1.2 [+0.3, +2.1], or the mean alone."""
    bounds = "" if interval.low is None else f" [{interval.low:+.1f}, {interval.high:+.1f}]"
    return f"{interval.mean:+.1f}{bounds}"


def _epochs(entry: Entry) -> str:
    return str(entry.runs[0]["settings"]["optim"]["epochs"]) if entry.runs else EMPTY


def _seconds(entry: Entry) -> str:
    if not entry.runs:
        return EMPTY
    fastest = seconds(entry)
    return f"{fastest:.1f}" if fastest < 10 else f"{fastest:.0f}"


def _p(value: float | None) -> str:
    return EMPTY if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"
