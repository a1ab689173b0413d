"""Heads trained on kept features, fold by fold, within this process: what a trial of the search is.

The backbone is not there: its features are. A fold trains as ``fsgl train`` would (runs/assemble.py, engine/fit.py),
without a run folder, and what it comes to are the logits of the images that it did not see.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fsgl.data.draw.imbalance import class_counts
from fsgl.data.load import LoadedData
from fsgl.data.stream.features import ImageFeatures
from fsgl.engine.fit import fit
from fsgl.engine.runtime import Placement, Runtime
from fsgl.engine.tally import NonFiniteLoss
from fsgl.files import read_json, write_atomically, write_json
from fsgl.models.backbone import Backbone, GivenFeatures
from fsgl.recipes.experiment import Experiment
from fsgl.runs.assemble import assemble
from fsgl.runs.begin import begin_heads
from fsgl.runs.network import ModelWithData, build_model

_QUIET = Runtime(device="cpu", trackers=(), show=False)
_HERE = Placement(torch.device("cpu"), "float32")


@dataclass(frozen=True, eq=False)
class Pool:
    """What trials are trained and judged on.

    features: of all images, the first view as they are.  folds: of each image, the one in which it is set aside; -1 for
    one that always trains.  backbone: what the heads need to know of it.
    """

    features: ImageFeatures
    folds: np.ndarray
    class_names: tuple[str, ...]
    backbone: GivenFeatures

    @property
    def judged(self) -> np.ndarray:
        """Places of the images that are validated, ascending."""
        return np.flatnonzero(self.folds >= 0)

    @property
    def count(self) -> int:
        """Of folds."""
        return int(self.folds.max()) + 1

    def write(self, folder: Path) -> None:
        """For other processes. Views that are files already are named, not copied."""
        views = []
        for number, view in enumerate(self.features.views):
            path = getattr(view, "filename", None)
            if path is None:
                write_atomically(path := folder / f"view{number}.npy", _bytes(view))
            views.append(str(Path(path).absolute()))
        about = {"feature_dim": self.backbone.feature_dim, "head_width": self.backbone.head_width,
                 "linear_init": self.backbone.linear_init}  # fmt: skip
        write_atomically(folder / "labels.npy", _bytes(self.features.labels))
        write_atomically(folder / "folds.npy", _bytes(self.folds))
        write_json(folder / "pool.json", {"views": views, "class_names": list(self.class_names), "backbone": about})

    @staticmethod
    def read(folder: Path) -> Pool:
        """What ``write`` wrote."""
        about = read_json(folder / "pool.json")
        labels, folds = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("labels", "folds"))
        views = tuple(np.load(path, mmap_mode="r", allow_pickle=False) for path in about["views"])
        like = Backbone()
        for name, value in about["backbone"].items():
            setattr(like, name, value)
        return Pool(ImageFeatures(views, labels), folds, tuple(about["class_names"]), GivenFeatures(like))


def validate(experiment: Experiment, pool: Pool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of one fold after the other: places of its images and their logits. Raises NonFiniteLoss."""
    for fold in range(pool.count):
        train, aside = np.flatnonzero(pool.folds != fold), np.flatnonzero(pool.folds == fold)
        yield aside, _logits(experiment, pool, train, aside)


def out_of_fold(experiment: Experiment, pool: Pool) -> np.ndarray:
    """Logits ``J x K`` float32 of the images that are judged, in order, each of a training that did not see it."""
    found = np.full((len(pool.folds), len(pool.class_names)), np.nan, dtype=np.float32)
    for aside, logits in validate(experiment, pool):
        found[aside] = logits
    return found[pool.judged]


def _logits(experiment: Experiment, pool: Pool, train: np.ndarray, aside: np.ndarray) -> np.ndarray:
    views = pool.features.views[: max(1, experiment.transfer.cached_views)]
    shown = ImageFeatures(views, pool.features.labels).take(train)
    counts, none = class_counts(shown.labels, len(pool.class_names)), shown.take(np.array([], dtype=np.int64))
    data = LoadedData(
        experiment.data, shown, None, none, pool.class_names, counts, (0.0,) * 3, (1.0,) * 3, (), hash="features"
    )
    model, _ = build_model(experiment, 3, torch.from_numpy(counts), False, pool.backbone)
    network = ModelWithData(model, experiment, data)
    begin_heads(network, _QUIET, _HERE)
    state, plan = assemble(experiment, network, _QUIET, _HERE)
    for _ in fit(state, plan, lambda step: False):
        pass
    logits = network.logits(pool.features.take(aside), _HERE.device)
    if not np.isfinite(logits).all():
        raise NonFiniteLoss({"logits": float("nan")})
    return logits


def _bytes(array: np.ndarray) -> bytes:
    np.save(buffer := io.BytesIO(), array, allow_pickle=False)
    return buffer.getvalue()
