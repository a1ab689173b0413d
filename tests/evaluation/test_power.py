"""Power and the price of looking again, against simulations: all experiments at once, as arrays."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from fsgl.evaluation.power import detectable_difference, level_of_look, paired_power, seeds_needed
from fsgl.evaluation.statistics import ALPHA

EXPERIMENTS = 20_000


def p_values(differences: np.ndarray) -> np.ndarray:
    """Of paired t tests, one a row."""
    return np.asarray(scipy.stats.ttest_1samp(differences, 0, axis=1).pvalue)


@pytest.mark.parametrize(
    ("effect", "seeds", "alpha"), [(0.0, 5, 0.05), (1.0, 5, 0.05), (1.5, 5, 0.01), (0.5, 20, 0.05)]
)
def test_power_is_the_share_of_experiments_that_find_the_difference(effect: float, seeds: int, alpha: float) -> None:
    drawn = np.random.default_rng(seeds).normal(3 * effect, 3, (EXPERIMENTS, seeds))
    share = (p_values(drawn) < alpha).mean()
    power = paired_power(3 * effect, 3, seeds, alpha)
    assert power == pytest.approx(share, abs=4 * np.sqrt(0.25 / EXPERIMENTS))
    nct, critical = scipy.stats.nct(seeds - 1, effect * seeds**0.5), scipy.stats.t.isf(alpha / 2, seeds - 1)
    assert power == pytest.approx(nct.sf(critical) + nct.cdf(-critical), abs=1e-5)


def test_what_can_be_found_and_what_it_takes_are_each_others_inverse() -> None:
    for seeds, alpha in ((2, 0.05), (3, 0.05 / 30), (5, 0.05), (10, 0.05 / 8)):
        found = detectable_difference(2.0, seeds, alpha)
        assert paired_power(found, 2.0, seeds, alpha) == pytest.approx(0.8, abs=1e-6)
        assert seeds_needed(1.001 * found, 2.0, alpha) == seeds
        assert seeds_needed(0.999 * found, 2.0, alpha) == seeds + 1
    assert detectable_difference(4.0, 5) == pytest.approx(2 * detectable_difference(2.0, 5))
    assert seeds_needed(0.01, 1.0) is None
    assert seeds_needed(0.0, 1.0) is None
    assert seeds_needed(1.0, 0.0) is None
    with pytest.raises(ValueError, match="power needs"):
        paired_power(1.0, 0.0, 5)


def false_alarms(looks: tuple[int, ...], levels: list[float]) -> float:
    """Share of experiments without any difference that find one at some look."""
    drawn = np.random.default_rng(0).normal(0, 1, (EXPERIMENTS, max(looks)))
    found = [p_values(drawn[:, :seeds]) < level for seeds, level in zip(looks, levels, strict=True)]
    return float(np.any(found, axis=0).mean())


def test_adding_seeds_until_something_is_found_finds_too_much_and_the_levels_keep_it_down() -> None:
    looks = (5, 8, 12, 16, 20)
    error = 4 * np.sqrt(0.05 * 0.95 / EXPERIMENTS)
    assert false_alarms(looks, [ALPHA] * 5) > 0.1  # why
    planned = [level_of_look(looks[: i + 1], planned=20) for i in range(5)]
    assert sum(planned) == pytest.approx(ALPHA)
    assert false_alarms(looks, planned) <= ALPHA + error
    unplanned = [level_of_look(looks[: i + 1]) for i in range(5)]
    assert unplanned[:3] == [ALPHA, ALPHA / 2, ALPHA / 4]
    assert ALPHA < false_alarms(looks, unplanned) <= 2 * ALPHA + error
    assert level_of_look([20], planned=20) == pytest.approx(ALPHA)


def test_looks_that_are_none() -> None:
    with pytest.raises(ValueError, match="there is none"):
        level_of_look([])
    with pytest.raises(ValueError, match="10 seeds were planned and there are 12"):
        level_of_look([5, 12], planned=10)
    with pytest.raises(ValueError, match="more seeds than the one before"):
        level_of_look([5, 5], planned=10)
