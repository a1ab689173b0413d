"""The report on complete runs, read from their folders: tables, pictures, one page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from fsgl.comparison import cost
from fsgl.comparison.differences import Comparison, Judged, compare_with
from fsgl.comparison.entries import HEADLINE, Entry, accuracy, describe_shared, label_of, make_entries, ranked_with
from fsgl.comparison.grid import TUNED, Word
from fsgl.comparison.looks import Looks
from fsgl.comparison.tables import accuracy_table, differences_table, priors_table, reliability_table
from fsgl.files import write_atomically, write_json
from fsgl.report import comparison_figures, figures, web
from fsgl.report.drawing import Draw, as_svg, draw, write_files
from fsgl.report.recording import from_predictions
from fsgl.report.records import run_content
from fsgl.report.render import Table
from fsgl.runs.saved import read_history

APART = (
    "These runs differ in more than their method (images, backbone, epochs, tuned or not, ...): rows of different "
    "tables are not ranked against each other."
)
Folders = Sequence[tuple[Path, dict[str, Any]]]  # of complete runs, with their records


@dataclass
class ComparisonReport:
    """What is said of a comparison.  tables, drawn: by the names of their files.  content: for comparison.json."""

    against: str
    tables: dict[str, Table] = field(default_factory=dict)
    drawn: dict[str, Any] = field(default_factory=dict)
    sections: list[Markup] = field(default_factory=list)
    content: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path, more: Mapping[str, Any]) -> None:
        """comparison.html and .json, figures/ and tables/."""
        for part in ("figures", "tables"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        for name, drawing in self.drawn.items():
            write_files(drawing, folder / "figures", name)
        for name, table in self.tables.items():
            for suffix, text in {"md": table.markdown(), "csv": table.csv(), "tex": table.latex()}.items():
                write_atomically(folder / "tables" / f"{name}.{suffix}", text.encode())
        write_json(folder / "comparison.json", {**self.content, **more})
        write_atomically(folder / "comparison.html", web.page(f"fsgl compare: {folder.name}", self.sections).encode())

    def add(self, name: str, table: Table) -> None:
        self.tables[name] = table
        self.sections.append(web.table(table))

    def draw(self, name: str, drawing: Draw, size: tuple[float, float], alt: str, caption: str) -> None:
        self.drawn[name] = draw(drawing, size)
        self.sections.append(web.figure(as_svg(self.drawn[name], alt, name), caption))


def report_on_runs(
    folders: Folders, failed: Mapping[str, Sequence[int]], against: str, looks: Looks | None = None,
    equal_cost: Folders = (),
) -> ComparisonReport:  # fmt: skip
    """folders: of complete runs, with their records.  failed: seeds that have no result, by label.

    against: the label of the entry that the others are held against, where it is among those that may be ranked
    together.  looks: at this comparison, this one among them; None for the first.  equal_cost: runs of other epochs.
    """
    report, looks = ComparisonReport(against), looks or Looks()
    environments: dict[str, Any] = {}
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for folder, record in folders:
        run = _run(folder, record)
        runs[ranked_with(run)].append(run)
        environments[ranked_with(run)] = record["environment"]
    others = [_run(folder, record) for folder, record in equal_cost]
    every = [run for group in runs.values() for run in group]
    labels = {label_of(run) for run in every}
    without = {label: seeds for label, seeds in failed.items() if label not in labels}
    report.sections.append(web.heading("Comparison"))
    if len(runs) > 1:
        report.sections.append(web.section("", [APART], "warn"))
    comparisons: list[dict[str, Any]] = []
    for number, (key, group) in enumerate(runs.items()):
        own = {label_of(run) for run in group}
        mine = {label: seeds for label, seeds in failed.items() if label in own}
        entries = make_entries(group, {**mine, **without} if number == 0 else mine)
        comparisons += _add_group(report, entries, environments[key], "" if not number else f"-{number + 1}", looks)
    for number, (key, group) in enumerate(runs.items() if others else ()):
        reference = next((run for run in group if _is(label_of(run), against)), None)
        again = {label_of(run) for run in others}
        either = [*(run for run in group if label_of(run) not in again), *others]
        same = [] if reference is None else cost.at_equal_cost(either, reference)
        if any(run in others for run in same):
            entries = make_entries(same, any_epochs=True)
            _add_equal_cost(report, entries, environments[key], "" if not number else f"-{number + 1}", looks)
    report.content = {
        "against": against, "comparisons": comparisons, "runs": [*every, *others], "at_equal_cost": len(others)
    }  # fmt: skip
    return report


def _run(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    return {**run_content(record, read_history(folder)), **from_predictions(folder, record)}


def _add_group(
    report: ComparisonReport, entries: Sequence[Entry], environment: Mapping[str, Any], suffix: str, looks: Looks
) -> list[dict[str, Any]]:
    """Entries that may be ranked against each other. Returns their differences from the reference as JSON."""
    first = entries[0].runs[0]
    table = accuracy_table(entries, f"Test set, {first['settings']['data']['name']}, {first['settings']['backbone']}")
    shared = describe_shared([run for entry in entries for run in entry.runs], environment)
    report.add(f"accuracy{suffix}", replace(table, notes=(*table.notes, shared)))
    reference = _reference(entries, report.against)
    found = compare_with(entries, reference, looks.seeds, looks.planned) if reference is not None else []
    if reference is not None and found:
        note = looks.note([each.entry.label for each in found])
        report.add(f"differences{suffix}", differences_table(found, reference, note))
        rows = [(e.entry.label, i.mean, i.low, i.high, e.headline.sign)
                for e in found for i in [e.headline.difference.interval]]  # fmt: skip
        report.draw(
            f"forest{suffix}", figures.forest(rows, reference.label, HEADLINE), (8.0, 1.2 + 0.28 * len(rows)),
            f"Differences from {reference.label} with their intervals over seeds: {'; '.join(e.words for e in found)}.",
            "Blue: a gain, orange: a loss, by p (Holm), as in the words; grey: not distinguishable. The intervals are "
            "of each row alone, so that one may leave out 0 and its row be grey.",
        )  # fmt: skip
    draw_costs(report, entries, suffix)
    _draw_classes(report, entries, suffix)
    report.add(f"reliability{suffix}", reliability_table(entries))
    report.add(f"priors{suffix}", priors_table(entries))
    return [_as_json(each, reference) for each in found if reference is not None]


def _add_equal_cost(
    report: ComparisonReport, entries: Sequence[Entry], environment: Mapping[str, Any], suffix: str, looks: Looks
) -> None:
    """Accuracy and differences where every row took the reference's multiply-adds."""
    reference = _reference(entries, report.against)
    assert reference is not None
    epochs = reference.runs[0]["settings"]["optim"]["epochs"]
    title = f"At equal cost: as many multiply-adds of the backbone as {reference.label} in {epochs} epochs"
    table = accuracy_table(entries, title, tuned_at=epochs)
    shared = describe_shared([run for entry in entries for run in entry.runs], environment)
    report.add(f"accuracy-at-equal-cost{suffix}", replace(table, notes=(*table.notes, shared)))
    rows = {entry.label: Word.read(entry.label).at_equal_cost().text for entry in entries}
    rows = {label: text if text in looks.seeds else label for label, text in rows.items()}
    seeds = {label: looks.seeds[text] for label, text in rows.items() if text in looks.seeds}
    if found := compare_with(entries, reference, seeds, looks.planned):
        note = looks.note([rows[each.entry.label] for each in found])
        table = differences_table(found, reference, note)
        report.add(f"differences-at-equal-cost{suffix}", replace(table, title=f"{table.title}, at equal cost"))


