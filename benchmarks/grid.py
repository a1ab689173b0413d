"""Recipes by seeds on one data set, each a run folder, each recorded in results/. What is done already is not redone.

    python benchmarks/grid.py --recipes cross-entropy glmc glmc-sam fsgl --seeds 2 -- --data cifar10 --root ../data ...

What follows ``--`` is given to ``fsgl train`` as it stands. Under a time limit, or several at once: paper_run.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fsgl.cli import main as fsgl
from fsgl.report.records import run_content, write_record
from fsgl.saved import read_experiment, read_history, read_record


def main(arguments: list[str]) -> int:
    """Run the grid; the exit code is that of the first cell that failed, or 0."""
    split = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", required=True)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the run folders")
    parser.add_argument("--results", type=Path, default=Path("results"))
    options = parser.parse_args(arguments[:split])
    shared = arguments[split + 1 :]
    for seed in range(options.seeds):
        for recipe in options.recipes:
            folder = options.runs / f"{recipe}-seed{seed}"
            started = (folder / "experiment.json").exists()
            if started and read_record(folder)["status"] == "complete":
                code = 0
            elif started:
                code = fsgl(["train", "--run", str(folder), "--resume"])
            else:
                code = fsgl(["train", recipe, "--seed", str(seed), "--run", str(folder), *shared])
            if code:
                return code
            path = record(folder, options.results, f"fsgl train {recipe} --seed {seed} {' '.join(shared)}")
            print(f"recorded    {path}")
    return 0


def record(
    folder: Path,
    results: Path,
    command: str,
    tag: str = "",
    commit: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write the record of a complete run and return its path.

    tag: of its name.  commit: for a run that could not tell its own.  extra: more for the record's content.
    """
    run = read_record(folder)
    environment = {**run["environment"], "commit": run["environment"]["commit"] or commit}
    content = {**run_content(run, read_history(folder)), **(extra or {})}
    name = record_name(run["settings"], read_experiment(folder / "experiment.json").hash, tag)
    return write_record(results, "run", name, command, environment, content)


def record_name(settings: Mapping[str, Any], experiment_hash: str, tag: str = "") -> str:
    """The name of a run's record: what a reader looks for, then what tells apart whatever else differs."""
    factor = settings["data"]["imbalance_factor"]
    return "-".join([
        settings["data"]["name"], *([] if factor is None else [f"if{factor:g}"]),
        settings["backbone"].replace(":", "-"),
        f"e{settings['optim']['epochs']}", settings["recipe"], f"seed{settings['seed']}",
        experiment_hash[:6],  # tells grids apart that differ in another setting
        *([tag] if tag else []),
    ])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
