"""What ``fsgl auto`` was asked for, and the experiments that follow from it before anything is tried."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fsgl.automatic.candidates import HEADS
from fsgl.data.images.sources import Source
from fsgl.data.load import LoadedData, load_data
from fsgl.engine.environment import usable_cores
from fsgl.engine.runtime import Runtime
from fsgl.errors import UserError
from fsgl.models.packaged import missing
from fsgl.models.transfer import PACKAGE
from fsgl.recipes.experiment import Experiment, override
from fsgl.recipes.on_data import experiment_on

BACKBONE = "timm:tf_efficientnet_lite0"
SMALL_SHOWN = 128  # pixels, of images in memory, which a network trained on photographs is shown enlarged
MANY_IMAGES = 5_000  # from which on batches are larger and folds fewer
BATCH, LARGE_BATCH = 64, 256
FOLDS, FEW_FOLDS = 5, 3
# What all candidates begin with: heads on a frozen, pretrained backbone, as photographs have it (recipes/long_tail.py).
FROZEN = {
    "backbone": BACKBONE, "transfer.weights": PACKAGE, "transfer.train": "heads", "transfer.cached_views": "1",
    "optim.epochs": "40", "optim.batch_size": str(BATCH), "optim.weight_decay": "5e-4",
    "schedule.kind": "cosine", "schedule.lr": "0.05",
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """data: a path or a data set's name.  given: where images are.  assignments: settings, name=value, over auto's own.

    minutes: from the beginning of the command to its end, over all sessions.  folder: of the run; None is
    runs/auto-DATA.  jobs: trials at a time, None is one a core.  source: the images, where they have been read.
    ray: address of a Ray cluster for the trials (engine/ray_connection.py).
    began: of this session, by ``time.monotonic``.
    """

    data: str
    minutes: float
    given: Mapping[str, Any] = field(default_factory=dict)
    assignments: Sequence[str] = ()
    folder: Path | None = None
    jobs: int | None = None
    runtime: Runtime = field(default_factory=lambda: Runtime(trackers=(), workers=2, show=False))
    source: Source | None = None
    began: float = field(default_factory=time.monotonic)
    show: bool = True
    ray: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.minutes < float("inf"):
            raise UserError(f"minutes must be above 0, not {self.minutes}")

    @property
    def processes(self) -> int:
        """How many trials at a time."""
        return self.jobs if self.jobs is not None else usable_cores()


@dataclass(frozen=True)
class Plan:
    """bases: experiments by recipe, as they come, in the order of trying.  folds: how many."""

    bases: Mapping[str, Experiment]
    data: LoadedData
    folds: int

    @property
    def first(self) -> Experiment:
        return next(iter(self.bases.values()))


def plan(asked: Asked) -> Plan:
    """Read the images, and make what is tried on them. Raises UserError, also where the weights are not installed."""
    wanted = {**FROZEN, **dict(each.split("=", 1) for each in asked.assignments)}
    if wanted["transfer.weights"] == PACKAGE and (to_do := missing(wanted["backbone"])):
        raise UserError(f"fsgl auto begins with ImageNet's weights, which are not installed: {to_do}")
    if refused := [name for name in ("data.val", "recipe") if name in wanted]:
        raise UserError(f"{refused[0]} is decided by fsgl auto itself; leave it off")
    own = [f"{name}={value}" for name, value in wanted.items() if name.startswith(("data.", "backbone", "transfer."))]
    first, source = experiment_on(HEADS[0], asked.data, asked.given, own, asked.source)
    # Validation images that somebody set aside are what is judged by; otherwise folds of the training images are.
    wanted["data.val"] = "0.1" if source is not None and source.val is not None else "0"
    first = override(first, f"data.val={wanted['data.val']}")
    data = load_data(first.data, source, folds=True)
    if data.in_memory:
        wanted.setdefault("transfer.image_size", str(SMALL_SHOWN))
    large = len(data.train) > MANY_IMAGES
    if large and not any(each.startswith("optim.batch_size=") for each in asked.assignments):
        wanted["optim.batch_size"] = str(LARGE_BATCH)
    bases = {}
    for name in HEADS:
        # Enough views for any of them, then as many as this one is shown.
        made, _ = experiment_on(name, asked.data, asked.given, _texts({**wanted, "transfer.cached_views": "2"}), source)
        bases[name] = override(made, f"transfer.cached_views={made.method.views}")
    return Plan(bases, data, FEW_FOLDS if large else FOLDS)


def _texts(settings: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in settings.items()]
