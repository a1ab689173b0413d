"""The README's part: one figure and one small table of networks that were trained to the end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.pages.machines import at_a_time, is_gpu, machine_of
from benchmarks.pages.rates import rates_note
from benchmarks.pages.trained import ENOUGH_SEEDS, with_enough_seeds

from fsgl.comparison.cost import multiply_adds, seconds
from fsgl.comparison.entries import Entry, accuracy, describe_machine, make_entries
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
    "{network}, trained from scratch. Accuracy: last epoch, mean over classes, % (± 95 % interval over {seeds} seeds, "
    "Student's t); passes: of the backbone a step; {cost}; post hoc: the same runs with a changed classifier, tau = 1."
)
PUBLISHED = (
    f"GLMC and FSGL are published with {PUBLISHED_EPOCHS} epochs of a resnet34; these are small networks. What the "
    "feature scaling itself adds, and what the other classifier of these methods would score: "
    "[docs/fsm.md](docs/fsm.md). Images, settings, groups and differences of the table: "
    "[docs/results.md](docs/results.md).\n"
)
NONE_YET = (
    f"No network has been trained for {ENOUGH_EPOCHS} epochs with {ENOUGH_SEEDS} seeds on photographs yet; the runs "
    "are one command away ([docs/long-runs.md](docs/long-runs.md)), and what they give will stand here. Shorter runs "
    "are in [docs/results.md](docs/results.md), and say nothing of the methods. What can be said already, on the "
    "embedded digits: how many epochs a method needs before it pays ([docs/horizon.md](docs/horizon.md)).\n\n"
    "![accuracy by epochs of training, on the embedded digits](docs/horizon.svg)\n"
)


@dataclass(frozen=True)
class Trained:
    """A comparison that may stand on the first page."""

    records: Sequence[Mapping[str, Any]]
    entries: Sequence[Entry]

    @property
    def data(self) -> str:
        """The images and their tail."""
        data = self.records[0]["content"]["settings"]["data"]
        factor = data["imbalance_factor"]
        return str(data["name"]) if factor is None else f"{data['name']} IF {factor:g}"

    @property
    def network(self) -> tuple[str, int, str]:
        """Backbone, epochs, and the GPU where it was one: what comparisons in one table share."""
        settings = self.records[0]["content"]["settings"]
        machine = machine_of(self.records[0]) if is_gpu(self.records[0]) else ""
        return settings["backbone"], settings["optim"]["epochs"], machine


def front_part(comparisons: Sequence[tuple[str, Sequence[Mapping[str, Any]]]], docs: Path) -> str:
    """Markdown; figures are written into docs. comparisons: title and records of runs that may be ranked together."""
    together: dict[tuple[str, int, str], list[Trained]] = defaultdict(list)
    for _, records in comparisons:
        if (found := trained(records)) is not None:
            together[found.network].append(found)
    parts: list[str] = []
    for (backbone, epochs, _), cells in together.items():
        name = f"results-{backbone}".replace(":", "-") + (f"-{len(parts) + 1}" if parts else "")
        size = (8.0, 0.6 + 2.6 * len(cells))
        drawing = draw(lambda figure, cells=cells: groups_figure(figure, cells), size)  # type: ignore[misc]
        write_files(drawing, docs, name)
        records = [record for cell in cells for record in cell.records]
        counts = sorted({len(entry.runs) for cell in cells for entry in cell.entries})
        seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        note = NOTE.format(network=f"{backbone}, {epochs} epochs", seeds=seeds, cost=_cost(records))
        rates = rates_note([record["content"] for record in records])
        beside = on_a_cpu(records, [found for _, found in comparisons])
        where = ", ".join(cell.data for cell in cells)
        alt = f"Accuracy of many, medium and few by method with 95 % intervals over seeds: {where}, {backbone}"
        table = small_table(cells)
        parts.append(f"![{alt}](docs/{name}.svg)\n\n" + Table(
            "", table.headings, table.rows, (note, *([rates] if rates else []), *beside)
        ).markdown())  # fmt: skip
    return "\n".join([*parts, PUBLISHED]) if parts else NONE_YET


def trained(records: Sequence[Mapping[str, Any]]) -> Trained | None:
    """None where the runs are too short, too few, of digits, or of heads alone."""
    runs = [record["content"] for record in records]
    entries = with_enough_seeds(make_entries(runs))
    small = runs[0]["settings"]["data"]["name"] == "digits" or transfer_key(runs[0]) is not None
    return None if small or is_short(runs) or not entries else Trained(records, entries)


def _cost(records: Sequence[Mapping[str, Any]]) -> str:
    if not is_gpu(records[0]):
        return "hours: of training of the fastest seed, one thread, on a machine that did other work beside it"
    return (
        f"TMAC: 10¹² multiply-adds of the backbone in the whole training, forward and backward (up to "
        f"{at_a_time(records)} runs at a time shared one {machine_of(records[0])}, so that seconds say little)"
    )


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
    higher = [accuracy(same[other["content"]["hash"]]["content"]) - accuracy(other["content"]) for other in others]
    return [
        f"The same runs on a CPU ({machine}, beside other work), with the GPU's figure: {'; '.join(pairs)}. On average "
        f"the GPU's are {sum(higher) / len(higher):+.1f}; of the other rows there is no run on a CPU."
    ]


def small_table(cells: Sequence[Trained]) -> Table:
    """What a reader wants first: a row a method, accuracy and cost of each comparison."""
    gpu = is_gpu(cells[0].records[0])
    accuracies: list[dict[str, str]] = []
    costs: list[dict[str, str]] = []
    passes: dict[str, str] = {}
    for cell in cells:
        found, took = dict[str, str](), dict[str, str]()
        for entry in cell.entries:
            found[entry.label] = with_interval(entry.interval(accuracy))
            took[entry.label] = f"{multiply_adds(entry):,.0f}" if gpu else f"{seconds(entry) / 3600:.1f}"
            passes[entry.label] = str(entry.runs[0]["cost"]["passes_per_step"])
            if entry.label == PLAIN:
                found |= {f"{PLAIN}, {name} (post hoc)": shown for head, name in POST_HOC.items()
                          if (shown := _post_hoc(entry, head)) is not None}  # fmt: skip
        accuracies.append(found)
        costs.append(took)
    labels = dict.fromkeys(label for found in accuracies for label in found)
    order = sorted(labels, key=lambda label: [-_first(found.get(label)) for found in accuracies])
    columns = [each for pair in zip(accuracies, costs, strict=True) for each in pair]
    rows = tuple(
        (label, passes.get(label, "0"), *(column.get(label, EMPTY) for column in columns)) for label in order
    )
    unit = "TMAC" if gpu else "hours"
    return Table("", ("method", "passes", *(each for cell in cells for each in (cell.data, unit))), rows)


def _first(shown: str | None) -> float:
    return float("-inf") if shown is None else float(shown.split()[0])


def _group(name: str) -> Any:
    return lambda run: run["epochs"][-1]["test"][name]


def _post_hoc(entry: Entry, head: str) -> str | None:
    """Accuracy of the same runs by another classifier, where their records hold it."""
    found = [run["heads"][head]["balanced"] for run in entry.runs if head in run.get("heads", {})]
    return with_interval(mean_interval(found)) if len(found) == len(entry.runs) else None


def groups_figure(figure: Figure, cells: Sequence[Trained]) -> None:
    """A panel a comparison: a place a method, a mark a group, with intervals over seeds."""
    panels = figure.subplots(len(cells), squeeze=False)[:, 0]
    shown: dict[str, Any] = {}
    for axes, cell in zip(panels, cells, strict=True):
        for number, (group, colour) in enumerate(GROUP_COLOURS.items()):
            places, means, reach = [], [], []
            for place, entry in enumerate(cell.entries):
                interval = entry.interval(_group(group))
                if interval is not None:
                    places.append(place + 0.18 * (number - 1))
                    means.append(interval.mean)
                    reach.append(interval.half_width or 0.0)
            if places:
                marks = axes.errorbar(places, means, reach, fmt=GROUP_MARKERS[group], color=colour, capsize=3)
                shown.setdefault(group, marks)
        axes.set_xticks(range(len(cell.entries)), [entry.label for entry in cell.entries], fontsize=8)
        axes.set_title(cell.data, loc="left", fontsize=9)
        axes.set_ylabel("test accuracy, %")
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", alpha=0.4)
    figure.legend(list(shown.values()), list(shown), loc="outside upper right", ncols=3, fontsize=8)
