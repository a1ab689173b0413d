"""What is given from Python, understood: settings by name, class frequencies, images to be asked about."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fsgl.data.images.image_files import BadImage
from fsgl.data.images.pixels import view
from fsgl.data.images.sources import ImageFiles
from fsgl.data.readers.arrays import as_pixels
from fsgl.data.readers.own import find_source
from fsgl.data.readers.walk import some_of
from fsgl.deploy.predict import ImageFile, find_images, predict_files, predict_views, read_prior, scaled_for
from fsgl.engine.runtime import Runtime
from fsgl.errors import UserError
from fsgl.recipes.on_data import SHORT_NAMES
from fsgl.runs.saved import TrainedModel

BATCH = 256  # images
_RUNTIME = {item.name for item in dataclasses.fields(Runtime)}


def split_settings(settings: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Settings of an experiment as name=value, and those of ``Runtime``.

    A setting is named by its short name (lr), or its own with two underscores for a dot (sam__rho), or with the dot.
    Whether there is such a setting is found out by whoever takes the assignments.
    """
    assignments, runtime = [], {}
    for name, value in settings.items():
        if name in _RUNTIME:
            runtime[name] = value
        else:
            assignments.append(f"{setting_name(name)}={'none' if value is None else value}")
    return assignments, runtime


def setting_name(name: str) -> str:
    """The dotted name of a setting by any of its names."""
    return SHORT_NAMES.get(name, name.replace("__", "."))


def prior_weights(trained: TrainedModel, prior: Any) -> np.ndarray:
    """Class weights ``K``: "uniform", "training", a CSV file, a dict of class and weight, or ``K`` weights.

    Raises UserError.
    """
    if isinstance(prior, (str, Path)):
        return read_prior(trained, str(prior))
    if isinstance(prior, Mapping):
        by_name = {str(name): weight for name, weight in prior.items()}
        if by_name.keys() != set(trained.class_names):
            raise UserError(f"prior: a weight is needed of each class: {', '.join(trained.class_names[:12])}")
        prior = [by_name[name] for name in trained.class_names]
    weights = np.asarray(prior, dtype=np.float64)
    if weights.shape != (len(trained.class_names),) or not (weights >= 0).all() or not np.isfinite(weights).all():
        raise UserError(f"prior: {len(trained.class_names)} weights of 0 or more are needed, one a class")
    if not weights.any():
        raise UserError("prior: all weights are 0")
    return weights


def logits_of(
    trained: TrainedModel, images: Any, device: torch.device, workers: int = 2, white: float | None = None
) -> np.ndarray:
    """Logits ``N x K`` of images as ``as_pixels`` takes them, or of files: a path, a pattern, a folder, a list of them.

    white: of the images in training. Raises UserError, also for a file that is no image.
    """
    if is_path(images) or (isinstance(images, (list, tuple)) and images and all(map(is_path, images))):
        names = [str(name) for name in ([images] if is_path(images) else images)]
        files, notes = find_images(names)
        for note in notes:
            warnings.warn(note, stacklevel=3)
        return _logits_of_files(trained, files, device, workers)
    pixels, _, _ = as_pixels(images, "new", white)
    parts = [_views(trained, pixels[i : i + BATCH]) for i in range(0, len(pixels), BATCH)]
    return np.concatenate([predict_views(trained, part, device) for part in parts])


def _logits_of_files(
    trained: TrainedModel, files: Sequence[ImageFile], device: torch.device, workers: int = 2
) -> np.ndarray:
    found = []
    trained, notes = scaled_for(trained, files)
    for note in notes:
        warnings.warn(note, stacklevel=4)
    for _, answer in predict_files(trained, files, device, workers):
        if isinstance(answer, BadImage):
            raise UserError(str(answer))
        found.append(answer)
    return np.stack(found)


def logits_and_classes_at(trained: TrainedModel, path: Path, device: torch.device) -> tuple[np.ndarray, np.ndarray]:
    """Logits ``N x K`` of the labelled images at a path, and their ``N`` classes as places in the run's own order.

    path: a folder, table, list or .npz, read as for training; its test part where it has one, else all of it.
    Raises UserError, also for a class that the run does not know and for a file that is no image.
    """
    source = find_source(path)
    part = source.train if source.test is None else source.test
    known = {name: place for place, name in enumerate(trained.class_names)}
    used = [source.class_names[k] for k in np.unique(part.labels)]
    if unknown_names := [name for name in used if name not in known]:
        raise UserError(f"{path}: '{unknown_names[0]}' is no class of this run, which knows {some_of(known)}")
    if isinstance(part, ImageFiles):
        files = [ImageFile(part.root, name, part.location(place), part.follow) for place, name in enumerate(part.paths)]
        logits = _logits_of_files(trained, files, device)
    else:
        batches = (range(len(part))[i : i + BATCH] for i in range(0, len(part), BATCH))
        shown = ([view(part.open(place), trained.shape) for place in places] for places in batches)
        logits = np.concatenate([predict_views(trained, some, device) for some in shown])
    return logits, np.array([known[source.class_names[k]] for k in part.labels])


def is_path(value: Any) -> bool:
    """Whether this names something, rather than being it."""
    return isinstance(value, (str, Path))


def _views(trained: TrainedModel, pixels: np.ndarray) -> Any:
    """Images as the network is shown them; those of its own size and channels as they are."""
    if trained.array_size is not None and pixels.shape[1:] == (*trained.array_size, trained.channels):
        return pixels
    from PIL import Image

    images = (Image.fromarray(each[..., 0] if each.shape[2] == 1 else each).convert("RGB") for each in pixels)
    return [view(image, trained.shape) for image in images]
