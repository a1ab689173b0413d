from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from fsgl.evaluation.statistics import holm, mean_interval, paired_bootstrap, paired_difference, wilson

VALUES = st.lists(st.floats(0, 100), min_size=2, max_size=12)


@given(VALUES)
def test_interval_is_scipys(values: list[float]) -> None:
    found = mean_interval(values)
    assert found.mean == pytest.approx(np.mean(values))
    if np.std(values) > 1e-6:
        low, high = scipy.stats.t.interval(0.95, len(values) - 1, np.mean(values), scipy.stats.sem(values))
        assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=2, max_size=12))
def test_paired_difference_is_scipys(pairs: list[tuple[float, float]]) -> None:
    a, b = np.array(pairs).T
    found, back = paired_difference(a, b), paired_difference(b, a)
    assert found.interval.mean == -back.interval.mean
    assert found.p_value == back.p_value
    if np.std(b - a) > 1e-6:
        theirs = scipy.stats.ttest_rel(b, a)
        assert found.p_value == pytest.approx(theirs.pvalue, rel=1e-6, abs=1e-12)
        bounds = theirs.confidence_interval()
        assert (found.interval.low, found.interval.high) == (pytest.approx(bounds.low), pytest.approx(bounds.high))
        effect = None if len(a) == 2 else pytest.approx((b - a).mean() / (b - a).std(ddof=1))
        assert found.effect_size == effect


def test_one_seed_and_equal_differences() -> None:
    assert mean_interval([3.0]).low is None
    single = paired_difference([1.0], [3.0])
    assert (single.interval.mean, single.p_value, single.effect_size) == (2.0, None, None)
    assert paired_difference([1.0, 2.0], [1.0, 2.0]).p_value == 1
    same = paired_difference([1.0, 2.0], [2.0, 3.0])  # by 1.0 each: no certainty, but nothing to go by
    assert (same.interval.mean, same.interval.low, same.p_value) == (1.0, None, None)
    with pytest.raises(ValueError, match="pairs are needed"):
        paired_difference([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="a mean needs values"):
        mean_interval([])


def test_intervals_cover_as_often_as_they_say() -> None:
    """20,000 experiments of 5 seeds: 95 % within four Monte-Carlo errors."""
    random = np.random.default_rng(0)
    covered = 0
    for values in random.normal(70, 2, size=(20_000, 5)):
        found = mean_interval(values)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 70 <= found.high
    assert covered / 20_000 == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 20_000))


def test_bootstrap_covers_as_often_as_it_says() -> None:
    """Two classifiers of known accuracies on 400 images, 1,000 times over."""
    random = np.random.default_rng(1)
    covered = 0
    for trial in range(1000):
        hard = random.random(400)
        a, b = hard < 0.7, (hard < 0.65) | (random.random(400) < 0.2)
        truth = 100 * ((0.65 + 0.35 * 0.2) - 0.7)
        found = paired_bootstrap(a, b, resamples=1000, seed=trial).interval
        covered += found.low <= truth <= found.high
    assert covered / 1000 == pytest.approx(0.95, abs=0.03)


