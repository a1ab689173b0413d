"""Studies of ``fsgl tune`` with trainings that only pretend."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from fsgl.comparison.grid import Cell, run_grid
from fsgl.comparison.tune import Budget, Study, work
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import Experiment
from fsgl.runs.saved import read_experiment


def worth(experiment: Experiment) -> float:
    """Highest at lr = 0.03."""
    return 80 - 10 * abs(math.log10(experiment.schedule.lr / 0.03))


class Pretended:
    """fails: run folders whose training ends without a result."""

    def __init__(self, *fails: str) -> None:
        self.fails, self.trained = fails, list[str]()

    def __call__(self, command: list[str], log: Path, environment: Mapping[str, str]):
        where = Path(command[command.index("--run") + 1])
        experiment = read_experiment(Path(command[command.index("--from") + 1]))
        self.trained.append(f"{where.parent.name}/{where.name}")
        if self.trained[-1] in self.fails:
            log.write_text("fsgl: training diverged\n")
            return (lambda: 1), lambda: None
        where.mkdir(parents=True)
        value = worth(experiment) + experiment.data.val_fold  # no test figure at all: nothing may ask for one
        row = {"epoch": 0, "lr": 0.1, "loss": {}, "seconds": 30.0, "images": 1, "test": None}
        row["val"] = {"balanced": value}
        (where / "metrics.jsonl").write_text(json.dumps(row) + "\n")
        (where / "model.safetensors").write_bytes(b"heavy")
        record = {"settings": experiment.to_json(), "data": {"split_hash": "f"}, "class_names": [], "class_counts": [],
                  "status": "complete"}  # fmt: skip
        (where / "experiment.json").write_text(json.dumps(record))
        return (lambda: 0), lambda: None


def study(recipe: str, runs: Path, budget: Budget, folds: int = 1, *data: str) -> Study:
    return Study(recipe, make_experiment(recipe, *(data or ["digits"])), runs / recipe, budget, folds)


def tune(studies: list[Study], launch: Pretended, stop_after: int | None = None) -> None:
    cells: list[Cell] = []
    fill = work(studies, cells, 2)
    fill()
    for number, _ in enumerate(run_grid(cells, ["cpu", "cpu"], [], 1, launch), start=1):
        fill()
        if number == stop_after:
            return
