"""Several comparisons, each of its own data set, told together: an estimate over data sets, and ranks.

A comparison is the folder of ``fsgl compare``, or a folder of records; in each, runs that may be ranked together are a
data set. Methods that not all have are left out, and named.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fsgl.comparison.entries import HEADLINE, Entry, Run, accuracy, make_entries, ranked_with
from fsgl.comparison.page import ComparisonReport
from fsgl.comparison.tables import signed
from fsgl.data.known import OWN
from fsgl.errors import UserError
from fsgl.evaluation.across import SETS_OF_RANKS, OverDataSets, over_data_sets, ranks, wilcoxon_against
from fsgl.evaluation.statistics import ALPHA, holm
from fsgl.files import read_json
from fsgl.report import comparison_figures, web
from fsgl.report.records import read_records
from fsgl.report.render import Table
from fsgl.report.table import EMPTY
from fsgl.report.transfers import brief_transfer


@dataclass(frozen=True)
class DataSet:
    """title: what tells it from the others.  entries: by label."""

    title: str
    entries: Mapping[str, Entry]


def read_sets(folders: Sequence[Path], against: str) -> list[DataSet]:
    """The data sets in these folders that have the reference. Raises UserError where there is none, or one twice, be it
    with other epochs, network or validation images."""
    found: dict[str, list[Run]] = defaultdict(list)
    names: dict[str, str] = {}
    for folder in folders:
        path = folder / "comparison.json"
        if path.exists():
            content = read_json(path)
            runs = content.get("runs", []) if isinstance(content, dict) else []
            if runs:  # but for the last, which are of the same images as the others
                runs = runs[: len(runs) - content.get("at_equal_cost", 0)]
        else:
            runs = [record["content"] for record in read_records(folder, "run")]
        if not runs:
            raise UserError(f"{folder}: neither a comparison (comparison.json) nor records of runs")
        for run in runs:
            found[ranked_with(run)].append(run)
            names.setdefault(ranked_with(run), folder.resolve().name)
    return sets_of(list(found.values()), against, list(names.values()))


def sets_of(groups: Sequence[Sequence[Run]], against: str, folders: Sequence[str]) -> list[DataSet]:
    """groups: of runs that may be ranked together.  folders: names of those that they lie in."""
    sets = []
    for runs, folder in zip(groups, folders, strict=True):
        entries: dict[str, Entry] = {}
        for entry in make_entries(runs):
            entries.setdefault(entry.label, entry)  # the better of two with other learning rates comes first
        if against in entries:
            sets.append(DataSet(title_of(runs[0], folder), entries))
    if not sets:
        raise UserError(f"none of these comparisons has {against}; name what the others are held against (--against)")
    titles = [each.title for each in sets]
    if twice := next((title for title in titles if titles.count(title) > 1), None):
        raise UserError(f"'{twice}' is there more than once, in runs that may not be ranked together")
    _require_other_images([next(iter(each.entries.values())).runs[0] for each in sets], titles)
    return sets


def _require_other_images(runs: Sequence[Run], titles: Sequence[str]) -> None:
    """runs: one of each data set. Raises UserError where two are of the same images, which count once."""
    seen: dict[Any, str] = {}
    for run, title in zip(runs, titles, strict=True):
        data = run["settings"]["data"]
        # One with a name is the same whatever is set aside of it for validation, and by whatever draw it was made
        # unequal; somebody's own all have one name.
        named = data["name"], data.get("imbalance_factor"), data.get("test_list")
        keys = [run["data"]["split_hash"], *([] if data["name"] in OWN else [named])]
        if first := next((seen[key] for key in keys if key in seen), None):
            raise UserError(f"'{first}' and '{title}' are of the same images, and one data set; leave one of them out")
        seen |= dict.fromkeys(keys, title)


def title_of(run: Run, folder: str) -> str:
    """Data, tail and network. folder: of the comparison, by which somebody's own data are called."""
    settings = run["settings"]
    name = folder if settings["data"]["name"] in OWN else settings["data"]["name"]
    factor = settings["data"].get("imbalance_factor")
    tail = "" if factor is None else f" IF {factor:g}"
    network = brief_transfer(run) or settings["backbone"]
    return f"{name}{tail}, {network}, {settings['optim']['epochs']} epochs"


