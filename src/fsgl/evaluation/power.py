"""How large a difference so many seeds can find, how many seeds it takes, and what looking more than once costs.

power           of the two-sided paired t test: with d = difference / deviation of the differences between seeds,
                t follows a noncentral t distribution of n - 1 degrees of freedom, noncentrality d sqrt(n)
spending        who looks at a test again and again, and stops when it finds something, finds something too often.
                Each look is given its share of the error; the shares sum to no more than the whole, so by the union
                bound the whole is kept whatever the looks have in common.
                  planned, up to N seeds (Lan and DeMets 1983, with Pocock's function):
                                  spent(n) = alpha log(1 + (e - 1) n / N); a look has what is new since the last
                  unplanned:      alpha, alpha / 2, alpha / 4, ...: together below 2 alpha, however many there are
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from fsgl.evaluation.statistics import ALPHA

POWER = 0.8
MOST_SEEDS = 1000
NODES = 300


def paired_power(difference: float, deviation: float, seeds: int, alpha: float = ALPHA) -> float:
    """Probability that the paired t test finds a true difference.

    deviation: of the differences between seeds, above 0.  seeds: 2 or more.  alpha: two-sided level.
    Raises ValueError for other values.

    >>> import fsgl
    >>> round(fsgl.paired_power(difference=1.0, deviation=1.0, seeds=5), 2)
    0.4
    """
    if not (deviation > 0 and seeds >= 2 and 0 < alpha < 1):
        raise ValueError(f"power needs a deviation above 0, 2 seeds and a level: {deviation}, {seeds}, {alpha}")
    return _power(abs(difference) / deviation, seeds, alpha)


def detectable_difference(deviation: float, seeds: int, alpha: float = ALPHA, power: float = POWER) -> float:
    """The smallest true difference that the paired t test finds with this probability, in the deviation's unit.

    Raises ValueError as ``paired_power`` does.

    >>> import fsgl
    >>> round(fsgl.detectable_difference(deviation=1.0, seeds=5), 2)
    1.68
    """
    paired_power(0.0, deviation, seeds, alpha)
    from scipy.optimize import brentq

    high = 1.0
    while _power(high, seeds, alpha) < power:
        high *= 2
    return deviation * float(brentq(lambda effect: _power(effect, seeds, alpha) - power, 0.0, high, xtol=1e-9))


def seeds_needed(
    difference: float, deviation: float, alpha: float = ALPHA, power: float = POWER, most: int = MOST_SEEDS
) -> int | None:
    """The fewest seeds with which a true difference is found with this probability; None for more than ``most``.

    >>> import fsgl
    >>> fsgl.seeds_needed(difference=1.0, deviation=1.0)
    10
    """
    if deviation <= 0 or difference == 0:
        return None
    effect = abs(difference) / deviation
    if _power(effect, most, alpha) < power:
        return None
    low, high = 1, most  # power grows with the number of seeds
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _power(effect, middle, alpha) >= power else (middle, high)
    return high


def seeds_at_next_look(
    difference: float, deviation: float, looks: Sequence[int], planned: int | None = None, share: float = 1.0
) -> int | None:
    """The fewest seeds with which the look after these finds a true difference with a probability of ``POWER``.

    looks, planned: as of ``level_of_look``.  share: of that look's level, as of one row of many. None where those that
    are planned, or ``MOST_SEEDS``, are too few.

    >>> from fsgl.evaluation.power import seeds_at_next_look
    >>> seeds_at_next_look(difference=1.0, deviation=1.0, looks=[5])
    13
    """
    if planned is None:
        least = max(looks, default=1) + 1
        found = seeds_needed(difference, deviation, share * level_of_look([*looks, least]))
        return None if found is None else max(found, least)
    if deviation <= 0:
        return None
    effect = abs(difference) / deviation
    for seeds in range(max(2, max(looks, default=1) + 1), planned + 1):  # what there is to spend grows with them, too
        if _power(effect, seeds, share * level_of_look([*looks, seeds], planned)) >= POWER:
            return seeds
    return None


def level_of_look(seeds: Sequence[int], planned: int | None = None, alpha: float = ALPHA) -> float:
    """The level at which the last of several looks is to be tested.

    seeds: of each look, in the order of the looks.  planned: the most seeds, where it was said before the first look;
    None where it was not. Raises ValueError for no look, or one beyond the plan.

    >>> import fsgl
    >>> fsgl.level_of_look([3, 5])
    0.025
    """
    if not seeds:
        raise ValueError("a level is of a look, and there is none")
    if planned is None:
        return float(alpha * 0.5 ** (len(seeds) - 1))
    if max(seeds) > planned:
        raise ValueError(f"{planned} seeds were planned and there are {max(seeds)}")
    before = max(seeds[:-1], default=0)
    if seeds[-1] <= before:
        raise ValueError("in a plan each look has more seeds than the one before")
    return _spent(seeds[-1], planned, alpha) - _spent(before, planned, alpha)


def _spent(seeds: int, planned: int, alpha: float) -> float:
    return alpha * math.log(1 + (math.e - 1) * seeds / planned)


@functools.cache
def _nodes() -> tuple[np.ndarray, np.ndarray]:
    """And weights of Gauss and Legendre, which take far longer to find than to use."""
    return np.polynomial.legendre.leggauss(NODES)


def _power(effect: float, seeds: int, alpha: float) -> float:
    """P(|Z + shift| > critical s) for s the sample deviation over the true one, integrated over the quantiles of s.

    scipy's noncentral t gives NaN for some of the small samples and small levels that are usual here.
    """
    from scipy.stats import chi2, norm, t

    critical, shift = t.isf(alpha / 2, seeds - 1), effect * math.sqrt(seeds)
    nodes, weights = _nodes()
    reach = critical * np.sqrt(chi2.ppf((nodes + 1) / 2, seeds - 1) / (seeds - 1))
    return float(weights / 2 @ (norm.sf(reach - shift) + norm.cdf(-reach - shift)))
