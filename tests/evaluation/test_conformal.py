from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsgl.evaluation.conformal import (
    conformal_quantile,
    conformal_scores,
    conformal_thresholds,
    fewest_images,
    set_figures,
)

COUNTS = np.array([600, 200, 60, 20, 12, 8])


def world(n: int, seed: int, prior: np.ndarray = COUNTS) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels of a classifier that knows neither its data well nor how well: any scores must do."""
    random = np.random.default_rng(seed)
    labels = random.choice(len(prior), n, p=prior / prior.sum())
    logits = random.normal(size=(n, len(prior))) + 1.5 * np.eye(len(prior))[labels] + np.log(COUNTS / COUNTS.sum())
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return conformal_scores(shares, COUNTS), labels


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=60), st.sampled_from([0.5, 0.7, 0.8, 0.9, 0.95, 0.99]))
def test_the_quantile_is_numpys(scores: list[float], coverage: float) -> None:
    """With one more score of infinity, NumPy's inverted distribution function is the quantile that is promised by."""
    expected = np.quantile([*scores, np.inf], coverage, method="inverted_cdf")
    assert conformal_quantile(scores, coverage) == expected
    assert (len(scores) >= fewest_images(coverage)) == np.isfinite(expected)


@pytest.mark.parametrize("score", ["prevalence", "softmax"])
def test_scores_by_a_loop(score: str) -> None:
    shares, prior = np.random.default_rng(0).dirichlet(np.ones(4), 5), np.array([4.0, 3.0, 2.0, 1.0])
    found = conformal_scores(shares, prior, score)
    for i in range(5):
        for k in range(4):
            share = shares[i, k]
            assert found[i, k] == pytest.approx(1 - share if score == "softmax" else -share * 10 / prior[k])


@pytest.mark.parametrize(("by_class", "coverage"), [(0.0, 0.9), (0.0, 0.7), (1.0, 0.9), (0.5, 0.9)])
def test_simulated_coverage_is_what_is_promised(by_class: float, coverage: float) -> None:
    """300 calibrations of 500 images, each with 200 new ones: within Monte-Carlo error, four standard errors."""
    held = np.zeros((300, len(COUNTS)))
    total = np.zeros((300, len(COUNTS)))
    unpromised = np.zeros((300, len(COUNTS)), dtype=bool)
    for seed in range(300):
        found = conformal_thresholds(*world(500, 2 * seed), coverage, by_class)
        scores, labels = world(200, 2 * seed + 1)
        right = (scores <= found.threshold_K)[np.arange(200), labels]  # without what fills an empty set
        assert (found.sets(scores)[np.arange(200), labels] >= right).all()
        held[seed] = np.bincount(labels, weights=right, minlength=len(COUNTS))
        total[seed] = np.bincount(labels, minlength=len(COUNTS))
        unpromised[seed] = found.unpromised_K

    def check(promise: float, held: np.ndarray, total: np.ndarray, most: float) -> None:
        rate = held.sum() / total.sum()
        error = np.sqrt(((held - rate * total) ** 2).sum()) / total.sum()  # calibrations are the independent units
        assert promise - 4 * error <= rate <= most + 4 * error, (promise, rate, error)

    if by_class == 0:
        check(coverage, held.sum(1), total.sum(1), coverage + 1 / 501)  # exact: no score is tied
    elif by_class == 1:
        for k in range(3):  # about 330, 110 and 33 of 500 images: enough for a threshold of their own
            check(coverage, held[:, k], total[:, k], 1.0)
        rare = ~unpromised[:, 3:]
        check(coverage - 0.02, (held[:, 3:] * rare).sum(1), (total[:, 3:] * rare).sum(1), 1.0)
    else:
        check(2 * coverage - 1, held.sum(1), total.sum(1), 1.0)
        assert abs(held.sum() / total.sum() - coverage) < 0.03


def test_a_class_of_too_few_images_shares_and_it_is_told() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2, 3], [40, 5, 6, 0])
    scores = random.random((len(labels), 4)) + np.array([0, 1, 1, 9])  # the rare ones fit worse
    found = conformal_thresholds(scores, labels, 0.9, by_class=1)
    own = scores[np.arange(len(labels)), labels]
    assert found.shared_K.tolist() == [False, True, True, True]
    assert found.unpromised_K.tolist() == [False, False, False, True]
    assert found.threshold_K[0] == conformal_quantile(own[:40], 0.9)
    assert found.threshold_K[1] == found.threshold_K[2] == conformal_quantile(own[40:], 0.9) > 1
    alone = conformal_thresholds(scores[:46], labels[:46], 0.9, by_class=1)  # 5 and 1 are too few together
    marginal = conformal_thresholds(scores[:46], labels[:46], 0.9).threshold_K[0]
    assert alone.unpromised_K.tolist() == [False, True, True, True]
    assert alone.threshold_K[1] == marginal
    between = conformal_thresholds(scores, labels, 0.9, by_class=0.25)
    ends = [conformal_thresholds(scores, labels, 0.9, by).threshold_K for by in (0, 1)]
    np.testing.assert_allclose(between.threshold_K, 0.75 * ends[0] + 0.25 * ends[1])


def test_prevalence_looks_after_the_tail() -> None:
    """At equal coverage over all images the mean over classes is higher than with the softmax score."""
    random, covered = np.random.default_rng(0), {}
    for score in ("softmax", "prevalence"):
        labels = random.choice(len(COUNTS), 20_000, p=COUNTS / COUNTS.sum())
        logits = random.normal(size=(20_000, len(COUNTS))) + np.eye(len(COUNTS))[labels] + np.log(COUNTS / COUNTS.sum())
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        scores = conformal_scores(shares, COUNTS, score)
        members = conformal_thresholds(scores[:10_000], labels[:10_000], 0.8).sets(scores[10_000:])
        covered[score] = set_figures(members, labels[10_000:], COUNTS)
    assert covered["prevalence"]["all"]["coverage"] == pytest.approx(80, abs=2)
    assert covered["softmax"]["all"]["coverage"] == pytest.approx(80, abs=2)
    assert covered["prevalence"]["few"]["coverage"] > covered["softmax"]["few"]["coverage"] + 20


def test_a_set_is_never_empty_and_figures_are_a_loops() -> None:
    scores, labels = world(200, 0)
    found = conformal_thresholds(scores, labels, 0.5)
    new, new_labels = world(300, 1)
    members = found.sets(new)
    assert members.any(axis=1).all()
    assert not (new <= found.threshold_K).any(axis=1).all()  # some would have been
    figures = set_figures(members, new_labels, COUNTS)
    rows = [i for i in range(300) if COUNTS[new_labels[i]] <= 20]
    assert figures["few"]["n"] == len(rows)
    assert figures["few"]["coverage"] == pytest.approx(100 * np.mean([members[i, new_labels[i]] for i in rows]))
    assert figures["few"]["size"] == pytest.approx(np.mean([members[i].sum() for i in rows]))


@pytest.mark.parametrize(
    ("coverage", "by_class", "n"), [(1.0, 0, 50), (0.0, 0, 50), (0.9, 1.5, 50), (0.9, 0, 8), (0.99, 0, 98)]
)
def test_what_cannot_be_promised_is_refused(coverage: float, by_class: float, n: int) -> None:
    with pytest.raises(ValueError, match=r"coverage|by_class"):
        conformal_thresholds(np.zeros((n, 2)), np.zeros(n, dtype=int), coverage, by_class)
