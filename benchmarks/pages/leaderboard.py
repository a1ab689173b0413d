"""The leaderboard: every method on the embedded digits, heads on a frozen network's features of CIFAR-100-LT and of a
folder of drawings and photographs, and what holds over these data sets."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.pages.machines import at_a_time, is_gpu, machine_of
from benchmarks.pages.rates import rates_note, tuning_note, versions_note
from benchmarks.pages.trained import ENOUGH_SEEDS

from fsgl.comparison import cost
from fsgl.comparison.across import DataSet, report_across
from fsgl.comparison.differences import compare_with
from fsgl.comparison.entries import (
    HEADLINE,
    Entry,
    accuracy,
    budget_of,
    describe_shared,
    label_of,
    make_entries,
    ranked_with,
)
from fsgl.comparison.tables import (
    accuracy_table,
    differences_table,
    priors_table,
    reliability_table,
    signed,
    with_interval,
)
from fsgl.errors import UserError
from fsgl.evaluation.across import SETS_OF_RANKS
from fsgl.evaluation.statistics import paired_difference
from fsgl.recipes.budget import budget_note
from fsgl.recipes.experiment import Experiment
from fsgl.report.comparison_figures import cost_fronts
from fsgl.report.drawing import draw, write_files
from fsgl.report.recording import settings_from
from fsgl.report.records import read_records
from fsgl.report.render import Table
from fsgl.report.transfers import brief_transfer

Records = Sequence[Mapping[str, Any]]
REFERENCE = "cross-entropy"
DIGITS, HEADS, STAMPS = "digits", "heads", "stamps"  # folders in results/
ABOUT = {
    DIGITS: "1,797 digits of 8 x 8 pixels, trained from scratch (`make leaderboard`): a test of the code and of large "
    "differences, not of what a method is worth on photographs. BCL and PaCo are made for strong augmentations, many "
    "epochs and large data: here they have neither (480 steps, a queue of more rows than there are images).",
    HEADS: "Heads alone, on cached features of a frozen network with ImageNet's weights (one view of an image, shown "
    "at 128 pixels, no augmentation): what a method does to the classifier, not to the representation, and less than "
    "fine-tuning reaches. In a table apart every method has two kept views, the image and a crop of it, drawn anew by "
    "each seed: GLMC and FSGL mix their features. Methods that mix pixels alone (mixup, cutmix), need several views of "
    "an image (BCL, PaCo) or layers of their own (SADE) are missing. As they come, rates and decays are the recipe's "
    "for photographs, for all alike; tuned rows stand apart. Seeds were added in three steps (3, 5, 10), to all rows, "
    "for which no level is adjusted.",
    STAMPS: "796 drawings and photographs in 16 folders, 247 to 3 each (Debian's tuxpaint-stamps-default), as `fsgl "
    "train RECIPE --data FOLDER` has them, test images shown twice, their middle and whole: heads on cached features "
    "of a frozen network with ImageNet's weights, of two views for all, which GLMC and FSGL mix as features. The "
    "smallest classes have one test image each, with which the mean over classes jumps. Seeds change the order of "
    "training and the first weights, not the split.",
}
OWN_NAMES = {STAMPS: "stamps"}  # a folder of one's own has none in its records


def comparisons_of(records: Records) -> list[list[Mapping[str, Any]]]:
    """The records, those together whose runs may be ranked against each other, in a fixed order; a GPU's apart.

    Raises UserError for a record of a run that did not end.
    """
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for record in records:
        if record["content"]["status"] != "complete":
            status = record["content"]["status"]
            raise UserError(f"results/{record['name']}.json: its run is not complete ({status}); take it away")
        groups[ranked_with(record["content"]), machine_of(record) if is_gpu(record) else ""].append(record)
    return [group for _, group in sorted(groups.items())]


def title_of(record: Mapping[str, Any]) -> str:
    """What a comparison is called: data, tail, network, epochs."""
    settings = record["content"]["settings"]
    data = record.get("images") or settings["data"]["name"]
    factor = settings["data"]["imbalance_factor"]
    tail = "" if factor is None else f", imbalance factor {factor:g}"
    network = " ".join(filter(None, [settings["backbone"], brief_transfer(record["content"])]))
    tuned = "" if not (settings.get("tuning") or {}).get("budget") else ", tuned"
    network += f", {kept} kept views" if (kept := _kept_views(record)) > 1 else ""
    machine = f", {machine_of(record)}" if is_gpu(record) else ""
    return f"{data}{tail}, {network}, {settings['optim']['epochs']} epochs{tuned}{machine}"


def _kept_views(record: Mapping[str, Any]) -> int:
    return int((record["content"]["settings"].get("transfer") or {}).get("cached_views", 0))


def _views_of(entry: Entry) -> int:
    return _kept_views({"content": entry.runs[0]})


def read_board(results: Path, folder: str) -> tuple[list[Mapping[str, Any]], int]:
    """The records of one of ABOUT's folders whose settings are today's, and how many others there are."""
    records = [{**record, "images": OWN_NAMES.get(folder)} for record in read_records(results / folder, "run")]
    kept = of_today(records)
    return kept, len(records) - len(kept)


def reference_of(entries: Sequence[Entry]) -> Entry | None:
    """Plain cross-entropy, tuned where the others are."""
    return next((entry for entry in entries if entry.label.replace("+tuned", "") == REFERENCE), None)


def tables_of(records: Records) -> list[Table]:
    """Accuracy and, where there is the reference, differences from it."""
    entries = make_entries([record["content"] for record in records])
    table = accuracy_table(entries, title_of(records[0]))
    shared = describe_shared([record["content"] for record in records], records[0]["environment"])
    note = budget_note([record["content"] for record in records])
    jobs = at_a_time(records)
    beside = f"Up to {jobs} of these runs at a time shared the machine: their seconds do not compare."
    more = (rates_note([record["content"] for record in records]), versions_note(records), beside if jobs > 1 else None)
    tables = [replace(table, notes=(*table.notes, shared, *filter(None, more)))]
    reference = reference_of(entries)
    if reference is not None and len(entries) > 1:
        differences = differences_table(compare_with(entries, reference), reference)
        tables.append(replace(differences, notes=(*differences.notes, *([] if note is None else [note]))))
    return tables


def of_today(records: Records) -> list[Mapping[str, Any]]:
    """The records whose settings are those of today's recipes, or tuned: a recipe that was mended makes the others
    obsolete, and so does a setting that there was not, by the hash. Each says how its settings came about."""
    found = []
    for record in records:
        settings = record["content"]["settings"]
        how = settings_from(settings)
        if how in (None, "given"):
            continue
        read = Experiment.from_json({**settings, "data": {**settings["data"], "root": ""}}, record["name"])
        if read.hash == record["content"]["hash"]:
            found.append({**record, "content": {**record["content"], "settings_from": how}})
    return found


def leaderboard_page(
    boards: Mapping[str, tuple[list[Mapping[str, Any]], int]], tunings: Mapping[str, Records], docs: Path
) -> str:
    """Markdown. boards: what ``read_board`` found, by ABOUT's folders.  tunings: records of ``fsgl tune``, by the same.
    Figures are written into ``docs``."""
    page = (
        "# Leaderboard\n\nGenerated by `make docs` from the records in `results/digits/`, `results/heads/` and "
        "`results/stamps/`; nothing here is typed by hand. Rows of one table have the same images, network, "
        "optimiser, epochs and seeds, and their learning rate and decay are the data set's, one for all. Where a "
        "row's own settings come from stands in it: *published* are its paper's or its authors' code's, for the data "
        "that the paper has and not for these. What was tuned for these data, on validation images and with the same "
        "budget for each method, stands in tables apart. What to use when: [which-method.md](which-method.md). What "
        "short runs on CIFAR say: [results.md](results.md).\n"
    )
    sets: list[DataSet] = []
    of_two_views: list[DataSet] = []
    for folder, about in ABOUT.items():
        kept, gone = boards[folder]
        if not kept:
            continue
        told = " ".join([about, *map(tuning_note, tunings[folder])])
        page += f"\n## {title_of(min(kept, key=_kept_views))}\n\n{told}\n"
        if gone:
            page += f"\n{gone} records of settings that a recipe no longer has are left out (docs/rivals.md).\n"
        shown: list[Entry] = []
        ranked: list[DataSet] = []
        for number, found in enumerate(comparisons_of(kept)):
            group, few = _with_enough_seeds(found)
            if few:
                page += f"\nOf fewer than {ENOUGH_SEEDS} seeds yet, and left out: {', '.join(few)}.\n"
            if not group:
                continue
            entries = make_entries([record["content"] for record in group])
            shown += entries
            if reference_of(entries) is not None and not budget_of(group[0]["content"]):
                ranked.append(DataSet(title_of(group[0]), {entry.label: entry for entry in entries}))
            page += _cost_figure(entries, docs, f"leaderboard-{folder}" + (f"-{number + 1}" if number else ""))
            for table in (*tables_of(group), reliability_table(entries), priors_table(entries)):
                page += "\n" + table.markdown()
        if (gains := tuning_table(shown)) is not None:
            page += "\n" + gains.markdown()
        # Two comparisons on the same images are one data set, for which that of more methods stands; or that which has
        # GLMC, which needs two views.
        sets += sorted(ranked, key=lambda found: -len(found.entries))[:1]
        of_two_views += [found for found in ranked if "glmc" in found.entries][:1]
    page += _over_data_sets(sets, docs, "leaderboard-ranks", "the methods that all of them have")
    if of_two_views != sets:
        apart = "where GLMC's family stands beside the others"
        page += _over_data_sets(of_two_views, docs, "leaderboard-ranks-2", apart)
    return page


def tuning_table(entries: Sequence[Entry]) -> Table | None:
    """What each method gains by its tuning, at the seeds that it has both as it comes and tuned; None without any.

    entries: of all comparisons of one folder.
    """
    plain = {(untuned_key(entry), entry.label): entry for entry in entries if not budget_of(entry.runs[0])}
    several = len({_views_of(entry) for entry in entries}) > 1
    rows = []
    for entry in entries:
        label = label_of(_untuned(entry.runs[0]))
        before = plain.get((untuned_key(entry), label))
        if not budget_of(entry.runs[0]) or before is None or not (both := entry.paired(before, accuracy))[0]:
            continue
        gain = paired_difference(*reversed(both))
        rows.append((
            f"{label}, {_views_of(entry)} kept views" if several and _views_of(entry) > 1 else label,
            str(gain.interval.n), with_interval(before.interval(accuracy)),
            with_interval(entry.interval(accuracy)), signed(gain.interval), str(entry.runs[0]["settings_from"]),
        ))  # fmt: skip
    headings = ("method", "seeds", "as it comes", "tuned", "gain", "how")
    note = (
        f"{HEADLINE}, % (± 95 % interval over seeds, Student's t); gain: of the same seeds, with the 95 % interval of "
        "the paired t test. Tuned on validation images alone (`fsgl tune`), the same budget for each method."
    )
    return Table("As it comes and tuned, side by side", headings, tuple(rows), (note,)) if rows else None


def _untuned(run: Mapping[str, Any]) -> dict[str, Any]:
    return {**run, "settings": {name: part for name, part in run["settings"].items() if name != "tuning"}}


def untuned_key(entry: Entry) -> str:
    """Equal for what may be ranked together but for the tuning: a tuned row and the same as it comes."""
    return ranked_with(_untuned(entry.runs[0]))


def _over_data_sets(sets: Sequence[DataSet], docs: Path, figure: str, of_what: str) -> str:
    """The section on all of them; "" for fewer than the three that ranks need. figure: its name."""
    if len(sets) < SETS_OF_RANKS:
        return ""
    report = report_across(sets, REFERENCE)
    write_files(report.drawn["ranks"], docs, figure)
    methods = report.content["methods"]
    order = np.argsort(report.content["mean_ranks"])
    alt = ", ".join(f"{methods[m]} {report.content['mean_ranks'][m]:.1f}" for m in order)
    return (
        f"\n## Over data sets: {of_what}\n\nWhat holds on all {len(sets)}, untuned; three small sets are few, and the "
        f"intervals say so. Of: {'; '.join(found.title for found in sets)}.\n\n![Mean ranks: {alt}]({figure}.svg)\n\n"
        + report.tables["across"].markdown()
    )


def _with_enough_seeds(records: Records) -> tuple[list[Mapping[str, Any]], list[str]]:
    """The records of rows that have them, and the labels of the others."""
    seeds = Counter(label_of(record["content"]) for record in records)
    few = sorted(label for label, n in seeds.items() if n < ENOUGH_SEEDS)
    return [record for record in records if label_of(record["content"]) not in few], few


def _cost_figure(entries: Sequence[Entry], docs: Path, name: str) -> str:
    """A line of Markdown with the figure of accuracy against cost; "" where costs do not differ."""
    if len(entries) < 2 or not (panels := cost.panels(entries)):
        return ""
    write_files(draw(cost_fronts(panels, HEADLINE), (3.2 * len(panels), 3.2)), docs, name)
    return f"\n![{cost.in_words(panels)}]({name}.svg)\n"
