"""What the command line does, once it is parsed."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fsgl.data.load import DATA_SETS
from fsgl.errors import UserError
from fsgl.experiment import Experiment, override, setting_names
from fsgl.models.backbones import BACKBONES
from fsgl.recipes import RECIPES, digits, make_experiment
from fsgl.report.summary import print_comparison, print_metrics, print_run
from fsgl.run import RunDiverged, RunInterrupted, Runtime, train
from fsgl.saved import load_network, read_experiment, read_history, read_record

# Flags that are another spelling of a setting.
FLAGS = {
    "imbalance_factor": "data.imbalance_factor",
    "draw": "data.draw",
    "val": "data.val",
    "backbone": "backbone",
    "epochs": "optim.epochs",
    "batch_size": "optim.batch_size",
    "lr": "schedule.lr",
    "seed": "seed",
}


def run(options: argparse.Namespace, settings: list[str]) -> int:
    """Dispatch a parsed command."""
    if getattr(options, "threads", None):
        torch.set_num_threads(options.threads)
    if options.command == "recipes":
        return list_recipes()
    if options.command == "evaluate":
        return evaluate_run(options)
    assignments = [f"{FLAGS[flag]}={getattr(options, flag)}" for flag in FLAGS if getattr(options, flag) is not None]
    if options.recipe == "digits":
        return train_digits(options, assignments + settings)
    return train_one(options, assignments + settings)


def runtime(options: argparse.Namespace) -> Runtime:
    if options.max_steps is not None and options.max_steps < 1:
        raise UserError(f"--max-steps must be 1 or more, not {options.max_steps}")
    if options.workers < 0:
        raise UserError(f"--workers must be 0 or more, not {options.workers}")
    trackers = tuple(options.track or ("tensorboard",))
    return Runtime(
        options.device, options.workers, options.max_steps, () if trackers == ("none",) else trackers
    )


def train_one(options: argparse.Namespace, assignments: list[str]) -> int:
    """``fsgl train RECIPE``, ``--from FILE`` or ``--run FOLDER --resume``."""
    experiment = _experiment(options, assignments)
    if options.settings:
        print_settings(experiment)
        return 0
    folder = options.run or new_folder(experiment)
    resume: Path | bool = options.resume if isinstance(options.resume, bool) else Path(options.resume)
    print(f"{experiment.recipe} on {experiment.data.name}, {experiment.backbone}, seed {experiment.seed} -> {folder}")
    code = train_and_explain(experiment, folder, runtime(options), resume)
    if code == 0:
        print_run(folder, read_record(folder), read_history(folder))
    return code


def train_digits(options: argparse.Namespace, assignments: list[str]) -> int:
    """The demonstration: both methods, one after the other, then side by side."""
    if options.replay or options.data or options.resume:
        raise UserError("the recipe 'digits' takes no --data, --from or --resume; use 'fsgl' with --data digits")
    experiments = [override(experiment, *assignments) for experiment in digits()]
    if options.settings:
        for experiment in experiments:
            print_settings(experiment)
        return 0
    parent = options.run or unused_folder(Path("runs") / "digits")
    for experiment in experiments:
        print(f"{experiment.recipe} on {experiment.data.name}, {experiment.backbone}, seed {experiment.seed}")
        code = train_and_explain(experiment, parent / experiment.recipe, runtime(options), False)
        if code:
            return code
    folders = [parent / experiment.recipe for experiment in experiments]
    records, histories = [read_record(folder) for folder in folders], [read_history(folder) for folder in folders]
    print_comparison(parent, folders, records, histories)
    return 0


def train_and_explain(experiment: Experiment, folder: Path, how: Runtime, resume: Path | bool) -> int:
    """Train; an interruption or a divergence becomes a line and an exit code."""
    try:
        train(experiment, folder, how, resume)
    except RunInterrupted as stop:
        print(f"\nfsgl: {stop}", file=sys.stderr)
        return 128 + stop.signal_number
    except RunDiverged as error:
        print(f"fsgl: {error}", file=sys.stderr)
        return 1
    return 0


def evaluate_run(options: argparse.Namespace) -> int:
    """``fsgl evaluate RUN``: the test set once more, by the saved weights."""
    device = Runtime(options.device).torch_device()
    record = read_record(options.run)
    network = load_network(options.run, options.weights, device)
    test = network.data.test
    metrics = network.measure(test, network.logits(test, device, options.workers))
    if options.json:
        print(json.dumps(metrics, allow_nan=False))
    else:
        print_metrics(f"{options.run} ({options.weights} epoch)", record, metrics)
    return 0


def list_recipes() -> int:
    """``fsgl recipes``."""
    print("recipes (fsgl train RECIPE --data NAME)")
    print(f"  {'digits':<18}FSGL beside cross-entropy on the embedded digits: the demonstration")
    for name, recipe in RECIPES.items():
        print(f"  {name:<18}{(recipe.__doc__ or '').strip().splitlines()[0]}")
    print("\ndata sets (--data NAME)")
    for name, kind in DATA_SETS.items():
        print(f"  {name:<18}{kind.note}")
    print("\nbackbones (--backbone NAME)")
    for name, info in BACKBONES.items():
        print(f"  {name:<18}{info.note}")
    return 0


def print_settings(experiment: Experiment) -> None:
    """Every setting as the assignment that would set it."""
    print(f"# {experiment.recipe} on {experiment.data.name}")
    for name in setting_names(experiment):
        value: Any = experiment
        for part in name.split("."):
            value = getattr(value, part)
        print(f"{name}={value}")


def new_folder(experiment: Experiment) -> Path:
    """A folder under runs/ that names the experiment and is not in use."""
    factor = experiment.data.imbalance_factor or DATA_SETS[experiment.data.name].default_factor
    tail = "" if factor is None else f"-if{factor:g}"
    return unused_folder(Path("runs") / f"{experiment.recipe}-{experiment.data.name}{tail}-seed{experiment.seed}")


def unused_folder(folder: Path) -> Path:
    """The folder, or with a number after it where that exists already."""
    number, candidate = 1, folder
    while candidate.exists():
        number += 1
        candidate = folder.with_name(f"{folder.name}-{number}")
    return candidate


def _experiment(options: argparse.Namespace, assignments: list[str]) -> Experiment:
    if options.resume:
        if options.run is None:
            raise UserError("--resume needs --run FOLDER, the run to go on with")
        if assignments or options.data or options.replay or options.root or options.train_list or options.test_list:
            raise UserError("--resume takes all settings from the run folder; leave them off (--max-steps is allowed)")
        experiment = Experiment.from_json(read_record(options.run)["settings"], str(options.run / "experiment.json"))
        if options.recipe not in (None, experiment.recipe):
            raise UserError(f"{options.run} holds a run of '{experiment.recipe}', not of '{options.recipe}'")
        return experiment
    if options.replay:
        if options.recipe or options.data:
            raise UserError("--from takes the recipe and the data from its file; leave RECIPE and --data off")
        experiment = read_experiment(options.replay)
        if options.root:
            experiment = replace(experiment, data=replace(experiment.data, root=options.root))
        return override(experiment, *assignments)
    if not options.recipe:
        raise UserError("name a recipe (fsgl recipes lists them), or a record with --from, or a run with --resume")
    experiment = make_experiment(
        options.recipe, options.data or "cifar100", options.root or "data", options.train_list, options.test_list
    )
    return override(experiment, *assignments)
