"""The long runs behind the README's figure, from wherever they stand: one command, for spare time.

    nohup .venv/bin/python benchmarks/long_runs.py --root data > long-runs.log 2>&1 &

1. Learning rate and weight decay, if results/ has none yet (settings_search.py).
2. CIFAR-10-LT, IF 100: all methods of seed 0, then of seed 1, then of seed 2.
3. CIFAR-100-LT, IF 100, in the same order.
4. ``fsgl-inverse`` on the first.

What has a record in results/ or in --record is not trained again, what was begun goes on from its last epoch, and
SIGTERM or Ctrl-C ends everything with all of it saved. Run folders are those of ``fsgl compare``. Records are written
into --record, outside of the tracked files, so that every one of them names a clean commit; docs/long-runs.md says what
to do with them.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from closer_look import closer_look
from published_rivals import WORDS, published
from settings_search import EPOCHS, RECORD, search, trials_of

from fsgl.commands.cli import guarded
from fsgl.comparison.grid import Cell, Interrupted, Word, make_cells, run_grid
from fsgl.errors import UserError
from fsgl.files import read_json, sole_user
from fsgl.methods import Glmc
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import Experiment, override
from fsgl.report.recording import record, record_name

RESULTS = Path(__file__).resolve().parents[1] / "results"
NETWORK, SEEDS = "resnet8-lite", 3
FIRST = ("cross-entropy", "balanced-softmax", "ldam-drw", "glmc", "glmc-sam", "fsgl")
SECOND = ("cross-entropy", "balanced-softmax", "glmc", "glmc-sam", "fsgl")
LAST = ("fsgl-inverse",)
COMMAND = "python benchmarks/long_runs.py"


def settings_of(
    recipe: str, data: str, network: str, epochs: int, chosen: dict[str, dict[str, float]]
) -> tuple[str, ...]:
    """Of its runs, NAME=VALUE: no validation images, as the settings are fixed.  chosen: of a family of methods."""
    own = chosen["glmc" if isinstance(make_experiment(recipe, data).method, Glmc) else "one view"]
    return (
        f"backbone={network}", f"optim.epochs={epochs}", "data.val=0", f"schedule.lr={own['lr']}",
        f"optim.weight_decay={own['weight_decay']}", f"evaluation.every={max(1, epochs // 3)}",
    )  # fmt: skip


def experiments(
    data: str, root: str, network: str, epochs: int, chosen: dict[str, dict[str, float]]
) -> Callable[[str, int], Experiment]:
    """A recipe and a seed -> its run."""

    def experiment(recipe: str, seed: int) -> Experiment:
        settings = settings_of(recipe, data, network, epochs, chosen)
        return override(make_experiment(recipe, data, root), *settings, f"seed={seed}")

    return experiment


def grid(runs: Path, make: Callable[[str], Callable[[str, int], Experiment]], seeds: int) -> list[Cell]:
    """All cells in the order in which they are wanted. make: of a data set's name."""
    parts = (("cifar10", FIRST), ("cifar100", SECOND), ("cifar10", LAST))
    return [
        cell for data, words in parts
        for cell in make_cells([Word.read(word) for word in words], range(seeds), runs / f"{data}-if100", make(data))
    ]  # fmt: skip


def name_of(cell: Cell) -> str:
    """Of its record."""
    return record_name(cell.experiment.to_json(), cell.experiment.hash)


def take_over(cells: Sequence[Cell], folders: Sequence[Path]) -> None:
    """What has a record is complete, whatever became of its folder."""
    for cell in cells:
        if any((folder / f"{name_of(cell)}.json").exists() for folder in folders):
            cell.status = "complete"


def write_records(cells: Sequence[Cell], folders: Sequence[Path], target: Path) -> None:
    """A record of every complete run that has none."""
    for cell in cells:
        if cell.status == "complete" and not any((folder / f"{name_of(cell)}.json").exists() for folder in folders):
            target.mkdir(parents=True, exist_ok=True)
            print(f"record {record(cell.folder, target, COMMAND, extra=closer_look(cell.folder))}", flush=True)


def chosen_settings(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """From a record; searched for where there is none that is complete."""
    for folder in (RESULTS, options.record):
        if (folder / RECORD).exists():
            chosen: dict[str, Any] = read_json(folder / RECORD)["content"]["chosen"]
            if {"one view", "glmc"} <= chosen.keys():
                return chosen
    third = max(1, options.epochs // 3)
    if not (options.record / RECORD).exists() and (RESULTS / RECORD).exists():  # begun elsewhere
        options.record.mkdir(parents=True, exist_ok=True)
        (options.record / RECORD).write_bytes((RESULTS / RECORD).read_bytes())
    trials = trials_of(options.network, third, options.root, options.runs / "settings-search", options.record)
    chosen = search(trials, options.jobs, options.record)
    if {"one view", "glmc"} - chosen.keys():
        raise UserError(f"no settings could be chosen; see the logs in {options.runs / 'settings-search'}")
    return chosen


def cells_of(options: argparse.Namespace) -> tuple[list[Cell], object]:
    """What is to be run, in order, and by which settings."""
    if options.published:
        words = [Word.read(word) for word in WORDS]
        runs = options.runs / "cifar10-if100-published"
        return make_cells(words, range(options.seeds), runs, published(options.root)), "published"
    chosen = chosen_settings(options)

    def make(data: str) -> Callable[[str, int], Experiment]:
        return experiments(data, options.root, options.network, options.epochs, chosen)

    return grid(options.runs, make, options.seeds), chosen


def run(options: argparse.Namespace) -> int:
    """All that is left; 1 where a run failed."""
    with sole_user(options.runs):
        try:
            folders = (RESULTS, options.record)
            cells, settings = cells_of(options)
            take_over(cells, folders)
            write_records(cells, folders, options.record)
            done = sum(cell.status == "complete" for cell in cells)
            print(f"{len(cells)} runs, {done} of them complete; settings {settings}", flush=True)
            for cell in run_grid(cells, ["cpu"] * options.jobs, [], 1):
                stamp = time.strftime("%Y-%m-%d %H:%M")
                print(f"{stamp}  {cell.folder}: {cell.problem or f'{cell.seconds or 0:.0f} s'}", flush=True)
                write_records([cell], folders, options.record)
        except Interrupted as stop:
            print(f"long_runs.py: {stop}", file=sys.stderr)
            return 128 + stop.signal_number
    return int(any(cell.status == "failed" for cell in cells))


def main(arguments: list[str]) -> int:
    """Go on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data", help="folder of the CIFAR archives")
    parser.add_argument("--runs", type=Path, default=Path("runs/long"))
    parser.add_argument("--record", type=Path, default=Path("runs/long/records"), metavar="FOLDER")
    parser.add_argument("--network", default=NETWORK)
    parser.add_argument("--published", action="store_true", help="rivals at their authors' settings instead")
    parser.add_argument("--epochs", type=int, default=3 * EPOCHS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time, a thread each")
    options = parser.parse_args(arguments)
    return guarded("long_runs.py", lambda: run(options))


def lowest_priority() -> None:
    """For spare time only."""
    os.nice(19)


if __name__ == "__main__":
    lowest_priority()
    sys.exit(main(sys.argv[1:]))
