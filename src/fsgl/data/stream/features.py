"""Features of images in place of the images: what a frozen backbone made of them, once, for the heads to train on.

``ImageFeatures`` stands where ``ImageArrays`` or ``ImageFiles`` did, and ``FeatureStream`` yields batches whose views
are features ``B x D``. runs/feature_cache.py computes them and keeps them on disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fsgl.data.stream.streams import StepPositions, StreamSpec
from fsgl.data.stream.transfer import to_device
from fsgl.randomness import generator
from fsgl.types import Batch, Sample


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """views: arrays ``N x D`` float32, in memory or mapped from a file; of the images as they are the first, the others
    of augmented ones.  labels: ``N``, int64, in ``[0, K)``."""

    views: tuple[np.ndarray, ...]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, positions: np.ndarray) -> ImageFeatures:
        """Those of the images at ``positions`` (integers, any order, repeats allowed), copied."""
        return ImageFeatures(tuple(view[positions] for view in self.views), self.labels[positions])


class FeatureStream:
    """Batches of cached features; interchangeable with the streams of images.

    Each image's views are drawn from the cached ones without repetition, which takes at least ``spec.views`` of them.
    """

    def __init__(
        self, features: ImageFeatures, num_classes: int, spec: StreamSpec, device: torch.device | str = "cpu"
    ) -> None:
        if len(features.views) < spec.views:
            raise ValueError(f"{spec.views} views of an image are asked for and {len(features.views)} are cached")
        self._features = features
        self._positions = StepPositions(features.labels, num_classes, spec)
        self._spec = spec
        self._device = torch.device(device)

    @property
    def steps_per_epoch(self) -> int:
        return self._positions.steps_per_epoch

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        for step, original, rebalanced in self._positions.epoch(epoch, first_step):
            draws = generator(self._spec.seed, "features", epoch, step)
            rows, share = self._spec.shard.rows(len(original))
            first = self._sample(original, draws, rows)
            yield Batch(first, None if rebalanced is None else self._sample(rebalanced, draws, rows), share)

    def _sample(self, positions: np.ndarray, draws: torch.Generator, rows: slice) -> Sample:
        # Drawn for the whole step, so that it does not depend on how processes divide it.
        order = torch.rand(len(positions), len(self._features.views), generator=draws).argsort(dim=1).numpy()
        positions, chosen = positions[rows], order[rows, : self._spec.views]
        views = tuple(self._gather(positions, chosen[:, view]) for view in range(self._spec.views))
        labels = torch.from_numpy(self._features.labels[positions])
        return Sample(views, to_device(labels, self._device), to_device(torch.from_numpy(positions), self._device))

    def _gather(self, positions: np.ndarray, chosen: np.ndarray) -> Tensor:
        first = self._features.views[0]
        found = np.empty((len(positions), first.shape[1]), first.dtype)
        for number, view in enumerate(self._features.views):
            of_this = np.flatnonzero(chosen == number)
            found[of_this] = view[positions[of_this]]
        return to_device(torch.from_numpy(found), self._device)


def feature_batches(
    features: ImageFeatures, device: torch.device | str = "cpu", batch_size: int = 2000
) -> Iterator[Tensor]:
    """The features of the images as they are, in order, for evaluation."""
    view = features.views[0]
    for start in range(0, len(view), batch_size):
        yield to_device(torch.from_numpy(np.array(view[start : start + batch_size])), torch.device(device))
