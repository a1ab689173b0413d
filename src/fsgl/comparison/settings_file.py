"""The file that ``fsgl tune`` writes and ``fsgl compare --settings`` takes: settings, and how they were found.

kind      "fsgl tuned settings"
of        what the trials shared: data, network, epochs, ...; a comparison must have the same
images    which they were, where somebody's own; a comparison on others is refused, whatever their name
budget    of each recipe;  on: "validation", or so many folds
recipes   by name: settings, the value on validation and that of the recipe's own settings, space, all trials, and what
          of the comparison is the recipe's own (of)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fsgl.comparison.tune import Study
from fsgl.data.draw.split import split_hash
from fsgl.data.images.sources import ImageFiles, Source
from fsgl.errors import UserError
from fsgl.files import read_json
from fsgl.recipes.experiment import Experiment, override
from fsgl.recipes.tuning import TuningSpec

KIND = "fsgl tuned settings"
# The test images, too: of others, some were trained on or judged by while the settings were chosen.
_SHARED = (
    "data.name", "data.title", "data.imbalance_factor", "data.draw", "data.draw_seed", "data.test", "data.test_seed",
    "data.view", "backbone", "optim.kind", "optim.epochs", "optim.batch_size", "schedule.kind", "transfer.weights",
    "transfer.train", "transfer.image_size", "transfer.cached_views",
)  # fmt: skip
_OF_A_METHOD = ("transfer.cached_views",)  # as many as it is shown


def settings_of(studies: Sequence[Study]) -> dict[str, Any]:
    """The content of the file. Raises UserError for a recipe of which no trial came to an end."""
    first = studies[0]
    recipes = {
        study.recipe: {
            "settings": study.best.settings, "value": study.best.value, "own_value": study.trials[0].value,
            "chosen": study.best.number, "of": {name: shared_by(study.base)[name] for name in _OF_A_METHOD},
            **study.describe(study.counted),
        }
        for study in studies
    }  # fmt: skip
    on = "validation" if first.folds == 1 else f"{first.folds} folds"
    shared = {name: value for name, value in shared_by(first.base).items() if name not in _OF_A_METHOD}
    which = {} if first.images is None else {"images": first.images}
    return {"kind": KIND, "of": shared, **which, "budget": str(first.budget), "on": on, "recipes": recipes}


def images_of(source: Source | None) -> str | None:
    """Which images somebody's own are, in words: equal for equal ones, wherever they lie. None for sets with names.

    source: before anything is set aside of it, as a comparison may set aside other shares than the trials did. Files
    are known by their names, labels and sizes: reading all of them would take minutes.
    """
    if source is None:
        return None
    parts: dict[str, Any] = {"train": source.train, "val": source.val, "test": source.test}
    found = split_hash(classes=source.class_names, **{name: part for name, part in parts.items() if part is not None})
    size = sum(part.size_on_disk() for part in parts.values() if isinstance(part, ImageFiles))
    weighed = f", {size:,} bytes" if size else ""
    return f"{len(source.train):,} for training of {source.num_classes} classes ({found[:12]}{weighed})"


def read_settings(path: Path) -> dict[str, Any]:
    """The file's content. Raises UserError for one that is none."""
    content = read_json(path)
    if not isinstance(content, dict) or content.get("kind") != KIND or not isinstance(content.get("recipes"), dict):
        raise UserError(f"{path}: no settings of fsgl tune")
    return content


def tuned(
    experiment: Experiment, content: Mapping[str, Any], path: Path, images: str | None = None
) -> Experiment:
    """The experiment with its recipe's tuned settings.

    images: of the comparison, as ``images_of`` says; None where that is not known, or they have a name of their own.
    Raises UserError where there are none, or they were tuned for other data, another network or other epochs.
    """
    found = content["recipes"].get(experiment.recipe)
    if found is None:
        known = ", ".join(content["recipes"])
        raise UserError(f"{path} has no settings for {experiment.recipe} (only {known}); tune it with the same budget")
    mine = shared_by(experiment)
    try:
        of = {**content["of"], **found.get("of", {})}
        assignments = [f"{name}={value}" for name, value in found["settings"].items()]
        budget, on, trials = content["budget"], content["on"], len(found["trials"])
        more = budget.endswith(" trials") and trials > int(budget.split()[0])
        spec = TuningSpec(budget, trials, on, ",".join(found["settings"]))
        if not isinstance(on, str):
            raise TypeError
    except (KeyError, TypeError, ValueError, AttributeError, UserError):
        raise UserError(f"{path}: the settings of {experiment.recipe} are damaged; run fsgl tune again") from None
    for name, value in of.items():
        if name in mine and mine[name] != value:
            raise UserError(f"{path} was tuned for {name}={value}, and this comparison has {name}={mine[name]}")
    if images is not None and content.get("images", images) != images:
        raise UserError(f"{path} was tuned on other images: {content['images']}, and these are {images}")
    if more:  # as files were written that a larger budget had gone before
        raise UserError(f"{path} says {budget}, and {experiment.recipe} has {trials}; run fsgl tune again")
    try:
        return replace(override(experiment, *assignments), tuning=spec)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def shared_by(experiment: Experiment) -> dict[str, Any]:
    """What tuned settings hold for, by the settings' names."""
    flat: dict[str, Any] = {}
    for name in _SHARED:
        value: Any = experiment
        for part in name.split("."):
            value = getattr(value, part)
        flat[name] = _file(value) if name == "transfer.weights" and experiment.transfer.kind == "file" else value
    return flat


def _file(name: str) -> str:
    """A file of weights by its content, wherever it lies."""
    try:
        with Path(name).open("rb") as file:
            return f"file {hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"
    except FileNotFoundError:
        raise UserError(f"{name}: no such file") from None
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror})") from None
