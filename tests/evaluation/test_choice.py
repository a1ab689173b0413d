from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from fsgl.evaluation.choice import bias_corrected, macro_accuracies, macro_interval, one_standard_error

LABELS = np.repeat([0, 1, 2], [50, 12, 3])


def test_macro_accuracy_is_scikit_learns() -> None:
    random = np.random.default_rng(0)
    predicted = random.integers(0, 3, (4, len(LABELS)))
    want = [100 * balanced_accuracy_score(LABELS, each) for each in predicted]
    assert macro_accuracies(predicted == LABELS, LABELS) == pytest.approx(want)


def test_the_standard_error_is_that_of_two_classifiers_that_differ_by_chance() -> None:
    random = np.random.default_rng(1)
    differences, errors = [], []
    for _ in range(2000):
        pair = random.random((2, len(LABELS))) < 0.6
        accuracies = macro_accuracies(pair, LABELS)
        differences.append(accuracies[0] - accuracies[1])
        worse = int(accuracies.argmin())
        choice = one_standard_error(pair, LABELS, order=[1, 1])
        assert choice.behind == 0
        errors.append(one_standard_error(pair, LABELS, order=[int(i != worse) for i in range(2)]).error)
    # sqrt(sum of 2 p (1 - p) / n_k) / K, from the binomial
    exact = 100 * np.sqrt((2 * 0.6 * 0.4 / np.bincount(LABELS)).sum()) / 3
    assert np.std(differences) == pytest.approx(exact, rel=0.05)
    assert 0.4 * exact < np.mean(errors) < exact  # 0 where the best is chosen, which is where they are far apart


def test_of_what_is_near_the_simplest_and_of_equally_simple_the_better() -> None:
    best, near, same = np.ones((3, len(LABELS)), dtype=bool)
    far = best.copy()
    near[0], far[:40] = False, False
    correct = np.stack([best, near, same, far])
    assert one_standard_error(correct, LABELS, [3, 1, 1, 0]).chosen == 2  # as simple as near, and better
    assert one_standard_error(correct, LABELS, [0, 1, 1, 2]).chosen == 0
    assert one_standard_error(correct, LABELS, [3, 1, 2, 0]).chosen == 1  # far is the simplest, and too far
    with pytest.raises(ValueError, match="at least 1 x 1"):
        one_standard_error(np.zeros((0, 3)), LABELS[:3], [])


def test_without_signal_the_corrected_figure_is_chance_and_the_best_one_flatters() -> None:
    corrected, best = [], []
    for data in range(25):
        correct = np.random.default_rng(data).random((60, len(LABELS))) < 1 / 3
        corrected.append(bias_corrected(correct, LABELS, draws=60, seed=data).mean)
        best.append(macro_accuracies(correct, LABELS).max())
    error = np.std(corrected) / np.sqrt(len(corrected))
    assert abs(np.mean(corrected) - 100 / 3) < 3 * error
    assert np.mean(best) > 100 / 3 + 10


def test_with_signal_the_corrected_figure_finds_it() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], 300)
    correct = random.random((30, 600)) < np.linspace(0.5, 0.9, 30)[:, None]
    found = bias_corrected(correct, labels, order=range(30), draws=100)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 90 < found.high
    assert abs(found.mean - 89) < 2
    with pytest.raises(ValueError, match="two held-out images"):
        bias_corrected(correct[:, :2], np.array([0, 1]))


def test_the_interval_of_a_macro_accuracy_covers_it() -> None:
    random, total, share = np.random.default_rng(3), np.array([100, 20, 5]), np.array([0.9, 0.6, 0.4])
    covered = 0
    for _ in range(1000):
        found = macro_interval(random.binomial(total, share), total)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 100 * share.mean() <= found.high
    assert covered > 910  # 95 % are promised, about: of 3 classes one has 5 images
    assert macro_interval([3, 0], [3, 0]).low < 80  # type: ignore[operator]
