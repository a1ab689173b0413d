from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from fsgl.evaluation.metrics import expected_calibration_error, softmax
from fsgl.evaluation.reliability import (
    COVERAGES,
    accuracy_under_priors,
    beyond_accuracy,
    reliability_curve,
    risk_coverage,
)

COUNTS = np.array([500, 7, 60, 7])


def sample(n: int = 400, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, n)
    return random.normal(size=(n, classes)) + 1.2 * np.eye(classes)[labels], labels


def test_curve_is_sklearns() -> None:
    logits, labels = sample()
    confidence, accuracy, count = reliability_curve(logits, labels, bins=10)
    sure, right = softmax(logits).max(1), logits.argmax(1) == labels
    share, mean = calibration_curve(right, sure, n_bins=10)
    np.testing.assert_allclose(accuracy[count > 0], 100 * share)
    np.testing.assert_allclose(confidence[count > 0], 100 * mean)
    assert np.isnan(accuracy[count == 0]).all()
    gap = np.nansum(count * np.abs(accuracy - confidence)) / count.sum()
    assert gap == pytest.approx(expected_calibration_error(logits, labels, 10))


def test_risk_by_a_loop() -> None:
    logits, labels = sample(60)
    sure = softmax(logits).max(1)
    order = sorted(range(60), key=lambda i: -sure[i])
    expected = [100 * np.mean([logits[i].argmax() != labels[i] for i in order[:n]]) for n in range(1, 61)]
    np.testing.assert_allclose(risk_coverage(logits, labels), expected)


@given(st.integers(0, 50))
def test_order_of_equally_sure_images_does_not_count(seed: int) -> None:
    random = np.random.default_rng(seed)
    logits = random.integers(0, 2, size=(30, 3)).astype(float)  # many ties
    labels = random.integers(0, 3, 30)
    order = random.permutation(30)
    np.testing.assert_allclose(risk_coverage(logits, labels), risk_coverage(logits[order], labels[order]))


def test_priors_against_drawn_test_sets() -> None:
    """SADE's way: test sets drawn with that tail; their accuracy is ours, on the average."""
    logits, labels = sample(4000)
    right = logits.argmax(1) == labels
    found = accuracy_under_priors(logits, labels, COUNTS, (10,))
    random = np.random.default_rng(1)
    by_frequency = [0, 2, 1, 3]  # ties by index
    for name, order in (("forward-10", by_frequency), ("backward-10", by_frequency[::-1]), ("uniform", None)):
        prior = np.full(4, 0.25)
        if order is not None:
            prior[order] = 10.0 ** -(np.arange(4) / 3)
            prior /= prior.sum()
        drawn = random.choice(4, 200_000, p=prior)
        outcomes = [random.choice(right[labels == k], int((drawn == k).sum())).sum() for k in range(4)]
        assert found[name] == pytest.approx(100 * sum(outcomes) / 200_000, abs=0.6)


def test_everything_at_once() -> None:
    logits, labels = sample()
    found = beyond_accuracy(logits, labels, COUNTS)
    accuracy = [100 * np.mean(logits[labels == k].argmax(1) == k) for k in range(4)]
    assert found["worst_class"] == pytest.approx(min(accuracy))
    assert found["harmonic_mean"] == pytest.approx(4 / sum(1 / a for a in accuracy))
    rows = np.isin(labels, (1, 3))
    assert found["ece"]["few"] == pytest.approx(expected_calibration_error(logits[rows], labels[rows]))
    assert found["priors"]["uniform"] == pytest.approx(np.mean(accuracy))
    assert list(found["priors"]) == [
        *(f"forward-{f}" for f in (50, 25, 10, 5, 2)), "uniform", *(f"backward-{f}" for f in (2, 5, 10, 25, 50))
    ]  # fmt: skip
    assert found["selective"]["50"] == pytest.approx(100 - risk_coverage(logits, labels)[199])
    assert found["selective"]["50"] > found["selective"]["90"] > 100 - risk_coverage(logits, labels)[-1]
    assert found["aurc"] == pytest.approx(risk_coverage(logits, labels).mean())
    assert set(found["selective"]) == {str(coverage) for coverage in COVERAGES}


def test_what_cannot_be_measured() -> None:
    logits, labels = np.eye(3)[[0, 0, 1]], np.array([0, 0, 0])
    found = beyond_accuracy(logits, labels, [500, 500, 3])
    assert found["ece"]["medium"] is None
    assert found["ece"]["few"] is None  # a class without test images
    assert found["worst_class"] == pytest.approx(200 / 3)
    none_right = beyond_accuracy(np.eye(3)[[1, 0]], np.array([0, 1]), [9, 9, 9])
    assert none_right["harmonic_mean"] == 0