def _reference(entries: Sequence[Entry], against: str) -> Entry | None:
    return next((entry for entry in entries if entry.runs and _is(entry.label, against)), None)


def draw_costs(report: ComparisonReport, entries: Sequence[Entry], suffix: str) -> None:
    """Accuracy against what it costs, where the costs differ."""
    if len(entries) < 2 or not (panels := cost.panels(entries)):
        return
    report.draw(
        f"cost{suffix}", comparison_figures.cost_fronts(panels, HEADLINE), (3.2 * len(panels), 3.2),
        cost.in_words(panels),
        "Above and to the left is better. In blue the Pareto front: for its cost nothing here is more accurate. "
        "Seconds are those of each row's fastest seed; multiply-adds are counted forward and backward.",
    )  # fmt: skip


def _is(label: str, against: str) -> bool:
    """Whether it is the reference, tuned or not: each table needs its own."""
    return label.replace(f"+{TUNED}", "") == against.replace(f"+{TUNED}", "")


def _draw_classes(report: ComparisonReport, entries: Sequence[Entry], suffix: str) -> None:
    """Accuracy by class: the reference and the best of the others."""
    shown = [entry for entry in entries if entry.runs and _is(entry.label, report.against)]
    shown += [entry for entry in entries if entry.runs and not _is(entry.label, report.against)][:2]
    counts = np.array(shown[0].runs[0]["class_counts"])
    by_label = {
        entry.label: np.array([
            [np.nan if value is None else value for value in run["last_per_class"]] for run in entry.runs
        ], dtype=np.float64)
        for entry in shown
    }  # fmt: skip
    report.draw(
        f"classes{suffix}", figures.classes_compared(by_label, counts), (8.0, 3.4),
        f"Test accuracy by class, from the most to the least frequent, of {', '.join(by_label)}.",
        "Means over seeds, from the lowest to the highest seed; most frequent class first.",
    )  # fmt: skip


def _as_json(comparison: Comparison, reference: Entry) -> dict[str, Any]:
    images = comparison.over_images
    return {
        "method": comparison.entry.label,
        "against": reference.label,
        "metric": HEADLINE,
        "seeds": comparison.headline.difference.interval.n,
        "means": [reference.mean(accuracy), comparison.entry.mean(accuracy)],
        **_judged_as_json(comparison.headline),
        "over_images": images and [images.interval.mean, images.interval.low, images.interval.high],
        "top1": comparison.top1 and _judged_as_json(comparison.top1),
        "words": comparison.words,
    }


def _judged_as_json(judged: Judged) -> dict[str, Any]:
    seeds = judged.difference
    return {
        "difference": seeds.interval.mean,
        "interval": [seeds.interval.low, seeds.interval.high],
        "effect_size": seeds.effect_size,
        "p": seeds.p_value,
        "p_holm": judged.p_adjusted,
        "distinguished": bool(judged.sign),
        "seeds_needed": judged.needed,
    }
