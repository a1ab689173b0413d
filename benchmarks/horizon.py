"""How many epochs a method needs before it pays: the embedded digits, from 5 to 160 epochs.

    python benchmarks/horizon.py [--runs runs/horizon] [--record results]

Cross-entropy, GLMC, GLMC + SAM and FSGL, each schedule run to its own end, 5 seeds. Of every run: test accuracy of the
classifier used at test, of ``fc``, and of ``fc`` minus log prior; calibration and feature lengths (closer_look.py); and
the budget of ``fc_cb`` (recipes/budget.py). Stopped, the same command goes on.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from closer_look import closer_look

from fsgl.commands.cli import guarded
from fsgl.data.load import load_data
from fsgl.engine.environment import environment
from fsgl.engine.runtime import RunInterrupted, Runtime
from fsgl.files import read_json
from fsgl.recipes import make_experiment
from fsgl.recipes.budget import fc_cb_budget
from fsgl.recipes.experiment import Experiment, override
from fsgl.report.records import write_record
from fsgl.runs.saved import read_record
from fsgl.runs.train import train

METHODS = ("cross-entropy", "glmc", "glmc-sam", "fsgl")
EPOCHS = (5, 10, 20, 40, 80, 160)
RECORD = "horizon.json"


def experiment_of(recipe: str, epochs: int, seed: int) -> Experiment:
    """A run of the horizon, scored at its end only."""
    settings = f"optim.epochs={epochs}", f"seed={seed}", f"evaluation.every={epochs}"
    return override(make_experiment(recipe, "digits"), *settings)


def row_of(folder: Path, experiment: Experiment) -> dict[str, Any]:
    """What a finished run came to."""
    record = read_record(folder)
    return {
        "recipe": experiment.recipe, "epochs": experiment.optim.epochs, "seed": experiment.seed,
        "hash": experiment.hash, "split_hash": record["data"]["split_hash"],
        "train_seconds": record["result"]["train_seconds"], "ece": record["result"]["last"]["ece"],
        "fc_cb_budget": fc_cb_budget(experiment, record["class_counts"]), **closer_look(folder),
    }  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Every run that the record has not, the shortest first."""
    path = options.record / RECORD
    known = {row["hash"]: row for row in read_json(path)["content"]["rows"]} if path.exists() else {}
    rows, data = dict(known), load_data(make_experiment("fsgl", "digits").data)
    wanted = [
        experiment_of(recipe, epochs, seed)
        for epochs in options.epochs for seed in range(options.seeds) for recipe in METHODS
    ]  # fmt: skip
    try:
        for experiment in wanted:
            if experiment.hash in rows:
                continue
            name = f"{experiment.recipe}-e{experiment.optim.epochs}-seed{experiment.seed}"
            folder = options.runs / name
            resume = (folder / "experiment.json").exists()
            if not (resume and read_record(folder)["status"] == "complete"):
                how = Runtime("cpu", trackers=(), print_every=10**9)
                train(experiment, folder, how, resume, data=replace(data, spec=experiment.data))
            rows[experiment.hash] = row_of(folder, experiment)
            write(options.record, wanted[0], rows)
            shutil.rmtree(folder)
    except RunInterrupted as stop:
        print(f"horizon.py: {stop}", file=sys.stderr)
        return 128 + stop.signal_number
    return 0


def write(folder: Path, first: Experiment, rows: dict[str, dict[str, Any]]) -> None:
    """The record, as far as it has come."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = first.to_json()
    del settings["data"]["root"]
    write_record(
        folder, "horizon", "horizon", "python benchmarks/horizon.py", environment(torch.device("cpu")),
        {"settings": settings, "rows": list(rows.values())},
    )  # fmt: skip


def main(arguments: list[str]) -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/horizon"))
    parser.add_argument("--record", type=Path, default=Path("results"), metavar="FOLDER")
    parser.add_argument("--epochs", type=int, nargs="+", default=list(EPOCHS))
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    return guarded("horizon.py", lambda: run(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
