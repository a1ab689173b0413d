"""A drawn data set as one .npz, for machines that have neither the archives nor a network.

It holds train_images, train_labels, test_images, test_labels (uint8 ``N x H x W x C``, int64 ``N``), val_images and
val_labels where a validation part was set aside, and ``description``, a JSON text: the settings of the draw, class
names, mean, std and the split hash. Read back, it is what ``load_data`` of those settings gives, or it is refused.
"""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from fsgl.data.draw.imbalance import class_counts
from fsgl.data.draw.split import split_hash
from fsgl.data.images.sources import ImageArrays, Source
from fsgl.data.load import RELEASE_CIFAR100, LoadedData
from fsgl.errors import UserError
from fsgl.files import write_atomically
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import Experiment


def write_drawn(path: Path, data: LoadedData) -> None:
    """Write ``data`` to ``path``. Raises UserError for image files, and where it is not normalised as the set's own."""
    parts = {"train": data.train, "test": data.test} | ({} if data.val is None else {"val": data.val})
    arrays: dict[str, np.ndarray] = {}
    for name, part in parts.items():
        if not isinstance(part, ImageArrays):
            raise UserError(f"{data.spec.name} is image files, which no .npz holds; only sets in memory can be drawn")
        arrays |= {f"{name}_images": part.images, f"{name}_labels": part.labels}
    if data.spec.normalization != "own":
        raise UserError("draw with data.normalization=own; a recipe that wants another takes it when it runs")
    settings = dataclasses.asdict(data.spec)
    del settings["root"]  # a folder of this machine
    description = {
        "settings": settings,
        "class_names": data.class_names,
        "mean": data.mean,
        "std": data.std,
        "without_validation": data.without_validation,
        "hash": data.hash,
    }
    buffer = io.BytesIO()
    np.savez(buffer, description=np.array(json.dumps(description)), **arrays)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())


def read_drawn(path: Path) -> LoadedData:
    """What ``write_drawn`` wrote. Raises UserError for anything else, images with another hash among it."""
    arrays = _arrays(path)
    try:
        description = json.loads(str(arrays["description"]))
        names = ("train", "test", *(["val"] if "val_images" in arrays else []))
        parts = {name: ImageArrays(arrays[f"{name}_images"], arrays[f"{name}_labels"]) for name in names}
        settings, without = description["settings"], tuple(int(k) for k in description["without_validation"])
        class_names = tuple(str(name) for name in description["class_names"])
        mean, std = (tuple(float(value) for value in description[name]) for name in ("mean", "std"))
        base = make_experiment("cross-entropy", settings["name"]).to_json()
        spec = Experiment.from_json({**base, "data": settings}, str(path)).data
        for part in parts.values():  # labels and channels fit the names and the statistics
            Source(spec.name, part, parts["test"], class_names, mean, std)
    except (LookupError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not written by 'paper_run.py draw' ({type(error).__name__}: {error})") from None
    except UserError as error:
        raise UserError(f"{path}: not written by 'paper_run.py draw' ({error})") from None
    found = split_hash(**parts)
    if found != description["hash"]:
        raise UserError(f"{path}: its images hash to {found[:12]}, not {str(description['hash'])[:12]}; draw it again")
    counts, size = class_counts(parts["train"].labels, len(class_names)), parts["train"].array_size
    return LoadedData(
        spec, parts["train"], parts.get("val"), parts["test"], class_names, counts, mean, std, without, found,
        image_size=size[0], array_size=size,
    )  # fmt: skip


def for_experiment(data: LoadedData, experiment: Experiment) -> LoadedData:
    """``data`` normalised as the experiment wants it. Raises UserError where it was drawn otherwise than that says."""
    here = dataclasses.replace(data.spec, root="", normalization="own")
    there = dataclasses.replace(experiment.data, root="", normalization="own")
    for field in dataclasses.fields(here):
        drawn, wanted = getattr(here, field.name), getattr(there, field.name)
        if drawn != wanted:
            raise UserError(f"the images were drawn with data.{field.name}={drawn}, not {wanted}; draw others for that")
    mean, std = data.mean, data.std
    if experiment.data.normalization == "release" and data.spec.name == "cifar100":
        mean, std = RELEASE_CIFAR100
    return dataclasses.replace(data, spec=experiment.data, mean=mean, std=std)


def _arrays(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:  # np.load leaves a torn one open
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]  # AttributeError: a bare array, not an archive
        raise UserError(f"{path}: not an .npz of plain arrays ({reason})") from None
