"""The README's part: one figure and one small table for each comparison of networks that were trained to the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from benchmarks.pages.machines import at_a_time, is_gpu, machine_of
from benchmarks.pages.trained import ENOUGH_SEEDS, with_enough_seeds

from fsgl.comparison.cost import seconds
from fsgl.comparison.entries import Entry, accuracy, describe_machine, describe_shared, make_entries
from fsgl.comparison.tables import with_interval
from fsgl.evaluation.statistics import mean_interval
from fsgl.recipes.budget import ENOUGH_EPOCHS, PUBLISHED_EPOCHS, is_short
from fsgl.report.drawing import GROUP_COLOURS, GROUP_MARKERS, draw, write_files
from fsgl.report.render import Table
from fsgl.report.table import EMPTY
from fsgl.report.transfers import transfer_key

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POST_HOC = {"fc minus log prior": "minus log prior", "fc, rows of length 1": "tau-norm"}
PLAIN = "cross-entropy"
NOTE = (
    "accuracy: last epoch, mean over classes, % (± 95 % interval over seeds, Student's t); passes: of the backbone a "
    "step; {time}; post hoc: the same runs with a changed classifier, tau = 1."
)
PUBLISHED = (
    f"GLMC and FSGL are published with {PUBLISHED_EPOCHS} epochs of a resnet34, in which the classifier that they use "
    "at test learns several times as long ([docs/horizon.md](docs/horizon.md)). What the feature scaling itself adds, "
    "and what their other classifier would score: [docs/fsm.md](docs/fsm.md).\n"
)
NONE_YET = (
    f"No network has been trained for {ENOUGH_EPOCHS} epochs with {ENOUGH_SEEDS} seeds on photographs yet; the runs "
    "are one command away ([docs/long-runs.md](docs/long-runs.md)), and what they give will stand here. Shorter runs "
    "are in [docs/results.md](docs/results.md), and say nothing of the methods. What can be said already, on the "
    "embedded digits: how many epochs a method needs before it pays ([docs/horizon.md](docs/horizon.md)).\n\n"
    "![accuracy by epochs of training, on the embedded digits](docs/horizon.svg)\n"
)


def front_part(comparisons: Sequence[tuple[str, Sequence[Mapping[str, Any]]]], docs: Path) -> str:
    """Markdown; figures are written into docs. comparisons: title and records of runs that may be ranked together."""
    parts = []
    for title, records in comparisons:
        runs = [record["content"] for record in records]
        entries = with_enough_seeds(make_entries(runs))
        small = runs[0]["settings"]["data"]["name"] == "digits" or transfer_key(runs[0]) is not None  # or heads alone
        if small or is_short(runs) or not entries:
            continue
        name = f"results-{runs[0]['settings']['data']['name']}"
        drawing = draw(lambda figure, entries=entries: groups_figure(figure, entries), (8.0, 3.2))  # type: ignore[misc]
        write_files(drawing, docs, name)
        table = small_table(entries, title, is_gpu(records[0]))
        shared = describe_shared([run for entry in entries for run in entry.runs], records[0]["environment"])
        beside = on_a_cpu(records, [found for _, found in comparisons])
        alt = f"Accuracy of many, medium and few by method with 95 % intervals over seeds: {title}"
        parts.append(f"![{alt}](docs/{name}.svg)\n\n" + Table(
            table.title, table.headings, table.rows, (NOTE.format(time=_time(records)), shared, *beside)
        ).markdown())  # fmt: skip
    return "\n".join([*parts, PUBLISHED]) if parts else NONE_YET


def _time(records: Sequence[Mapping[str, Any]]) -> str:
    if not is_gpu(records[0]):
        return "hours: of training of the fastest seed, one thread, on a machine that did other work beside it"
    jobs = at_a_time(records)
    return f"minutes: of training of the fastest seed, with up to {jobs} runs at a time on one {machine_of(records[0])}"


def on_a_cpu(
    records: Sequence[Mapping[str, Any]], comparisons: Sequence[Sequence[Mapping[str, Any]]]
) -> list[str]:
    """Where the records are a GPU's and some of the same runs were made on a CPU: both figures, and the CPU's hours."""
    if not is_gpu(records[0]):
        return []
    same = {record["content"]["hash"]: record for record in records}
    others = [record for found in comparisons for record in found
              if not is_gpu(record) and record["content"]["hash"] in same]  # fmt: skip
    pairs = []
    for other in sorted(others, key=lambda record: record["content"]["train_seconds"]):
        here, there = same[other["content"]["hash"]]["content"], other["content"]
        label = f"{here['settings']['recipe']}, seed {here['settings']['seed']}"
        pairs.append(f"{label}: {accuracy(there):.1f} in {there['train_seconds'] / 3600:.1f} h ({accuracy(here):.1f})")
    if not pairs:
        return []
    machine = describe_machine(others[0]["environment"])
    return [f"The same runs on a CPU ({machine}, beside other work), with the GPU's figure: {'; '.join(pairs)}."]


def small_table(entries: Sequence[Entry], title: str, gpu: bool = False) -> Table:
    """What a reader wants first.  gpu: times are in minutes."""
    unit = 60 if gpu else 3600
    rows = []
    for entry in entries:
        groups = (entry.mean(_group(group)) for group in GROUP_COLOURS)
        passes = str(entry.runs[0]["cost"]["passes_per_step"])
        rows.append((entry.label, str(len(entry.runs)), with_interval(entry.interval(accuracy)), *groups, passes,
                     f"{seconds(entry) / unit:.1f}"))  # fmt: skip
        if entry.label == PLAIN:
            rows += [row for head, name in POST_HOC.items() if (row := _post_hoc(entry, head, name)) is not None]
    headings = ("method", "seeds", "accuracy", *GROUP_COLOURS, "passes", "minutes" if gpu else "hours")
    ordered = sorted(rows, key=lambda row: -float(row[2].split()[0]))
    return Table(title, headings, tuple(ordered))


def _group(name: str) -> Any:
    return lambda run: run["epochs"][-1]["test"][name]


def _post_hoc(entry: Entry, head: str, name: str) -> tuple[str, ...] | None:
    """A row of the same runs by another classifier, where their records hold it."""
    found = [run["heads"][head] for run in entry.runs if head in run.get("heads", {})]
    if len(found) != len(entry.runs):
        return None
    groups = (_mean([each[group] for each in found]) for group in GROUP_COLOURS)
    interval = with_interval(mean_interval([each["balanced"] for each in found]))
    return (f"{entry.label}, {name} (post hoc)", str(len(found)), interval, *groups, "0", EMPTY)


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{np.mean(known):.1f}" if known else EMPTY


def groups_figure(figure: Figure, entries: Sequence[Entry]) -> None:
    """A place a method, a mark a group, with intervals over seeds."""
    axes = figure.subplots()
    for number, (group, colour) in enumerate(GROUP_COLOURS.items()):
        places, means, reach = [], [], []
        for place, entry in enumerate(entries):
            interval = entry.interval(_group(group))
            if interval is not None:
                places.append(place + 0.18 * (number - 1))
                means.append(interval.mean)
                reach.append(interval.half_width or 0.0)
        if places:
            axes.errorbar(places, means, reach, fmt=GROUP_MARKERS[group], color=colour, capsize=3, label=group)
    axes.set_xticks(range(len(entries)), [entry.label for entry in entries], fontsize=8)
    axes.set_ylabel("test accuracy, %")
    axes.grid(axis="y", alpha=0.4)
    figure.legend(loc="outside upper right", ncols=3, fontsize=8)
