"""What several data sets say together: an estimate over them, and ranks.

over_data_sets   differences d_j on data sets j, each with its own error s_j, vary around one mean:
                     d_j ~ N(mu, tau^2 + s_j^2)          tau: how much the effect itself differs between data sets
                 tau by Paule and Mandel (1982), mu's interval by Hartung and Knapp (2001): a normal-normal
                 hierarchical model whose interval holds for a further data set's like, not for these alone
mean ranks       1 is the best, ties share; Friedman's test as Iman and Davenport (1980) have it
critical         Nemenyi (1963): mean ranks of two methods further apart than this differ, whichever two they are
against one      Wilcoxon's signed ranks of each method and the reference, p-values by Holm
(the last three as Demsar, JMLR 2006, recommends them)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fsgl.evaluation.statistics import ALPHA, CONFIDENCE, Interval, holm

SETS_OF_RANKS = 3


@dataclass(frozen=True)
class OverDataSets:
    """interval: of the mean effect.  p_value: that it is 0.  between: tau, the effect's deviation between data sets."""

    interval: Interval
    p_value: float | None
    between: float


def over_data_sets(differences: Sequence[Sequence[float]], confidence: float = CONFIDENCE) -> OverDataSets:
    """The mean effect over data sets. differences: paired ones, of each data set over its seeds.

    Data sets of one seed, or with the same difference in all of theirs, say nothing of their error and take the mean
    one of the others. Raises ValueError for none with two differing seeds, and for an empty one.

    >>> import fsgl
    >>> found = fsgl.over_data_sets([[1.0, 1.4, 0.9], [2.1, 2.0, 2.5], [0.2, 0.6, 0.7]])
    >>> round(found.interval.mean, 2), round(found.between, 2)
    (1.27, 0.85)
    """
    values = [np.asarray(each, dtype=np.float64) for each in differences]
    if not values or any(each.size == 0 for each in values):
        raise ValueError("an estimate over data sets needs differences of each")
    means = np.array([each.mean() for each in values])
    # The variance between seeds is pooled, as five seeds estimate that of one data set badly.
    freedom = sum(each.size - 1 for each in values)
    spread = sum(float(((each - each.mean()) ** 2).sum()) for each in values)
    if not freedom or spread <= 1e-12:
        raise ValueError("nothing is known of the error: two seeds or more are needed, with differences that differ")
    errors = spread / freedom / np.array([each.size for each in values])
    if len(values) == 1:
        raise ValueError("one data set says nothing of others")
    between = _paule_mandel(means, errors)
    weights = 1 / (errors + between)
    mean = float(weights @ means / weights.sum())
    from scipy.stats import t

    # Hartung and Knapp's, never narrower than the plain one (Jackson et al. 2017).
    scale = max(1.0, float(weights @ (means - mean) ** 2) / (len(means) - 1))
    error = math.sqrt(scale / float(weights.sum()))
    half = float(t.ppf((1 + confidence) / 2, len(means) - 1)) * error
    p_value = float(2 * t.sf(abs(mean) / error, len(means) - 1))
    return OverDataSets(Interval(mean, mean - half, mean + half, len(means)), p_value, math.sqrt(between))


def _paule_mandel(means: np.ndarray, errors: np.ndarray) -> float:
    """tau^2 where the weighted squares are as many as expected; 0 where they are fewer."""

    def excess(between: float) -> float:
        weights = 1 / (errors + between)
        mean = weights @ means / weights.sum()
        return float(weights @ (means - mean) ** 2) - (len(means) - 1)

    if excess(0.0) <= 0:
        return 0.0
    from scipy.optimize import brentq

    high = float(means.var(ddof=1)) + float(errors.max())
    while excess(high) > 0:
        high *= 2
    return float(brentq(excess, 0.0, high, xtol=1e-12))


@dataclass(frozen=True)
class Ranks:
    """Of methods over data sets.

    mean: by method, 1 is the best.  p_value: that all are alike.  critical: difference of two mean ranks from which
    they differ.
    """

    mean: tuple[float, ...]
    p_value: float
    critical: float

    def alike(self) -> list[tuple[int, ...]]:
        """Sets of methods, the best first, that are not told apart, each as large as may be and of two or more."""
        order = sorted(range(len(self.mean)), key=lambda method: self.mean[method])
        found: list[tuple[int, ...]] = []
        for start, first in enumerate(order):
            reach = [m for m in order[start:] if self.mean[m] - self.mean[first] < self.critical]
            if len(reach) > 1 and not (found and set(reach) <= set(found[-1])):
                found.append(tuple(reach))
        return found


def ranks(accuracy: ArrayLike, alpha: float = ALPHA) -> Ranks:
    """Ranks of methods. accuracy: ``J x M``, of M methods on J data sets, the higher the better.

    Raises ValueError for fewer than three data sets or two methods.

    >>> import fsgl
    >>> found = fsgl.ranks([[70, 72, 71], [60, 65, 62], [80, 83, 81]])
    >>> found.mean, round(found.critical, 2)
    ((3.0, 1.0, 2.0), 1.91)
    """
    values = np.asarray(accuracy, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] < SETS_OF_RANKS or values.shape[1] < 2:
        raise ValueError(f"ranks need {SETS_OF_RANKS} data sets and 2 methods, and there are {values.shape}")
    from scipy.stats import f, rankdata, studentized_range

    sets, methods = values.shape
    of_each = rankdata(-values, axis=1)
    mean = of_each.mean(axis=0)
    # The variance of the ranks as they are is Friedman's with its correction for ties.
    variance = float(of_each.var(axis=1, ddof=1).mean())
    square = 0.0 if variance == 0 else sets * float(((mean - (methods + 1) / 2) ** 2).sum()) / variance
    rest = sets * (methods - 1) - square
    if rest <= 1e-9:
        p_value = 0.0  # the same order everywhere
    else:
        p_value = float(f.sf((sets - 1) * square / rest, methods - 1, (methods - 1) * (sets - 1)))
    quantile = float(studentized_range.isf(alpha, methods, np.inf)) / math.sqrt(2)
    critical = quantile * math.sqrt(methods * (methods + 1) / (6 * sets))
    return Ranks(tuple(float(each) for each in mean), p_value, critical)


def wilcoxon_against(accuracy: ArrayLike, reference: int) -> list[float | None]:
    """p-values by Holm of each method's signed ranks against the reference's; None for the reference, and where no data
    set tells them apart. accuracy: as for ``ranks``. N data sets give no p below 2 / 2^N.

    >>> import fsgl
    >>> fsgl.wilcoxon_against([[70, 72], [60, 65], [80, 83], [50, 50.5], [71, 72.5], [60, 60.1]], reference=0)
    [None, 0.03125]
    """
    values = np.asarray(accuracy, dtype=np.float64)
    from scipy.stats import wilcoxon

    found: list[float | None] = []
    for method in range(values.shape[1]):
        differences = values[:, method] - values[:, reference]
        told = method != reference and bool(np.any(differences))
        found.append(float(wilcoxon(differences).pvalue) if told else None)
    return holm(found)
