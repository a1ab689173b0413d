"""Recipes by seeds on one data set, each a run folder, each recorded in results/. What is done already is not redone.

    python benchmarks/grid.py --recipes cross-entropy glmc glmc-sam fsgl --seeds 2 -- --data cifar10 --root ../data ...

What follows ``--`` is given to ``fsgl train`` as it stands.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

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
            record(folder, options.results, f"fsgl train {recipe} --seed {seed} {' '.join(shared)}")
    return 0


def record(folder: Path, results: Path, command: str) -> None:
    """Write the record of a complete run."""
    run = read_record(folder)
    settings = run["settings"]
    factor = settings["data"]["imbalance_factor"]
    name = "-".join([
        settings["data"]["name"], *([] if factor is None else [f"if{factor:g}"]), settings["backbone"],
        f"e{settings['optim']['epochs']}", settings["recipe"], f"seed{settings['seed']}",
        read_experiment(folder / "experiment.json").hash[:6],  # tells grids apart that differ in another setting
    ])  # fmt: skip
    path = write_record(results, "run", name, command, run["environment"], run_content(run, read_history(folder)))
    print(f"recorded    {path}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
