"""Which small network learns most from a CPU-minute: a search over residual networks for 32 x 32 images.

    python benchmarks/network_search.py --root data --runs runs/network-search --record results

1. The CPU time of a training step of every candidate (benchmarks/trials.py), taken in turns, one thread.
2. Cross-entropy on CIFAR-10-LT, IF 100, each candidate for as many epochs as fit into the same CPU time.
3. GLMC for the best two, for the same epochs, which is twice the CPU time for each.

Batch 64, rate 0.05, decay 2e-3, seed 0; scored on held-out training images (trials.py), last epoch. Stopped, the same
command goes on from there, also where nothing but its record is left; the step times of the first call are kept, so
that the epochs stay what they were.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from trials import CANDIDATES, Trial, experiment_of, held_out_data, known_trials, make_trial, outcome

from fsgl.commands.cli import guarded
from fsgl.comparison.grid import Interrupted, run_grid
from fsgl.data.load import LoadedData
from fsgl.engine.environment import environment
from fsgl.engine.runtime import Runtime
from fsgl.engine.step import training_step
from fsgl.files import read_json, write_json
from fsgl.randomness import generator
from fsgl.recipes.experiment import Experiment
from fsgl.report.records import write_record
from fsgl.runs.assemble import assemble
from fsgl.runs.network import build_network, cost

SETTINGS = ("schedule.lr=0.05", "optim.weight_decay=2e-3", "evaluation.every=1000")
FIRST, SECOND = "cross-entropy", "glmc"
REPEATS = 6
RECORD = "network-search.json"


def a_step(experiment: Experiment, data: LoadedData) -> Callable[[], None]:
    """One whole training step, as a run takes it."""
    runtime = Runtime("cpu")
    placement = runtime.place()
    network = build_network(experiment, data, placement.device)
    state, recipe = assemble(experiment, network, runtime, placement)
    state.model.train()
    batches = itertools.chain.from_iterable(recipe.stream.batches(epoch) for epoch in itertools.count())

    def step() -> None:
        training_step(recipe.update, recipe.method, next(batches), recipe.num_classes, 0.5, generator(0, "mix"))

    return step


def step_times(experiments: Sequence[Experiment], data: LoadedData, repeats: int = REPEATS) -> list[float]:
    """CPU seconds of a step of each, the median of turns taken together after a warm-up."""
    steps = [a_step(experiment, data) for experiment in experiments]
    times: list[list[float]] = [[] for _ in steps]
    for repeat in range(repeats + 1):
        for step, seconds in zip(steps, times, strict=True):
            begun = time.process_time()
            step()
            if repeat:
                seconds.append(time.process_time() - begun)
    return [statistics.median(seconds) for seconds in times]


def make_plan(options: argparse.Namespace) -> dict[str, Any]:
    """Step times, and the epochs that fit into the CPU time; kept in the runs folder once measured."""
    path, record = options.runs / "plan.json", options.record / RECORD
    if path.exists():
        return dict(read_json(path))
    if record.exists():
        return dict(read_json(record)["content"]["plan"])
    first = experiment_of(options.networks[0], FIRST, SETTINGS, options.root)
    data = held_out_data(first.data)
    steps = -(-len(data.train) // first.optim.batch_size)
    plan: dict[str, Any] = {"cpu_minutes": options.minutes, "steps_per_epoch": steps, "networks": {}}
    for recipe in (FIRST, SECOND):
        experiments = [experiment_of(name, recipe, SETTINGS, options.root) for name in options.networks]
        for name, experiment, seconds in zip(options.networks, experiments, step_times(experiments, data), strict=True):
            row = plan["networks"].setdefault(name, {})
            row[recipe] = {"step_seconds": seconds}
            if recipe == FIRST:
                row["epochs"] = max(1, round(options.minutes * 60 / seconds / steps))
            row["cost"] = cost(experiment, data, build_network(experiment, data, torch.device("cpu")).model)
            rate = row["cost"]["multiply_adds_per_image"] * 6 * experiment.optim.batch_size
            row[recipe]["gflops"] = rate * experiment.passes_per_step / seconds / 1e9
            print(f"{name:<24} {recipe:<14} {seconds * 1000:6.0f} ms a step, {row[recipe]['gflops']:5.1f} GFLOP/s, "
                  f"{row['epochs']:3d} epochs", flush=True)  # fmt: skip
    options.runs.mkdir(parents=True, exist_ok=True)
    write_json(path, plan)
    return plan


def trials_of(options: argparse.Namespace, plan: dict[str, Any], recipe: str, names: Sequence[str]) -> list[Trial]:
    """One of each network, with as many epochs as the plan says."""
    settings = [(*SETTINGS, f"optim.epochs={plan['networks'][name]['epochs']}") for name in names]
    known = known_trials(options.record / RECORD)
    return [
        make_trial(options.runs, f"{name}-{recipe}", name, recipe, own, options.root, known)
        for name, own in zip(names, settings, strict=True)
    ]


def train_all(trials: Sequence[Trial], jobs: int) -> None:
    """To the end, so many at a time, a thread each."""
    for trial in run_grid(trials, ["cpu"] * jobs, [], 1):
        assert isinstance(trial, Trial)
        row = outcome(trial)
        said = (
            trial.problem or f"{row['held_out']['balanced']:.2f} % in {row['cpu_seconds'] / 60:.1f} CPU-minutes"
        )
        print(f"{trial.folder.name:<40} {said}", flush=True)


def best(trials: Sequence[Trial], count: int) -> list[str]:
    """The networks of the most balanced accuracy."""
    scored = [(outcome(trial)["held_out"]["balanced"], trial) for trial in trials if trial.status == "complete"]
    return [trial.experiment.backbone for _, trial in sorted(scored, key=lambda pair: -pair[0])[:count]]


def search(options: argparse.Namespace) -> int:
    """All of it; the record is written as far as it has come."""
    plan = make_plan(options)
    first = trials_of(options, plan, FIRST, options.networks)
    second: list[Trial] = []
    try:
        train_all(first, options.jobs)
        second = trials_of(options, plan, SECOND, best(first, 2))
        train_all(second, options.jobs)
    except Interrupted as stop:
        print(f"network_search.py: {stop}", file=sys.stderr)
        return 128 + stop.signal_number
    finally:
        rows = known_trials(options.record / RECORD) | {t.folder.name: outcome(t) for t in (*first, *second)}
        content = {"plan": plan, "trials": list(rows.values()), "chosen": best(second, 1)}
        options.record.mkdir(parents=True, exist_ok=True)
        command = "python benchmarks/network_search.py"
        write_record(
            options.record, "search", "network-search", command, environment(torch.device("cpu")), content
        )  # fmt: skip
    return int(any(trial.status == "failed" for trial in (*first, *second)))


def main(arguments: list[str]) -> int:
    """Search; 1 where a trial failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data", help="folder of the CIFAR-10 archive")
    parser.add_argument("--runs", type=Path, default=Path("runs/network-search"))
    parser.add_argument("--record", type=Path, default=Path("results"), metavar="FOLDER")
    parser.add_argument("--minutes", type=float, default=10.0, help="CPU-minutes of a trial with cross-entropy")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--networks", nargs="+", choices=CANDIDATES, default=list(CANDIDATES))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    return guarded("network_search.py", lambda: search(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
