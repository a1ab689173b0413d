"""What several seeds say, and what they do not: intervals, paired differences, corrections for many comparisons.

    mean and interval       Student's t over seeds
    paired difference       Student's t over the differences at equal seeds; effect size d_z, mean / deviation
    paired bootstrap        over test images, class by class: how much of a difference is the choice of test images
    Holm (1979)             p-values adjusted so that in a whole family of comparisons an error is as rare as in one

Seeds and test images are two sources of chance. An interval over seeds holds for these test images and other seeds, one
over test images for these trained networks and other images; neither holds for both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE, ALPHA = 0.95, 0.05
PAIRS_OF_AN_EFFECT = 3


@dataclass(frozen=True)
class Interval:
    """A mean of n values and where it is to be expected; low and high are None for a single value."""

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def half_width(self) -> float | None:
        return None if self.high is None else self.high - self.mean


@dataclass(frozen=True)
class Difference:
    """A paired difference, b minus a.

    p_value: two-sided.  effect_size: d_z; 0.2 is called small, 0.8 large. Both are None for a single pair, and where
    all differences are the same (but 0), as they easily are of two seeds and a few hundred test images: a deviation of
    0 would make any difference certain. effect_size is None of two pairs as well, whose deviation is hardly known.
    """

    interval: Interval
    p_value: float | None
    effect_size: float | None


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Mean with its t interval. Raises ValueError for no values, and for one that is no number.

    >>> import fsgl
    >>> interval = fsgl.mean_interval([70.0, 71.0, 72.0])
    >>> interval.mean, round(interval.half_width, 2)
    (71.0, 2.48)
    """
    n = len(values)
    if n == 0:
        raise ValueError("a mean needs values")
    _require_numbers(values)
    mean = float(np.mean(values))
    if n == 1:
        return Interval(mean, None, None, 1)
    from scipy.stats import t

    half = float(t.ppf((1 + confidence) / 2, n - 1)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def paired_difference(
    a_by_seed: Sequence[float], b_by_seed: Sequence[float], confidence: float = CONFIDENCE
) -> Difference:
    """b minus a at equal seeds (position by position).

    Raises ValueError for sequences of different lengths, or empty ones, and for a value that is no number.

    >>> import fsgl
    >>> found = fsgl.paired_difference([70.0, 71.0, 72.0], [71.0, 71.5, 73.5])
    >>> found.interval.mean, round(found.p_value, 3)
    (1.0, 0.074)
    """
    if len(a_by_seed) != len(b_by_seed):
        raise ValueError(f"pairs are needed, and there are {len(a_by_seed)} values and {len(b_by_seed)}")
    differences = np.subtract(b_by_seed, a_by_seed, dtype=np.float64)
    interval = mean_interval(differences.tolist(), confidence)
    if len(differences) == 1:
        return Difference(interval, None, None)
    deviation = float(differences.std(ddof=1))
    # Scores are of the order of 100, so what is below this is rounding.
    if deviation < 1e-9:
        if abs(interval.mean) < 1e-9:
            return Difference(interval, 1.0, None)
        return Difference(Interval(interval.mean, None, None, interval.n), None, None)
    from scipy.stats import t

    effect, n = interval.mean / deviation, len(differences)
    p_value = float(2 * t.sf(abs(effect * math.sqrt(n)), n - 1))
    return Difference(interval, p_value, effect if n >= PAIRS_OF_AN_EFFECT else None)


def paired_bootstrap(
    a_correct: ArrayLike,
    b_correct: ArrayLike,
    classes: ArrayLike | None = None,
    resamples: int = 10_000,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Difference:
    """b minus a in points of accuracy over resampled test images, with a percentile interval.

    correct: which of the same ``N`` test images are right, ``N``, or ``S x N`` for S networks each (whose mean is then
    compared).  classes: of the images, ``N``; the accuracy is then the mean over classes, and images are drawn class by
    class, as many of each as there are (a bootstrap stratified by class). A class of one image says nothing of its own
    chance: several such are drawn from each other (collapsed strata; Cochran, Sampling Techniques, 1977, section
    5A.12), a single one deviates as the others' images do. None is top-1 over images of any class.
    p_value: twice the share of resamples on the other side of 0, at least 1 / resamples; None, as low and high, for one
    image or the same gain on all, which cannot tell. Raises ValueError where they are not of the same images, and for a
    value that is no number.

    >>> import fsgl, numpy as np
    >>> right = np.arange(100)
    >>> found = fsgl.paired_bootstrap(right < 60, right < 70)
    >>> found.interval.mean, found.p_value < 0.05
    (10.0, True)
    """
    a, b = (np.atleast_2d(np.asarray(correct, dtype=np.float64)).mean(axis=0) for correct in (a_correct, b_correct))
    if a.shape != b.shape or not a.size:
        raise ValueError(f"pairs are needed, and there are {a.size} images and {b.size}")
    gain = 100 * (b - a)
    _require_numbers(gain)
    if classes is None:
        parts = [gain]
    else:
        of_image = np.asarray(classes)
        if of_image.shape != gain.shape:
            raise ValueError(f"each image needs its class, and {of_image.size} are given for {gain.size} images")
        parts = [gain[of_image == k] for k in np.unique(of_image)]
    random = np.random.default_rng(seed)
    means, variance = np.zeros(resamples), 0.0
    single = [part for part in parts if len(part) == 1]
    more = [part for part in parts if len(part) > 1]
    strata = [(part, 1) for part in more]  # and how many classes each stands for
    if len(single) > 1:
        strata.append((np.concatenate(single), len(single)))
    elif single:
        means += single[0][0]
        if more:
            deviations = np.concatenate([part - part.mean() for part in more])
            means += random.choice(deviations, size=resamples)
            variance += float(deviations.var())
    for part, weight in strata:
        # An image counts as often as it is drawn, and images of equal gain are alike: draw how many of each gain.
        levels, counts = np.unique(part, return_counts=True)
        if len(levels) == 1:
            means += weight * levels[0]
            continue
        means += weight * (random.multinomial(len(part), counts / len(part), size=resamples) @ levels) / len(part)
        variance += weight**2 * float(part.var()) / len(part)
    means /= len(parts)
    mean = float(np.mean([part.mean() for part in parts]))
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    beyond = min(float(np.mean(means <= 0)), float(np.mean(means >= 0)))
    p_value = float(min(1.0, max(2 * beyond, 1 / resamples)))
    # Of one image drawn at random it would be the deviation of the gains; of a mean over classes its like.
    deviation = math.sqrt(variance * len(gain)) / len(parts)
    # One image, or the same gain on all: every resample is the same, and none can tell. Of two and more images that
    # both answer alike there is nothing to tell.
    if variance == 0 and (gain.any() or len(gain) == 1):
        return Difference(Interval(mean, None, None, len(gain)), None, None)
    return Difference(
        Interval(mean, float(low), float(high), len(gain)), p_value, mean / deviation if deviation > 0 else None
    )


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p-values adjusted for their number, in their order. None, for what was not tested, stays and does not count.

    >>> import fsgl
    >>> fsgl.holm([0.01, 0.04, None, 0.03])
    [0.03, 0.06, None, 0.06]
    """
    _require_numbers([p for p in p_values if p is not None])
    tested = [i for i, p in enumerate(p_values) if p is not None]
    order = sorted(tested, key=lambda i: p_values[i] or 0.0)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * (p_values[i] or 0.0)))
        adjusted[i] = highest
    return adjusted


def _require_numbers(values: ArrayLike) -> None:
    """Raises ValueError for NaN and infinity: of a comparison with them nothing may be said, least of all a verdict."""
    found = np.asarray(values, dtype=np.float64)
    if not np.isfinite(found).all():
        raise ValueError(f"value {int(np.argmin(np.isfinite(found)))} is {found[~np.isfinite(found)][0]}, no number")


def wilson(
    right: NDArray[np.integer], total: NDArray[np.integer], confidence: float = CONFIDENCE
) -> NDArray[np.float64]:
    """Intervals ``K x 2`` of shares, in percent, of ``right`` in ``total`` images (Wilson 1927); NaN for no images.

    >>> import fsgl, numpy as np
    >>> fsgl.wilson(np.array([9, 0]), np.array([10, 10])).round(1).tolist()
    [[59.6, 98.2], [0.0, 27.8]]
    """
    from scipy.stats import norm

    z = float(norm.ppf((1 + confidence) / 2))
    n = np.where(total > 0, total, np.nan)
    share = right / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.asarray(100 * np.stack([centre - half, centre + half], axis=1))
