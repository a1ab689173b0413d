"""Learning rate and weight decay for a small network: once for methods of one view, once for GLMC's family.

    python benchmarks/settings_search.py --network NAME --root data --runs runs/settings-search --record results

CIFAR-10-LT, IF 100, a third of the epochs, seed 0, scored on held-out training images (trials.py), last epoch. The same
four pairs for both families; methods of one view are tried with cross-entropy and with Balanced Softmax and judged by
the mean of the two, GLMC's family by GLMC. SAM's radius and the FSM's strength stay as published. Stopped, the same
command goes on from there, also where nothing but its record is left.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from trials import Trial, known_trials, make_trial, outcome

from fsgl.commands.cli import guarded
from fsgl.comparison.grid import Interrupted, run_grid
from fsgl.engine.environment import environment
from fsgl.report.records import write_record

RATES, DECAYS = (0.05, 0.1), (5e-4, 2e-3)
FAMILIES = {"one view": ("cross-entropy", "balanced-softmax"), "glmc": ("glmc",)}
EPOCHS = 15  # a third of the grid's
RECORD = "settings-search.json"


def trials_of(network: str, epochs: int, root: str, runs: Path, record: Path) -> list[Trial]:
    """All of them, the cheap ones first."""
    known = known_trials(record / RECORD)
    trials = []
    for recipe in (recipe for family in FAMILIES.values() for recipe in family):
        for lr, decay in product(RATES, DECAYS):
            settings = (f"schedule.lr={lr}", f"optim.weight_decay={decay}", f"optim.epochs={epochs}",
                        "evaluation.every=1000")  # fmt: skip
            name = f"{network}-{recipe}-lr{lr:g}-decay{decay:g}"
            trials.append(make_trial(runs, name, network, recipe, settings, root, known))
    return trials


def choose(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Of every family whose trials are all complete, the pair of the highest mean held-out accuracy."""
    chosen = {}
    for family, recipes in FAMILIES.items():
        scores: dict[tuple[float, float], list[float]] = {}
        for row in rows:
            if row["recipe"] in recipes and row["status"] == "complete":
                scores.setdefault((row["lr"], row["weight_decay"]), []).append(row["held_out"]["balanced"])
        means = {pair: float(np.mean(values)) for pair, values in scores.items() if len(values) == len(recipes)}
        if len(means) == len(RATES) * len(DECAYS):
            lr, decay = max(means, key=lambda pair: means[pair])
            chosen[family] = {"lr": lr, "weight_decay": decay, "held_out": means[lr, decay]}
    return chosen


def write(trials: Sequence[Trial], record: Path) -> dict[str, dict[str, float]]:
    """The record as far as it has come; returns what is chosen."""
    rows = known_trials(record / RECORD) | {trial.folder.name: outcome(trial) for trial in trials}
    chosen = choose(list(rows.values()))
    content = {"trials": list(rows.values()), "chosen": chosen}
    record.mkdir(parents=True, exist_ok=True)
    command = "python benchmarks/settings_search.py"
    write_record(record, "search", "settings-search", command, environment(torch.device("cpu")), content)
    return chosen


def search(trials: Sequence[Trial], jobs: int, record: Path) -> dict[str, dict[str, float]]:
    """Train what is left, so many at a time, a thread each. Raises Interrupted, with the record written."""
    try:
        for trial in run_grid(trials, ["cpu"] * jobs, [], 1):
            assert isinstance(trial, Trial)
            row = outcome(trial)
            print(f"{trial.folder.name:<60} {trial.problem or round(row['held_out']['balanced'], 2)}", flush=True)
            write(trials, record)
    finally:
        chosen = write(trials, record)
    return chosen


def main(arguments: list[str]) -> int:
    """Search; 1 where a family's settings could not be chosen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", required=True)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--root", default="data", help="folder of the CIFAR-10 archive")
    parser.add_argument("--runs", type=Path, default=Path("runs/settings-search"))
    parser.add_argument("--record", type=Path, default=Path("results"), metavar="FOLDER")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args(arguments)

    def run() -> int:
        trials = trials_of(options.network, options.epochs, options.root, options.runs, options.record)
        try:
            chosen = search(trials, options.jobs, options.record)
        except Interrupted as stop:
            print(f"settings_search.py: {stop}", file=sys.stderr)
            return 128 + stop.signal_number
        return int(chosen.keys() != FAMILIES.keys())

    return guarded("settings_search.py", run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
