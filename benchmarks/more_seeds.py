"""The runs of a board's records again, with further seeds: every record holds all that its run needs but the images.

    python -m benchmarks.more_seeds results/heads --seeds 10 --root data --runs runs/more-seeds

Rows that are adjusted (``cross-entropy+tau-norm``) are adjusted anew from a run of the new seed. What has a record is
not trained again, and a command that was ended goes on. Records are written into the folder as they come; they must
all be of the settings that the first seed's have.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from fsgl.commands.cli import guarded
from fsgl.comparison.entries import label_of, ranked_with
from fsgl.comparison.grid import CACHE, Cell, Interrupted, Word, make_cells, run_grid
from fsgl.errors import UserError
from fsgl.recipes.experiment import Experiment
from fsgl.report.recording import record, record_name
from fsgl.report.records import read_records

Record = Mapping[str, Any]


def experiment_of(known: Record, root: str) -> Experiment:
    """A record's run. root: of the images, which no record names."""
    settings = known["content"]["settings"]
    return Experiment.from_json({**settings, "data": {**settings["data"], "root": root}}, known["name"])


def boards(records: Sequence[Record]) -> list[dict[str, Record]]:
    """Of each comparison a record for each of its rows, that of the least seed. Raises UserError where a row has two
    settings."""
    found: dict[str, dict[str, Record]] = defaultdict(dict)
    for known in sorted(records, key=lambda known: known["content"]["settings"]["seed"]):
        rows, label = found[_board(known)], label_of(known["content"])
        first = rows.setdefault(label, known)
        if _without_seed(first) != _without_seed(known):
            raise UserError(f"{known['name']}: other settings than {first['name']}, which is of the same row")
    return [found[key] for key in sorted(found)]


def _board(known: Record) -> str:
    """Tuned rows stand beside the others here: a run of theirs may be adjusted, too, and folders are told apart."""
    settings = known["content"]["settings"]
    plain = {name: value for name, value in settings.items() if name != "tuning"}
    return ranked_with({**known["content"], "settings": plain})


def _without_seed(known: Record) -> Experiment:
    return replace(experiment_of(known, ""), seed=0)


def cells_of(rows: Mapping[str, Record], seeds: Sequence[int], root: str, runs: Path) -> list[Cell]:
    """The grid of a board's rows."""
    words = [Word.read(label) for label in rows]
    by_run = {word.trained: rows[word.text] for word in sorted(words, key=lambda word: word.adjustment is None)}

    def experiment(trained: str, seed: int) -> Experiment:
        return replace(experiment_of(by_run[trained], root), seed=seed)

    return make_cells(words, seeds, runs, experiment)


def name_of(cell: Cell) -> str:
    """Of its record."""
    return record_name(cell.experiment.to_json(), cell.experiment.hash, cell.word.adjustment or "")


def wanted(cells: Sequence[Cell], folder: Path, labels: Sequence[str]) -> list[Cell]:
    """Those without a record, and what they are adjusted from. labels: rows that are recorded."""
    lacking = [c for c in cells if c.word.text in labels and not (folder / f"{name_of(c)}.json").exists()]
    parents = [cell.parent for cell in lacking if cell.parent is not None]
    return [cell for cell in cells if any(cell is each for each in (*lacking, *parents))]


def run(options: argparse.Namespace) -> int:
    """Train what is lacking; 1 where a run failed."""
    failed, found = False, boards(read_records(options.folder, "run"))
    if not found:
        raise UserError(f"{options.folder}: no record of a run is there")
    for number, rows in enumerate(found):
        grid = cells_of(rows, range(options.seeds), options.root, options.runs / f"board-{number}")
        todo = wanted(grid, options.folder, list(rows))
        lacking = [cell for cell in todo if cell.word.text in rows]
        print(f"board {number}: {len(rows)} rows, {len(lacking)} of {len(grid)} runs have no record", flush=True)
        cache = [CACHE, str(options.runs / "features")]
        complete = [cell for cell in todo if cell.status == "complete"]
        for cell in chain(complete, run_grid(todo, ["cpu"] * options.jobs, cache, 1)):
            if cell.status == "failed":
                failed = True
                print(f"{cell.folder}: {cell.problem}", flush=True)
            elif any(cell is each for each in lacking) and not (options.folder / f"{name_of(cell)}.json").exists():
                print(record(cell.folder, options.folder, options.command), flush=True)
    return int(failed)


def main(arguments: list[str]) -> int:
    """Do what the command line says; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of records, such as results/heads")
    parser.add_argument("--seeds", type=int, required=True, help="so many in all, from 0 on")
    parser.add_argument("--root", default="data", help="where the images lie, as data.root of the runs (data)")
    parser.add_argument("--runs", type=Path, default=Path("runs/more-seeds"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time, a thread each")
    options = parser.parse_args(arguments)
    options.command = f"python -m benchmarks.more_seeds {options.folder} --seeds {options.seeds}"

    def command() -> int:
        try:
            return run(options)
        except Interrupted as stop:
            print(f"more_seeds.py: {stop}", file=sys.stderr)
            return 128 + stop.signal_number

    return guarded("more_seeds.py", command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
