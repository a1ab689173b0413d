"""A recipe on data that are named, or on somebody's own, whose size decides on the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fsgl.data.images.sources import Source
from fsgl.data.known import DATA_SETS, OWN
from fsgl.data.load import read_own
from fsgl.data.readers.own import looks_like_path
from fsgl.data.readers.reading import Reading
from fsgl.errors import UserError, unknown
from fsgl.recipes.experiment import Experiment, override
from fsgl.recipes.long_tail import RECIPES, SAM, make_experiment

# Settings that have a second, shorter name: an option of the command line, an argument of fsgl.train.
SHORT_NAMES = {
    "imbalance_factor": "data.imbalance_factor",
    "draw": "data.draw",
    "val": "data.val",
    "bad_images": "data.bad_images",
    "white_level": "data.white_level",
    "backbone": "backbone",
    "epochs": "optim.epochs",
    "batch_size": "optim.batch_size",
    "lr": "schedule.lr",
    "seed": "seed",
    "pretrained": "transfer.weights",
    "freeze": "transfer.train",
    "backbone_lr": "transfer.backbone_lr",
    "image_size": "transfer.image_size",
    "cached_views": "transfer.cached_views",
    **{name: f"data.reading.{name}" for name in Reading.__dataclass_fields__},
}


# Head first, then all of it, gently: docs/pretrained.md says what was measured, and of what it is not known.
FINE_TUNE = {
    "transfer.train": "all",
    "transfer.cached_views": "0",
    "transfer.batch_norm": "frozen",
    "transfer.probe_epochs": "40",
    "optim.kind": "adamw",
    "optim.epochs": "6",
    "optim.batch_size": "32",
    "optim.weight_decay": "0.05",
    "schedule.kind": "step-cosine",
    "schedule.lr": "3e-4",
}


def experiment_on(
    recipe: str,
    data: str,
    given: Mapping[str, Any],
    assignments: Sequence[str],
    source: Source | None = None,
    scratch: bool = False,
    fine_tune: bool = False,
) -> tuple[Experiment, Source | None]:
    """A recipe on a data set's name or on a path, and the images where they had to be read to find out what they are.

    given: where images are (root, train_list, ...), as ``make_experiment`` takes them.  assignments: name=value.
    source: the images of the path, where they have been read already.  scratch: see ``make_experiment``; who names a
    backbone and no weights means scratch as well.  fine_tune: ``FINE_TUNE`` for what is not assigned. Raises UserError.
    """
    named = {assignment.partition("=")[0] for assignment in assignments}
    if fine_tune:
        assignments = [*(f"{name}={value}" for name, value in FINE_TUNE.items() if name not in named), *assignments]
    scratch = scratch or ("backbone" in named and "transfer.weights" not in named)
    given = {**given, "scratch": scratch or "transfer.weights=none" in assignments}
    if data not in DATA_SETS and recipe.removesuffix(SAM) in RECIPES:
        if not data or not (source or Path(data).expanduser().exists() or looks_like_path(data)):
            error = unknown("data set", data, [name for name in DATA_SETS if name != "own"])
            raise UserError(f"{error} (nor is there such a file or folder)")
        if "root" in given:
            given = {**given, "images": given["root"]}
        data, given = "own", {**given, "root": str(Path(data).expanduser())}
    if data not in OWN:
        return override(make_experiment(recipe, data, **given), *assignments), None
    # The images decide on the network, so that of their own settings alone it is said where they are.
    of_data = [assignment for assignment in assignments if assignment.startswith("data.")]
    source = source or read_own(override(make_experiment(recipe, data, **{**given, "scratch": True}), *of_data).data)
    side = max(source.train.array_size) if source.train.array_size else None
    return override(make_experiment(recipe, data, **given, side=side), *assignments), source
