"""Streams of batches from arrays in memory (CIFAR, digits); data/decoding.py is the same for files.

A stream is stateless: what step s of epoch e holds follows from the seed alone, so a run is resumed at
any step by asking for ``batches(e, s)``. Streams share two members:

    steps_per_epoch              ceil(N / batch size); the last batch is smaller
    batches(epoch, first_step)   an iterator of Batch
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from fsgl.data.samplers import ClassPowerSampler
from fsgl.data.transforms import CropFlip, normalise
from fsgl.randomness import generator
from fsgl.types import Batch, Sample


class Stream(Protocol):
    """Where training batches come from."""

    @property
    def steps_per_epoch(self) -> int: ...

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[Batch]: ...


@dataclass(frozen=True)
class StreamSpec:
    """What a method asks of its stream.

    batch_size: images of one sample.  views: augmented views of each.
    q: class power of the rebalanced sample, None for no such sample.  seed: of every draw.
    """

    batch_size: int
    views: int
    q: float | None
    seed: int


class StepPositions:
    """Which images each step takes, shared by all streams.

    labels: ``N`` int64.  ``epoch(e, s)`` yields, from step s on, (step, original, rebalanced or None), int64 positions.
    """

    def __init__(self, labels: np.ndarray, num_classes: int, spec: StreamSpec) -> None:
        self._count = len(labels)
        self._spec = spec
        self._sampler = None if spec.q is None else ClassPowerSampler(labels, num_classes, spec.q)
        self.steps_per_epoch = math.ceil(len(labels) / spec.batch_size)

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[tuple[int, np.ndarray, np.ndarray | None]]:
        seed, size = self._spec.seed, self._spec.batch_size
        order = torch.randperm(self._count, generator=generator(seed, "order", epoch)).numpy()
        for step in range(first_step, self.steps_per_epoch):
            original = order[step * size : (step + 1) * size]
            rebalanced = None
            if self._sampler is not None:
                rebalanced = self._sampler.draw(len(original), generator(seed, "rebalanced", epoch, step)).numpy()
            yield step, original, rebalanced


class ArrayStream:
    """Batches from uint8 images ``N x H x W x C`` and their labels ``N``, cropped and flipped.

    mean, std: per channel, in units of [0, 1].
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        num_classes: int,
        spec: StreamSpec,
        transform: CropFlip,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device | str = "cpu",
    ) -> None:
        self._padded = transform.pad(images)
        self._labels = torch.as_tensor(labels)
        self._positions = StepPositions(labels, num_classes, spec)
        self._spec = spec
        self._transform = transform
        self._mean, self._std = mean, std
        self._device = device

    @property
    def steps_per_epoch(self) -> int:
        return self._positions.steps_per_epoch

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        for step, original, rebalanced in self._positions.epoch(epoch, first_step):
            draws = generator(self._spec.seed, "augment", epoch, step)
            yield Batch(
                self._sample(original, draws),
                None if rebalanced is None else self._sample(rebalanced, draws),
            )

    def _sample(self, positions: np.ndarray, draws: torch.Generator) -> Sample:
        views = []
        for _ in range(self._spec.views):
            crops = self._transform.cut(self._padded, positions, self._transform.draw(len(positions), draws))
            views.append(normalise(crops, self._mean, self._std, self._device))
        return Sample(tuple(views), self._labels[torch.from_numpy(positions)].to(self._device))


def array_batches(
    images: np.ndarray,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    device: torch.device | str = "cpu",
    batch_size: int = 250,
) -> Iterator[Tensor]:
    """The images in order, unaugmented and normalised, for evaluation.

    The default size is a divisor of the test sets in use, and small enough for CPU caches.
    """
    for start in range(0, len(images), batch_size):
        yield normalise(images[start : start + batch_size], mean, std, device)
