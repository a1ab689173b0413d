"""``fsgl tune``: settings of recipes chosen by trials on validation images, the same budget for each."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from fsgl.commands.arguments import FORM, folder, within
from fsgl.commands.experiment_options import add_experiment, add_transfer, assignments_of, given_images
from fsgl.commands.grid_options import add_grid, grid_launcher, passed_on, threads_of
from fsgl.errors import UserError

DESCRIPTION = """\
Choose the settings of recipes by trials, so that a comparison of them is one between equals.

Every recipe has the same budget, for learning rate, weight decay, SAM's radius and what its method declares of its own.
A trial is judged on validation images (--val) or on folds of the training images (--folds), never on test images; the
first one has the recipe's own settings. What was stopped goes on by the same command.

Written into --runs: tuned.json, with all trials, which fsgl compare takes as --settings FILE."""


def add(commands: Any) -> None:
    """The options."""
    command = commands.add_parser(
        "tune", help="choose recipes' settings on validation images, at equal budgets", description=DESCRIPTION,
        formatter_class=FORM, allow_abbrev=False,
    )  # fmt: skip
    command.add_argument("recipes", nargs="+", metavar="RECIPE", help="one of 'fsgl recipes'; RECIPE+sam")
    budget = command.add_mutually_exclusive_group(required=True)
    budget.add_argument("--trials", type=int, metavar="N", help="of each recipe")
    budget.add_argument("--minutes", type=float, metavar="M", help="of training, for each recipe's trials together")
    what = command.add_argument_group("what is trained")
    add_experiment(what)
    what.add_argument("--folds", type=int, default=1, metavar="K", help="judge by K folds, each 1 / K of the images")
    add_transfer(command)
    how = command.add_argument_group("how it runs")
    how.add_argument("--runs", type=folder, metavar="FOLDER", help="of the trials (default: runs/tune-DATA)")
    add_grid(how)
    how.add_argument("--record", type=folder, metavar="FOLDER", help="write a record of all trials, as in results/")


def run(options: argparse.Namespace, settings: list[str]) -> int:
    """``fsgl tune``."""
    from fsgl.comparison.grid import Cell, Interrupted, Word, run_grid
    from fsgl.comparison.settings_file import images_of, settings_of
    from fsgl.comparison.tune import Budget, Study, work
    from fsgl.files import write_json
    from fsgl.recipes.on_data import experiment_on

    words = [Word.read(text) for text in dict.fromkeys(options.recipes)]
    if not words or any(word.text != word.recipe for word in words):
        raise UserError("name recipes to tune, RECIPE or RECIPE+sam; an adjustment is tuned where it is made")
    if options.minutes is not None and not 0 < options.minutes < float("inf"):
        raise UserError(f"--minutes must be above 0, not {options.minutes}")
    trials = None if options.trials is None else within("--trials", options.trials, 1, 100_000)
    folds, budget = within("--folds", options.folds, 1, 100), Budget(trials, options.minutes)
    if folds > 1 and options.val is not None:
        raise UserError("--folds says how many images are for validation, 1 / K; leave --val off")
    data = "cifar100" if options.data is None else options.data
    runs = options.runs or Path("runs") / f"tune-{Path(data).stem or 'data'}"
    given = assignments_of(options) + settings + ([f"data.val={1 / folds}"] if folds > 1 else [])
    begins = {"scratch": options.scratch, "fine_tune": options.fine_tune}
    source, studies = None, []
    for word in words:
        base, source = experiment_on(word.recipe, data, given_images(options), given, source, **begins)
        studies.append(Study(word.recipe, base, runs / word.recipe, budget, folds, images_of(source)))
    print(f"{budget} for each of {len(studies)} recipes, judged by {_judge(folds)}; in {runs}", flush=True)
    cells: list[Cell] = []
    with grid_launcher(options) as (launch, devices):
        fill = work(studies, cells, len(devices))
        fill()
        try:
            for cell in run_grid(cells, devices, passed_on(options), threads_of(options, devices), launch):
                fill()
                _say(cell, studies)
        except Interrupted as stop:
            print(f"fsgl: {stop}", file=sys.stderr)
            return 128 + stop.signal_number
    content = settings_of(studies)
    path = runs / "tuned.json"
    write_json(path, content)
    for name, found in content["recipes"].items():
        chosen = ", ".join(f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}"
                           for key, value in found["settings"].items())  # fmt: skip
        own = "failed" if found["own_value"] is None else f"{found['own_value']:.1f}"
        print(f"{name:<24} {own} as it comes, {found['value']:.1f} with {chosen}")
    print(f"settings    {path} (fsgl compare ... --settings {path})")
    if options.record is not None:
        print(f"record      {_record(options, content)}")
    return 0


def _judge(folds: int) -> str:
    return "validation images" if folds == 1 else f"{folds} folds of the training images"


def _say(cell: Any, studies: Any) -> None:
    study = next(study for study in studies for trial in study.trials if cell in trial.cells)
    trial = next(trial for trial in study.trials if cell in trial.cells)
    how = f"failed: {trial.failed}" if trial.failed else "" if trial.value is None else f"{trial.value:.1f}"
    if trial.over:
        print(f"{study.recipe} trial {trial.number}: {how}", flush=True)


def _record(options: argparse.Namespace, content: dict[str, Any]) -> Path:
    import torch

    from fsgl.engine.environment import environment
    from fsgl.report.records import write_record

    of = content["of"]
    factor = of["data.imbalance_factor"]
    views = sorted({recipe["of"]["transfer.cached_views"] for recipe in content["recipes"].values()} - {0})
    name = "-".join(filter(None, [
        "tuning", of["data.name"], None if factor is None else f"if{factor:g}", of["backbone"].replace(":", "-"),
        f"e{of['optim.epochs']}", f"{'-or-'.join(map(str, views))}-views" if views else None,
        content["budget"].replace(" ", "-"),
    ]))  # fmt: skip
    command = f"fsgl tune {' '.join(options.recipes)} ..."
    return write_record(options.record, "tuning", name, command, environment(torch.device("cpu")), content)
