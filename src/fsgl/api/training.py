"""``fsgl.train`` and ``fsgl.load``: a recipe on somebody's data, and a run folder again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fsgl.api.given import is_path, split_settings
from fsgl.api.run import Run
from fsgl.data.draw.split import split_hash
from fsgl.data.images.sources import Source
from fsgl.data.known import OWN
from fsgl.data.load import load_data
from fsgl.data.readers.arrays import KEPT, read_arrays, save_arrays
from fsgl.engine.runtime import Runtime
from fsgl.errors import UserError
from fsgl.recipes.on_data import experiment_on
from fsgl.runs.folder import RunFolder, new_folder
from fsgl.runs.saved import experiment_of
from fsgl.runs.train import train as train_experiment


def train(
    recipe: str,
    data: Any,
    test: Any = None,
    val: Any = None,
    *,
    epochs: int | None = None,
    run: Path | str | None = None,
    class_names: Sequence[str] | None = None,
    keep_data: bool = True,
    show: bool = True,
    fine_tune: bool = False,
    time_budget: float | None = None,
    **settings: Any,
) -> Run:
    """Train a recipe on data and return the run.

    recipe: one of ``fsgl recipes``, such as "fsgl" or "cross-entropy".
    data: what to train on,

    - arrays (images, labels): images ``N x H x W``, ``N x H x W x C`` or ``N x C x H x W``, 8-bit, or from 0 to 1 or
      255; labels ``N`` whole numbers, names or booleans;
    - a torch Dataset with a length, of pairs (image, label), read once, in order;
    - a path to a folder of images, a table, a list or an .npz, as for ``fsgl train --data``;
    - the name of a data set, such as "digits" or "cifar100".

    test, val: more arrays or a Dataset, where ``data`` are; or the share of the training images to set aside, a number
    below 1 (by default a fifth of arrays without test images, and a tenth for validation, which 0 leaves out).
    epochs: passes over the training images, by default as the recipe has it.  run: the run folder, by default a new one
    under runs/.  class_names: of the labels in ascending order.  keep_data: False does not keep arrays in the run
    folder, so that what needs them later must be given them again (``fsgl.load``).  show: print progress and what was
    understood.  fine_tune: a pretrained network's heads first, then all of it (docs/pretrained.md).  time_budget:
    minutes; as many of the epochs are trained as fit, by the first steps.
    settings: any setting by its short name (lr=0.1, batch_size=32, backbone="resnet20-slim", seed=1) or its own, with
    two underscores for a dot (sam__rho=0.1); and the fields of ``fsgl.Runtime`` (device, workers, precision, ...).

    Raises UserError, a sentence, for what cannot be understood; RunInterrupted; RunDiverged.

    >>> import fsgl, tempfile
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = fsgl.train("cross-entropy", (digits.images, digits.target), epochs=1, backbone="resnet8-slim",
    ...                      run=f"{folder}/run", device="cpu", show=False)
    ...     run.predict(digits.images[:3]).shape, run.metrics["n"]
    ((3,), 359)
    """
    if time_budget is not None and (not isinstance(time_budget, int | float) or not time_budget > 0):
        raise UserError(f"time_budget is in minutes, more than 0, not {time_budget!r}")
    deadline = None if time_budget is None else time.monotonic() + 60 * time_budget
    assignments, runtime = split_settings({**settings, **({} if epochs is None else {"epochs": epochs})})
    assignments += share_settings(test, val)
    source = read_given(data, test, val, class_names)
    name = str(data) if is_path(data) else KEPT
    experiment, source = experiment_on(recipe, name, {}, assignments, source, fine_tune=fine_tune)
    how = Runtime(**{"trackers": (), "show": show, **runtime})
    folder = Path(run) if run is not None else new_folder(experiment)
    if not is_path(data):
        experiment = replace(experiment, data=replace(experiment.data, root=str((folder / KEPT).absolute())))
    loaded = None if source is None else load_data(experiment.data, source)
    if show:
        what = f"{experiment.recipe} on {experiment.data.title}, {experiment.backbone}, seed {experiment.seed}"
        print(f"{what} -> {folder}")
        if loaded is not None and experiment.data.name in OWN:
            print("found " + "\n  ".join(loaded.notes))
    RunFolder(folder).claim(experiment)
    with _undone_if_nothing_began(folder):
        if source is not None and keep_data and not is_path(data):
            save_arrays(source, folder / KEPT)
        train_experiment(experiment, folder, how, data=loaded, deadline=deadline)
    return Run(folder, loaded, how.device)


def load(folder: Path | str, data: Any = None, test: Any = None, val: Any = None, *, device: str = "auto") -> Run:
    """A run that ``fsgl.train`` or the command line made.

    data, test, val: the arrays or Datasets that it was trained on, where they were not kept; by their hash they must be
    the same. Without them they are read from where they lay, when something needs them.
    Raises UserError where the folder holds no run, or the data are others.
    """
    run = Run(folder, device=device)
    if data is None:
        if test is not None or val is not None:
            raise UserError("test and val go with data, the training images")
        return run
    if is_path(data):
        raise UserError("a run finds files by itself; data are the arrays or the Dataset it was trained on")
    experiment = experiment_of(run.folder, run.record)
    source = read_given(data, test, val, run.class_names)
    assert source is not None
    loaded = load_data(experiment.data, source)
    if loaded.hash != run.record["data"]["split_hash"]:
        raise UserError(f"{folder}: trained and tested on other images than these (the data's hash differs)")
    return Run(folder, loaded, device)


def share_settings(test: Any, val: Any) -> list[str]:
    """Shares that were given in place of images, as name=value."""
    given = {"data.test": test, "data.val": val}
    return [f"{name}={share}" for name, share in given.items() if isinstance(share, int | float)]


def keep_arrays(source: Source, folder: Path) -> Path:
    """The file of these arrays in a folder of many runs, there already or written now.

    Raises UserError where the folder holds others.
    """
    from fsgl.data.readers.own import find_source

    path = folder / KEPT
    if not path.exists():
        save_arrays(source, path)
    elif _content(find_source(path)) != _content(source):
        raise UserError(f"{folder} holds runs on other arrays; name another folder with runs=")
    return path


def read_given(data: Any, test: Any = None, val: Any = None, class_names: Sequence[str] | None = None) -> Source | None:
    """The source of arrays or Datasets; None for what is named. test, val: shares are passed over. Raises UserError."""
    parts = {"test": test, "val": val}
    more = {name: part for name, part in parts.items() if not (part is None or isinstance(part, int | float))}
    if not is_path(data):
        return read_arrays(data, more.get("val"), more.get("test"), class_names)
    if more or class_names is not None:
        what = " and ".join([*more, *(["class_names"] if class_names is not None else [])])
        raise UserError(f"{what}: data that are named, '{data}', come with their own; see docs/own-images.md")
    return None


def _content(source: Source) -> str:
    parts = {"train": source.train, "val": source.val, "test": source.test}
    return split_hash(
        names=list(source.class_names), classes=np.array(source.given["classes"]),
        **{name: part for name, part in parts.items() if part is not None},
    )  # fmt: skip


@contextlib.contextmanager
def _undone_if_nothing_began(folder: Path) -> Any:
    """Within: a mistake that ends it before there is a run leaves no folder behind."""
    try:
        yield
    except BaseException:
        if not (folder / "experiment.json").exists():
            for name in (KEPT, ".lock"):
                (folder / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
