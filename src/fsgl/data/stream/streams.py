"""Streams of batches from arrays in memory (CIFAR, digits); data/stream/decoding.py is the same for files.

A stream is stateless: what step s of epoch e holds follows from the seed alone, so a run is resumed at
any step by asking for ``batches(e, s)``. Several processes draw the same step and each takes its rows
(``Shard``), so that together they hold what one process would. Streams share two members:

    steps_per_epoch              ceil(N / batch size); the last batch is smaller
    batches(epoch, first_step)   an iterator of Batch
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from fsgl.data.stream.samplers import ClassPowerSampler
from fsgl.data.stream.transfer import to_device
from fsgl.data.stream.transforms import CropFlip, normalise
from fsgl.randomness import generator
from fsgl.types import Batch, Sample, Share


class Stream(Protocol):
    """Where training batches come from."""

    @property
    def steps_per_epoch(self) -> int: ...

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[Batch]: ...


@dataclass(frozen=True)
class Shard:
    """One process's part of every step.  index: which of ``count`` processes."""

    index: int = 0
    count: int = 1

    def rows(self, total: int) -> tuple[slice, Share]:
        """The rows of a step of ``total`` images that are this process's, and their share of it.

        The parts follow one another and differ by one row at most. Where no row is left for this process it takes the
        first, with a share of 0: every process must take part in every step.
        """
        start, stop = (total * index // self.count for index in (self.index, self.index + 1))
        return slice(start, stop) if start < stop else slice(0, 1), Share(stop - start, total)


@dataclass(frozen=True)
class StreamSpec:
    """What a method asks of its stream.

    batch_size: images of one sample, over all processes.  views: augmented views of each.
    q: class power of the rebalanced sample, None for no such sample.  seed: of every draw.  shard: this process's part.
    balanced_from: the epoch from which the original sample is no pass over the data, but draws every class as often,
    with replacement.
    """

    batch_size: int
    views: int
    q: float | None
    seed: int
    shard: Shard = Shard()
    balanced_from: int | None = None


class StepPositions:
    """Which images each step takes, shared by all streams.

    labels: ``N`` int64.  ``epoch(e, s)`` yields, from step s on, (step, original, rebalanced or None), int64 positions.
    """

    def __init__(self, labels: np.ndarray, num_classes: int, spec: StreamSpec) -> None:
        self._count = len(labels)
        self._spec = spec
        self._sampler = None if spec.q is None else ClassPowerSampler(labels, num_classes, spec.q)
        self._balanced = None if spec.balanced_from is None else ClassPowerSampler(labels, num_classes, 1.0)
        self.steps_per_epoch = math.ceil(len(labels) / spec.batch_size)

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[tuple[int, np.ndarray, np.ndarray | None]]:
        seed, size = self._spec.seed, self._spec.batch_size
        if self._balanced is not None and epoch >= (self._spec.balanced_from or 0):
            order = self._balanced.draw(self._count, generator(seed, "balanced", epoch)).numpy()
        else:
            order = torch.randperm(self._count, generator=generator(seed, "order", epoch)).numpy()
        for step in range(first_step, self.steps_per_epoch):
            original = order[step * size : (step + 1) * size]
            rebalanced = None
            if self._sampler is not None:
                rebalanced = self._sampler.draw(len(original), generator(seed, "rebalanced", epoch, step)).numpy()
            yield step, original, rebalanced


class ArrayStream:
    """Batches from uint8 images ``N x H x W x C`` and their labels ``N``, cropped and flipped.

    The images stay on ``device``. A step's random numbers are drawn on the CPU, the same for every device, and reach a
    GPU a block of steps at a time, without waiting for it.  mean, std: per channel, in units of [0, 1].
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
        self._device = torch.device(device)
        if self._device.type == "cpu":
            self._windows = transform.windows(images)
        else:
            self._padded = torch.from_numpy(transform.pad(images)).to(self._device)
        self._labels = torch.as_tensor(labels).to(self._device)
        self._positions = StepPositions(labels, num_classes, spec)
        self._spec = spec
        self._transform = transform
        self._mean, self._std = mean, std

    @property
    def steps_per_epoch(self) -> int:
        return self._positions.steps_per_epoch

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        drawn = self._draw(epoch, first_step)
        while block := list(islice(drawn, 1 if self._device.type == "cpu" else 64)):
            shares, numbers = zip(*block, strict=True)
            table = to_device(torch.from_numpy(np.concatenate(numbers)), self._device)
            for share, rows in zip(shares, table.split([len(rows) for rows in numbers]), strict=True):
                yield self._batch(rows, share)

    def _draw(self, epoch: int, first_step: int) -> Iterator[tuple[Share, np.ndarray]]:
        """Share and random numbers of every step: a row an image, the original sample's before the rebalanced one's;
        its position and then, view after view, its crop and flip."""
        for step, original, rebalanced in self._positions.epoch(epoch, first_step):
            draws = generator(self._spec.seed, "augment", epoch, step)
            rows, share = self._spec.shard.rows(len(original))
            table = []
            for positions in (original, rebalanced):
                if positions is not None:
                    views = [self._transform.draw(len(positions), draws) for _ in range(self._spec.views)]
                    table.append(np.column_stack([positions, *views])[rows])
            yield share, np.concatenate(table)

    def _batch(self, rows: Tensor, share: Share) -> Batch:
        positions, *draws = rows.split([1] + [self._transform.columns] * self._spec.views, dim=1)
        size = len(rows) if self._spec.q is None else len(rows) // 2
        views = [self._cut(positions[:, 0], view).split(size) for view in draws]
        labels = self._labels[positions[:, 0]].split(size)
        original, *rebalanced = map(Sample, zip(*views, strict=True), labels, positions[:, 0].split(size))
        return Batch(original, rebalanced[0] if rebalanced else None, share)

    def _cut(self, positions: Tensor, draws: Tensor) -> Tensor:
        if self._device.type == "cpu":
            crops: np.ndarray | Tensor = self._transform.cut(self._windows, positions.numpy(), draws[:, :3].numpy())
        else:
            crops = self._transform.gather(self._padded, positions, draws[:, :3])
        return normalise(self._transform.finish(crops, draws), self._mean, self._std, self._device)


def array_batches(
    images: np.ndarray,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    device: torch.device | str = "cpu",
    batch_size: int | None = None,
) -> Iterator[Tensor]:
    """The images in order, unaugmented and normalised, for evaluation.

    batch_size: None is a divisor of the test sets in use, small enough for CPU caches or large enough for a GPU.
    """
    batch_size = batch_size or (250 if torch.device(device).type == "cpu" else 2000)
    for start in range(0, len(images), batch_size):
        yield normalise(images[start : start + batch_size], mean, std, device)
