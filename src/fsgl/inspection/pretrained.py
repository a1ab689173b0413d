"""Features of the training images by a network that was trained on ImageNet, for finding labels that may be wrong.

They are those that ``fsgl auto`` and ``fsgl train`` begin with on the same images, and are kept where these look for
them: what is computed here is not computed again there. Where all of them would take too long, those of a random part
of each class are computed instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fsgl.data.draw.split import split_hash
from fsgl.data.images.sources import ImageArrays, Images, Source
from fsgl.data.load import LoadedData, load_data
from fsgl.engine.runtime import Runtime
from fsgl.errors import UserError
from fsgl.inspection.label_errors import some_of_each
from fsgl.models.assemble import RecognitionNet
from fsgl.models.packaged import missing
from fsgl.models.transfer import PACKAGE
from fsgl.recipes.on_data import experiment_on
from fsgl.runs.assemble import set_compute_dtype
from fsgl.runs.feature_cache import cached_features, default_folder
from fsgl.runs.network import ModelWithData, build_network

BACKBONE = "timm:tf_efficientnet_lite0"
SMALL_SHOWN = 128  # pixels, of images in memory, as fsgl auto shows them
FIRST = 64  # images whose features tell how long all will take
SAFE = 0.8  # of the images that would just fit into the time


@dataclass(frozen=True)
class Rows:
    """features: ``M x D`` float32.  positions: ``M``, of these training images.  by: what they are, in words."""

    features: np.ndarray
    positions: np.ndarray
    by: str


class _TooLong(Exception):
    def __init__(self, speed: float) -> None:
        super().__init__(speed)
        self.speed = speed


def pretrained_rows(
    source: Source, data: str, given: Mapping[str, Any], assignments: Sequence[str], seconds: float, workers: int = 0,
    told: Callable[[int, int], None] = lambda done, count: None,
) -> Rows:  # fmt: skip
    """Of the training images of ``source``, in about ``seconds`` at most; those that are kept cost none.

    data, given, assignments: as ``fsgl auto`` would be told to read the same.  told: how many are done, of how many.
    Raises UserError where the weights are not installed, the images cannot be trained on, or the time is not enough.
    """
    if to_do := missing(BACKBONE):
        raise UserError(f"ImageNet's weights are not installed: {to_do}")
    whole = _Loaded(source, data, given, assignments, workers)
    clock = _Clock(seconds, told)
    try:
        features, positions = whole.features(clock)
    except _TooLong as early:
        clock.strict = True
        left = seconds - (time.monotonic() - clock.began)
        some = some_of_each(source.train.labels, int(SAFE * left * early.speed))
        try:
            features, positions = whole.of(source.train.take(some), clock)
        except _TooLong:
            raise UserError(f"{seconds / 60:g} minutes are too few for features of these images") from None
        positions = some[positions]
    order = np.argsort(positions)
    return Rows(np.asarray(features)[order], positions[order], "features of EfficientNet-Lite0, trained on ImageNet")


class _Clock:
    """Ends what would take too long: by what the first images took, then by the clock itself."""

    def __init__(self, seconds: float, told: Callable[[int, int], None]) -> None:
        self.seconds, self.told, self.began = seconds, told, time.monotonic()
        self.before, self.total, self.strict = 0, 0, False

    def at(self, done: int, count: int) -> None:
        done += self.before
        self.told(done, self.total)
        spent = time.monotonic() - self.began
        foretold = 0.0 if self.strict or done < FIRST else spent / done * self.total
        if spent > self.seconds or foretold > self.seconds:
            raise _TooLong(done / spent)


class _Loaded:
    """The images as ``fsgl auto`` loads them, without any set aside for validation."""

    def __init__(
        self, source: Source, data: str, given: Mapping[str, Any], assignments: Sequence[str], workers: int
    ) -> None:
        own = ["transfer.train=heads", "transfer.cached_views=1", f"backbone={BACKBONE}", f"transfer.weights={PACKAGE}"]
        own += [f"data.val={0.1 if source.val is not None else 0}"]
        experiment, read = experiment_on("cross-entropy", data, given, [*own, *assignments])
        self.source, self.workers, self.placement = source, workers, Runtime().place()
        self.data = load_data(experiment.data, read, folds=read is not None)
        if self.data.in_memory:
            experiment = replace(experiment, transfer=replace(experiment.transfer, image_size=SMALL_SHOWN))
        self.experiment = experiment

    def features(self, clock: _Clock) -> tuple[np.ndarray, np.ndarray]:
        """Of all training images of the source, and their positions."""
        parts = {"train": self.data.train}
        if self.source.test is None:
            parts["test"] = self.data.test  # carved from them
        if any(isinstance(images, ImageArrays) for images in parts.values()):
            return self.of(self.source.train, clock)  # arrays do not say which of the source's they are
        places = {(where, label): place for place, (where, label) in enumerate(_named(self.source.train))}
        network, found, positions = self._network(self.data), [], []
        clock.total = sum(len(images) for images in parts.values())
        for part, images in parts.items():
            rows, kept = self._cached(network, part, images, clock)  # type: ignore[arg-type]
            here = np.array([places.get(name, -1) for name in _named(images)])[kept]  # type: ignore[arg-type]
            found.append(rows[here >= 0])
            positions.append(here[here >= 0])
            clock.before += len(images)
        return np.concatenate(found), np.concatenate(positions)

    def of(self, images: Images, clock: _Clock) -> tuple[np.ndarray, np.ndarray]:
        """Of these images, whatever part of the source they are."""
        clock.before, clock.total = 0, len(images)
        channels = images.channels or 3
        plain = {"mean": (0.0,) * channels, "std": (1.0,) * channels}  # until the network says what it wants
        data = replace(self.data, train=images, hash=split_hash(train=images), **plain)  # type: ignore[arg-type]
        return self._cached(self._network(data), "looked over", images, clock)

    def _network(self, data: LoadedData) -> ModelWithData:
        network = build_network(self.experiment, data, self.placement.device)
        set_compute_dtype(network.model, self.placement.precision)
        assert isinstance(network.model, RecognitionNet)
        return network

    def _cached(
        self, network: ModelWithData, part: str, images: Images, clock: _Clock
    ) -> tuple[np.ndarray, np.ndarray]:
        return cached_features(network, part, images, default_folder(), self.placement.device, self.workers, clock.at)


def _named(images: Images) -> list[tuple[str, int]]:
    """Where each image is, and its label: what a part that was carved has in common with what it was carved from."""
    return [(images.location(place), int(label)) for place, label in enumerate(images.labels)]