def test_bootstrap_is_the_plain_one() -> None:
    """Against one that draws images, within its Monte-Carlo error; several networks are averaged image by image."""
    random = np.random.default_rng(2)
    a, b = random.random((3, 300)) < 0.6, random.random((3, 300)) < 0.66
    found = paired_bootstrap(a, b)
    gain = 100 * (b.mean(0) - a.mean(0))
    means = gain[random.integers(0, 300, (10_000, 300))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    assert found.interval.mean == pytest.approx(gain.mean())
    assert (found.interval.low, found.interval.high) == (pytest.approx(low, abs=0.2), pytest.approx(high, abs=0.2))
    assert found.p_value == pytest.approx(2 * min((means <= 0).mean(), (means >= 0).mean()), abs=0.02)
    assert paired_bootstrap(b, a).interval.mean == pytest.approx(-gain.mean())
    same = paired_bootstrap(a, a)
    assert (same.p_value, same.effect_size) == (1.0, None)
    for alone in (([1], [1]), ([1], [1], [0])):
        found = paired_bootstrap(*alone)
        assert (found.interval.mean, found.interval.low, found.p_value) == (0, None, None)
    with pytest.raises(ValueError, match="pairs are needed"):
        paired_bootstrap(a[0], b[0, :-1])


def test_bootstrap_by_class_is_one_that_draws_images_class_by_class() -> None:
    """The rare class weighs as much as the frequent one, and its few images make the interval wide."""
    random = np.random.default_rng(4)
    classes = random.permutation(np.repeat([0, 1, 2], [200, 50, 10]))
    a, b = random.random((2, 260)) < 0.6, random.random((2, 260)) < 0.5 + 0.1 * classes
    found = paired_bootstrap(a, b, classes, resamples=4000)
    gain = 100 * (b.mean(0) - a.mean(0))
    own = [gain[classes == k] for k in range(3)]
    means = sum(part[random.integers(0, len(part), (4000, len(part)))].mean(1) for part in own) / 3
    low, high = np.quantile(means, [0.025, 0.975])
    assert found.interval.mean == pytest.approx(np.mean([part.mean() for part in own]))
    assert (found.interval.low, found.interval.high) == (pytest.approx(low, abs=0.6), pytest.approx(high, abs=0.6))
    plain = paired_bootstrap(a, b).interval
    assert found.interval.high - found.interval.low > 1.5 * (plain.high - plain.low)
    assert found.interval.mean > plain.mean + 2, "top-1 is another figure"
    assert paired_bootstrap(a, b, np.zeros(260)).interval == plain
    with pytest.raises(ValueError, match="each image needs its class"):
        paired_bootstrap(a, b, classes[1:])


def test_classes_of_one_test_image_do_not_pass_for_certain() -> None:
    """Of 99 such classes b is right in 60 and a in the other 39, about what a coin gives; one class has two images."""
    a, classes = np.r_[np.repeat([0, 1], [60, 39]), 0, 0], np.r_[np.arange(99), 99, 99]
    b = np.r_[1 - a[:99], 0, 1]
    found, images = paired_bootstrap(a, b, classes), paired_bootstrap(a[:99], b[:99])
    assert 0.01 < images.p_value < 0.1
    assert found.p_value == pytest.approx(images.p_value, abs=0.02)
    assert paired_bootstrap(a[:99], b[:99], classes[:99]) == images  # one of each class: any images
    # A rare class of one image that changed, beside one of 50 of which a tenth changed to and fro.
    a, b = np.repeat([0, 1, 0, 0], [3, 2, 45, 1]), np.repeat([1, 0, 0, 1], [3, 2, 45, 1])
    found = paired_bootstrap(a, b, np.repeat([0, 1], [50, 1]))
    assert found.interval.mean == pytest.approx(51)
    assert found.interval.high - found.interval.low > 40


def test_holm_by_hand() -> None:
    """Holm's step-down: 0.01 x 4, 0.02 x 3, 0.03 x 2, 0.5 x 1, none below one before it."""
    assert holm([0.03, 0.01, None, 0.5, 0.02]) == pytest.approx([0.06, 0.04, None, 0.5, 0.06])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.randoms())
def test_holm_properties(p_values: list[float], random) -> None:
    adjusted = holm(p_values)
    bonferroni = [min(1.0, p * len(p_values)) for p in p_values]
    assert all(p <= a <= b + 1e-12 for p, a, b in zip(p_values, adjusted, bonferroni, strict=True))
    order = list(range(len(p_values)))
    random.shuffle(order)
    assert holm([p_values[i] for i in order]) == [adjusted[i] for i in order]
    # Rejects what the definition rejects: the smallest p-values, until one is above alpha / (those left).
    rejected = set()
    for rank, i in enumerate(sorted(order, key=lambda i: p_values[i])):
        if p_values[i] * (len(order) - rank) > 0.05:
            break
        rejected.add(i)
    assert {i for i, a in enumerate(adjusted) if a <= 0.05} == rejected


def test_family_wise_error_holds_under_the_null() -> None:
    """Eight methods, none better than the reference, 5 seeds: a false alarm in at most 5 % of 1,000 comparisons."""
    random = np.random.default_rng(3)
    alarms = plain = 0
    for _ in range(1000):
        scores = random.normal(70, 2, size=(9, 5)) + random.normal(0, 1, size=5)  # seeds in common
        p_values = [paired_difference(scores[0], other).p_value for other in scores[1:]]
        alarms += min(holm(p_values)) < 0.05
        plain += min(p_values) < 0.05
    assert alarms / 1000 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1000)
    assert plain / 1000 > 0.1  # what it is for


def test_wilson_is_scipys() -> None:
    right, total = np.array([0, 3, 50, 9, 0]), np.array([10, 7, 50, 40, 0])
    found = wilson(right, total)
    for k in range(4):
        theirs = scipy.stats.binomtest(int(right[k]), int(total[k])).proportion_ci(method="wilson")
        np.testing.assert_allclose(found[k], [100 * theirs.low, 100 * theirs.high], atol=1e-9)
    assert np.isnan(found[4]).all()


def test_a_bootstrap_of_one_image_or_of_equal_gains_cannot_tell() -> None:
    for a, b in (([0], [1]), (np.zeros(50), np.ones(50))):
        found = paired_bootstrap(a, b)
        assert (found.p_value, found.interval.low, found.interval.high, found.effect_size) == (None,) * 4
        assert found.interval.mean == 100


def test_what_is_no_number_is_refused_and_gets_no_verdict() -> None:
    nan = float("nan")
    for refused in (
        lambda: mean_interval([1.0, nan]), lambda: paired_difference([1.0, nan], [2.0, 3.0]),
        lambda: paired_bootstrap([1, 0, nan], [1, 1, 1]), lambda: holm([0.01, nan]),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="is nan, no number"):
            refused()
