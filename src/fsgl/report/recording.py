"""A complete run as a record for results/: its figures without its weights."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fsgl.data.known import OWN
from fsgl.data.readers.small_images import SMALL_SIDE
from fsgl.errors import UserError
from fsgl.evaluation.reliability import beyond_accuracy
from fsgl.recipes.experiment import Experiment
from fsgl.recipes.long_tail import make_experiment
from fsgl.recipes.tuning import how_set
from fsgl.report.records import run_content, write_record
from fsgl.runs.saved import read_experiment, read_history, read_predictions, read_record


def record(
    folder: Path,
    results: Path,
    command: str,
    tag: str = "",
    commit: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write the record of a complete run and return its path.

    tag: of its name.  commit: the source's, where it was a copy that tells another one or none.  extra: more for the
    record's content.
    """
    run = read_record(folder)
    environment = {**run["environment"], "commit": commit or run["environment"]["commit"]}
    content = {**run_content(run, read_history(folder)), **from_predictions(folder, run), **(extra or {})}
    adjusted = (run.get("adjustment") or {}).get("name")
    tag = "-".join(filter(None, [adjusted, tag]))
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


def from_predictions(folder: Path, run: Mapping[str, Any]) -> dict[str, Any]:
    """More than accuracy, and which test images are right: a bit an image, base64 of NumPy's packbits.

    right: class by class, in the images' order within a class.  class_images: test images of each class.  n: of all.
    """
    saved, boundaries = read_predictions(folder), run["settings"]["evaluation"]
    logits, labels = saved["logits"], saved["labels"]
    beyond = beyond_accuracy(logits, labels, saved["class_counts"], many=boundaries["many"], few=boundaries["few"])
    right = np.packbits((logits.argmax(axis=1) == labels)[np.argsort(labels, kind="stable")])
    return {
        "settings_from": settings_from(run["settings"]), "beyond": beyond,
        "right": base64.b64encode(right.tobytes()).decode(), "n": len(labels),
        "class_images": np.bincount(labels, minlength=len(saved["class_counts"])).tolist(),
    }  # fmt: skip


def settings_from(settings: Mapping[str, Any]) -> str | None:
    """How a run's settings came about, held against its recipe of today (recipes/tuning.py); None without one."""
    try:
        experiment = Experiment.from_json(dict(settings), "settings")
        data = experiment.data
        lists = (data.train_list, data.test_list, data.val_list)
        # The recipe for somebody's own images goes by their size, which is not among the settings: either will do.
        sides = (None, SMALL_SIDE) if data.name in OWN else (None,)
        made = [make_experiment(experiment.recipe, data.name, "data", *lists, data.images, side) for side in sides]
    except UserError:
        return None
    found = [how_set(experiment, each) for each in made]
    return next((how for how in found if how != "given"), "given")