def report_across(sets: Sequence[DataSet], against: str) -> ComparisonReport:
    """Tables, and with three data sets or more the figure of ranks. Raises UserError for fewer than two data sets."""
    if len(sets) < 2:
        raise UserError(f"one data set ({sets[0].title}) says nothing of others; name more comparisons")
    everywhere = [label for label in sets[0].entries if all(label in each.entries for each in sets)]
    labels = [against, *(label for label in everywhere if label != against)]
    if len(labels) < 2:
        raise UserError(f"no method but {against} is in all of {', '.join(each.title for each in sets)}")
    report = ComparisonReport(against)
    report.sections.append(web.heading("Over data sets"))
    estimates = [_estimate(sets, against, label) for label in labels[1:]]
    adjusted = holm([None if each is None else each.p_value for each in estimates])
    values = np.array([[np.mean(each.entries[label].values(accuracy)) for label in labels] for each in sets])
    enough = len(sets) >= SETS_OF_RANKS
    found = ranks(values) if enough else None
    signed_ranks = wilcoxon_against(values, 0) if enough else [None] * len(labels)
    rows = []
    for place, label in enumerate(labels):
        estimate, p = (None, None) if place == 0 else (estimates[place - 1], adjusted[place - 1])
        rows.append((
            label, *(f"{value:.1f}" for value in values[:, place]),
            EMPTY if estimate is None else signed(estimate.interval),
            EMPTY if estimate is None else f"{estimate.between:.1f}", _p(p),
            *([f"{found.mean[place]:.1f}", _p(signed_ranks[place])] if found else []),
            _words(label, against, estimate, p, len(sets)) if place else "the reference",
        ))  # fmt: skip
    headings = ("method", *(each.title for each in sets), f"difference from {against}", "tau", "p (Holm)",
                *(["mean rank", "p signed ranks"] if found else []), "in words")  # fmt: skip
    notes = [
        f"{HEADLINE}, %. The difference over data sets is a random-effects estimate: the effect on a data set varies "
        "with the deviation tau around the mean that is given, with a 95 % interval (Paule and Mandel; Hartung and "
        "Knapp); it holds for data sets like these, as far as so few can say."
    ]
    if found is not None:
        least = 2 / 2 ** len(sets)
        notes.append(
            f"Mean rank: 1 is the best; that all are alike has p = {found.p_value:.3f} (Friedman, Iman and Davenport); "
            f"mean ranks {found.critical:.2f} or more apart differ (Nemenyi, 5 %). p signed ranks: Wilcoxon's against "
            f"{against}, by Holm; {len(sets)} data sets give no p below {least:.2g} before that."
        )
    if left_out := sorted({label for each in sets for label in each.entries} - set(labels)):
        notes.append(f"Not on all data sets, and left out: {', '.join(left_out)}.")
    report.add("across", Table("Over data sets", headings, tuple(rows), tuple(notes)))
    if found is not None:
        report.draw(
            "ranks",
            comparison_figures.critical_difference(labels, found.mean, found.alike(), found.critical),
            (8.0, 1.6 + 0.17 * len(labels) + 0.1 * len(found.alike())),
            "Mean ranks over data sets: "
            + ", ".join(f"{labels[m]} {found.mean[m]:.1f}" for m in np.argsort(found.mean))
            + f"; critical difference {found.critical:.2f}.",
            "A bar joins methods that are not told apart by Nemenyi's test at 5 %.",
        )
    report.content = {
        "against": against, "data_sets": [each.title for each in sets], "methods": labels,
        "accuracy": values.tolist(), "mean_ranks": found and list(found.mean),
    }  # fmt: skip
    return report


def _estimate(sets: Sequence[DataSet], against: str, label: str) -> OverDataSets | None:
    """None where nothing is known of the error."""
    pairs = [each.entries[against].paired(each.entries[label], accuracy) for each in sets]
    differences: list[list[Any]] = [[b - a for a, b in zip(*pair, strict=True)] for pair in pairs]
    try:
        return over_data_sets(differences)
    except ValueError:
        return None


def _words(label: str, against: str, estimate: OverDataSets | None, p: float | None, sets: int) -> str:
    if estimate is None or p is None:
        return f"{label}: one seed each, or always the same difference, says nothing of chance"
    mean = estimate.interval.mean
    if p < ALPHA:
        return f"{label} {'gains' if mean > 0 else 'loses'} {abs(mean):.1f} points over data sets like these {sets}"
    return f"{label} and {against} are not distinguishable over {sets} data sets"


def _p(value: float | None) -> str:
    return EMPTY if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"
