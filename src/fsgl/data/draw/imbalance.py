"""Long-tailed class counts and the two seeded draws that the field uses.

Counts: the exponential profile of Cui et al. 2019 (CVPR, "Class-Balanced Loss Based on Effective Number of Samples"),
n_k = floor(n_max * mu^(k / (C - 1))), mu = 1 / IF. Draws: LDAM-DRW's (Cao et al. 2019), which most papers use, and the
FSGL release's. With their own seeds they pick different images, so a result names its draw and its seed.
Everything here is NumPy alone.
"""

from __future__ import annotations

import math

import numpy as np

from fsgl.errors import UserError, unknown

# The seed that goes with each draw where its images are to be the published ones.
DRAW_SEEDS = {"ldam": 0, "release": 3407}


def exponential_counts(n_max: int, num_classes: int, imbalance_factor: float) -> np.ndarray:
    """Images of each class, int64, falling exponentially from ``n_max`` (class 0) to ``n_max / imbalance_factor``.

    Evaluated as the field does, ``int(n_max * mu ** (k / (num_classes - 1)))`` in Python floats, since a count that
    rounds differently is another data set. Where that gives 0 (``n_max < imbalance_factor``) the class keeps 1 image:
    a class without images cannot be learnt, weighted or sampled. One class has ``n_max``.
    Raises UserError for n_max < 1, num_classes < 1, or a factor below 1 or not finite.

    >>> import fsgl
    >>> fsgl.exponential_counts(n_max=500, num_classes=5, imbalance_factor=100).tolist()
    [500, 158, 50, 15, 5]
    """
    if n_max < 1 or num_classes < 1:
        raise UserError(f"a long tail needs at least 1 class and 1 image, not {num_classes} and {n_max}")
    if not (math.isfinite(imbalance_factor) and imbalance_factor >= 1):
        raise UserError(f"the imbalance factor must be 1 or more (100: a hundredfold), not {imbalance_factor}")
    mu = 1 / imbalance_factor
    last = max(num_classes - 1, 1)
    return np.array([max(1, int(n_max * mu ** (k / last))) for k in range(num_classes)], dtype=np.int64)


def class_counts(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Images of each class, int64 of length ``num_classes``. UserError for a label outside ``[0, num_classes)``."""
    labels = np.asarray(labels)
    if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
        wrong = int(labels.min() if labels.min() < 0 else labels.max())
        raise UserError(f"label {wrong} is outside the {num_classes} classes (0 to {num_classes - 1})")
    return np.bincount(labels.astype(np.int64), minlength=num_classes).astype(np.int64)


def draw_long_tail(labels: np.ndarray, counts: np.ndarray, draw: str = "ldam", seed: int | None = None) -> np.ndarray:
    """Positions in ``labels`` of the images drawn, ``counts[k]`` of class k without replacement; int64, in drawn order.

    Class after class, 0 to K - 1, from one NumPy ``RandomState(seed)`` (its streams are frozen for good), with each
    class's images in archive order:
    "ldam" shuffles them and takes the first ``counts[k]``; "release" takes ``choice(n, counts[k], replace=False)``,
    which NumPy draws as the head of a permutation. These are the same images for the same seed, so what tells the two
    published selections apart is their seed: None takes the one that belongs to the draw, ``DRAW_SEEDS[draw]``.
    Both depend on the archive's order: a copy of a data set in another order gives other images.
    Raises UserError for an unknown draw, a label that ``counts`` lacks, or a class with too few images.

    >>> import fsgl, numpy as np
    >>> labels = np.repeat([0, 1], 50)
    >>> drawn = fsgl.draw_long_tail(labels, np.array([50, 5]))
    >>> np.bincount(labels[drawn]).tolist()
    [50, 5]
    """
    if draw not in DRAW_SEEDS:
        raise unknown("draw", draw, DRAW_SEEDS)
    labels, counts = np.asarray(labels), np.asarray(counts)
    available = class_counts(labels, len(counts))
    short = np.flatnonzero(counts > available)
    if short.size:
        k = int(short[0])
        raise UserError(f"class {k} has {available[k]} images, the long tail asks for {counts[k]}")
    random = np.random.RandomState(DRAW_SEEDS[draw] if seed is None else seed)
    drawn = [np.empty(0, dtype=np.int64)]
    for k, count in enumerate(counts.tolist()):
        positions = np.flatnonzero(labels == k)
        random.shuffle(positions)
        drawn.append(positions[:count])
    return np.concatenate(drawn)
