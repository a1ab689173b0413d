"""Which images a step takes: one pass in random order, and class-power sampling (METHOD section 2).

An image of class k is drawn with probability proportional to 1 / n_k^q. Drawing the class first, with
probability proportional to n_k^(1 - q), and then one of its images uniformly is the same distribution,
and needs K numbers instead of N.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

CHUNK = 2**16  # labels sorted at a time: what a sort of so many reads and writes stays in a core's cache


def class_power_probabilities(class_counts: Sequence[int] | Tensor, q: float) -> Tensor:
    """Probability of each class in the rebalanced stream, ``K`` float64 summing to 1.

    q: 0 is the classes' own frequency, 1 is uniform over classes, above 1 favours rare ones.
    An empty class has probability 0.

    >>> import fsgl
    >>> [round(p, 3) for p in fsgl.class_power_probabilities([90, 10], q=0).tolist()]
    [0.9, 0.1]
    >>> fsgl.class_power_probabilities([90, 10], q=1).tolist()
    [0.5, 0.5]
    """
    counts = torch.as_tensor(class_counts, dtype=torch.float64)
    # Relative to the class that is drawn most, so that a large q does not overflow.
    relative = counts / (counts[counts > 0].min() if q > 1 else counts.max())
    weight = torch.where(counts > 0, relative.clamp(min=1e-300) ** (1 - q), 0.0)
    return weight / weight.sum()


class ClassPowerSampler:
    """Draws positions of images, with replacement, an image of class k in proportion to 1 / n_k^q.

    labels: ``N`` integers in [0, num_classes), on the CPU; not kept.  q: see ``class_power_probabilities``.
    Keeps 4 bytes an image; the start takes O(N + K) time and little memory beside (benchmarks/scaling.py).

    >>> import fsgl, torch
    >>> labels = torch.tensor([0] * 90 + [1] * 10)
    >>> drawn = fsgl.ClassPowerSampler(labels, 2, q=1).draw(1000, torch.Generator().manual_seed(0))
    >>> 400 < int((labels[drawn] == 1).sum()) < 600  # about half, where a tenth is there
    True
    """

    def __init__(self, labels: np.ndarray | Tensor, num_classes: int, q: float) -> None:
        labels = torch.as_tensor(labels)
        counts = torch.bincount(labels, minlength=num_classes)
        self._by_class = torch.from_numpy(_positions_by_class(labels.numpy(), counts.numpy()))
        self._starts = torch.cumsum(counts, 0) - counts
        self._counts = counts
        self._cumulative = torch.cumsum(class_power_probabilities(counts, q), 0)
        self._last_class = int(counts.nonzero()[-1])

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Positions ``count`` int64 in [0, N); all randomness from the (CPU) generator."""
        uniform = torch.rand(2, count, dtype=torch.float64, generator=generator)
        # right=True passes over classes of probability 0; the clamp catches a last sum of 1 - 1e-16.
        classes = torch.searchsorted(self._cumulative, uniform[0], right=True).clamp(max=self._last_class)
        within = (uniform[1] * self._counts[classes]).long()
        return self._by_class[self._starts[classes] + within].long()


def _positions_by_class(labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """``argsort(labels, kind="stable")``, in the narrowest of int32 and int64 that holds it.

    A counting sort, chunk by chunk: a sort of all labels at once needs several times the table's memory.
    """
    total, classes = len(labels), len(counts)
    table = np.empty(total, np.int32 if total <= 2**31 else np.int64)
    key = np.uint16 if classes <= 2**16 else labels.dtype  # NumPy sorts 16 bits by radix, wider ones by comparison
    free = np.cumsum(counts) - counts  # where the next image of each class goes
    chunk = max(CHUNK, classes)  # what a chunk costs for each class is then no more than what it costs for its images
    for start in range(0, total, chunk):
        keys = labels[start : start + chunk].astype(key)
        order = np.argsort(keys, kind="stable")
        found = np.bincount(keys, minlength=classes)
        shift = free - (np.cumsum(found) - found)  # from the place within the sorted chunk to that in the table
        table[shift[keys[order]] + np.arange(len(keys))] = order + start
        free += found
    return table
