"""Estimates and ranks over data sets, against scipy, published critical values, and a simulation of the whole."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from fsgl.evaluation.across import over_data_sets, ranks, wilcoxon_against


@pytest.mark.parametrize(("methods", "quantile"), [(2, 1.960), (5, 2.728), (10, 3.164)])  # Demsar 2006, table 5 (a)
def test_critical_differences_are_the_published_ones(methods: int, quantile: float) -> None:
    values = np.random.default_rng(0).normal(size=(7, methods))
    assert ranks(values).critical == pytest.approx(quantile * np.sqrt(methods * (methods + 1) / 42), abs=2e-3)


@pytest.mark.parametrize("ties", [False, True])
def test_ranks_are_friedmans(ties: bool) -> None:
    values = np.random.default_rng(1).normal(70, 3, (8, 4))
    values = np.round(values / 3) if ties else values
    found = ranks(values)
    square = scipy.stats.friedmanchisquare(*values.T).statistic
    corrected = 7 * square / (8 * 3 - square)  # Iman and Davenport
    assert found.p_value == pytest.approx(scipy.stats.f.sf(corrected, 3, 21))
    assert np.mean(found.mean) == pytest.approx(2.5)
    better = (values[:, None, :] > values[:, :, None]).sum(axis=2)
    as_good = (values[:, None, :] == values[:, :, None]).sum(axis=2) - 1
    assert found.mean == pytest.approx((1 + better + as_good / 2).mean(axis=0))


def test_who_is_not_told_apart() -> None:
    found = ranks(np.array([[4.0, 3, 2, 1]] * 12))
    assert found.p_value == 0
    assert found.critical < 2
    assert found.alike() == [(0, 1), (1, 2), (2, 3)]
    with pytest.raises(ValueError, match="3 data sets"):
        ranks(np.ones((2, 4)))


def test_signed_ranks_are_scipys_by_holm() -> None:
    values = np.random.default_rng(2).normal(0, 1, (9, 3)) + np.array([0, 1, 0.2])
    plain = [scipy.stats.wilcoxon(values[:, k] - values[:, 0]).pvalue for k in (1, 2)]
    found = wilcoxon_against(values, 0)
    assert found[0] is None
    assert found[1] == pytest.approx(min(2 * min(plain), 1) if plain[0] <= plain[1] else max(plain))


def test_alike_effects_are_weighted_by_their_errors_alone() -> None:
    """tau is 0 where the effects differ less than their errors, and the mean is of all pairs."""
    differences = [[1.0, 3.0], [0.5, 2.0, 2.9], [2.0, 1.5, 3.1, 2.5]]
    found = over_data_sets(differences)
    assert found.between == 0
    assert found.interval.mean == pytest.approx(np.mean(np.concatenate(differences)))


def test_paule_and_mandel_find_as_much_spread_as_there_is() -> None:
    differences = [[1.0, 1.2, 0.8], [4.0, 4.2, 4.1], [-1.0, -1.3, -0.9]]
    found = over_data_sets(differences)
    means = np.array([np.mean(each) for each in differences])
    pooled = np.mean([np.var(each, ddof=1) for each in differences]) / 3
    weights = np.full(3, 1 / (pooled + found.between**2))
    assert weights @ (means - found.interval.mean) ** 2 == pytest.approx(2)
    plain = scipy.stats.ttest_1samp(means, 0)
    assert found.p_value == pytest.approx(plain.pvalue)  # equal seeds: as the means alone


@pytest.mark.parametrize("between", [0.0, 2.0])
def test_the_interval_holds_the_mean_effect_as_often_as_it_says(between: float) -> None:
    """Against it: the pairs of all data sets in one t test, which takes them for as many independent ones."""
    random, held, naive = np.random.default_rng(3), 0, 0
    for _ in range(400):
        effects = random.normal(1.0, between, 4) if between else np.ones(4)
        differences = [random.normal(effect, 1.0, 5) for effect in effects]
        interval = over_data_sets(differences).interval
        held += interval.low <= 1.0 <= interval.high
        low, high = scipy.stats.ttest_1samp(np.concatenate(differences), 0).confidence_interval()
        naive += low <= 1.0 <= high
    assert held / 400 > 0.92
    assert between == 0 or naive / 400 < 0.8


def test_what_says_nothing_of_other_data_sets() -> None:
    with pytest.raises(ValueError, match="one data set"):
        over_data_sets([[1.0, 2.0]])
    with pytest.raises(ValueError, match="nothing is known of the error"):
        over_data_sets([[1.0], [2.0]])
    with pytest.raises(ValueError, match="differences of each"):
        over_data_sets([[1.0, 2.0], []])
