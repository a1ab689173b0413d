"""Which of many classifiers to take by the same held-out images, and how good it then is.

    one standard error     the simplest that is not worse than the best by more than one standard error of the
                           difference (Breiman et al., Classification and Regression Trees, 1984, section 3.4.3; there
                           the error is of the best's own figure, here of the difference on the same images, which is
                           what tells two classifiers apart)
    bias corrected         what the one that is chosen by held-out images is right on, of images that did not choose it:
                           choose on a bootstrap sample, score on what the sample left out (BBC-CV, Tsamardinos,
                           Greasidou and Borboudakis, Machine Learning 2018, algorithm 5), class by class

The measure is the mean over classes, of those that have held-out images. The best of many is a lucky one, so that its
own figure flatters: by the bias that the second formula takes away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fsgl.evaluation.statistics import Interval

DRAWS = 500


@dataclass(frozen=True)
class Choice:
    """chosen, best: which classifier.  behind: points by which the chosen one is below the best.  error: one standard
    error of that difference, in points."""

    chosen: int
    best: int
    behind: float
    error: float


def macro_accuracies(correct_CN: ArrayLike, labels_N: ArrayLike) -> NDArray[np.float64]:
    """Of each of ``C`` classifiers the mean over classes of the share that is right, in percent.

    >>> import fsgl
    >>> fsgl.macro_accuracies([[True, True, False], [True, False, True]], [0, 0, 1]).tolist()
    [50.0, 75.0]
    """
    correct, labels = np.asarray(correct_CN, dtype=np.float64), np.asarray(labels_N)
    return 100 * correct @ _weights(labels)


def one_standard_error(correct_CN: ArrayLike, labels_N: ArrayLike, order: ArrayLike) -> Choice:
    """The simplest of ``C`` classifiers that is within one standard error of the best.

    correct: which of the same ``N`` held-out images each is right on, ``C x N`` booleans.  labels: ``N`` classes.
    order: ``C`` numbers, of the simplest the lowest; of equally simple ones the better, then the first.
    The standard error is that of a difference of none: with d_k images of class k of n_k on which one of the two alone
    is right, sqrt(sum_k d_k / n_k^2) / K, as in McNemar's test. Raises ValueError for no classifier or no image.

    >>> import fsgl, numpy as np
    >>> labels = np.repeat([0, 1], 50)
    >>> simple, other = np.ones((2, 100), dtype=bool)
    >>> simple[:10], other[5:14] = False, False  # one image more is right, of 14 that differ: no evidence
    >>> fsgl.one_standard_error([simple, other], labels, order=[0, 1]).chosen
    0
    """
    correct, labels = np.asarray(correct_CN, dtype=bool), np.asarray(labels_N)
    if correct.ndim != 2 or 0 in correct.shape:
        raise ValueError(f"classifiers x images are needed, at least 1 x 1, not {correct.shape}")
    accuracies, weights, simple = macro_accuracies(correct, labels), _weights(labels), np.asarray(order)
    best = int(accuracies.argmax())
    errors = 100 * np.sqrt((correct ^ correct[best]) @ weights**2)
    near = np.flatnonzero(accuracies[best] - accuracies <= errors + 1e-9)  # one image alone is within it, always
    chosen = int(min(near, key=lambda c: (simple[c], -accuracies[c], c)))
    return Choice(chosen, best, float(accuracies[best] - accuracies[chosen]), float(errors[chosen]))


def difference_error(one_N: ArrayLike, other_N: ArrayLike, labels_N: ArrayLike) -> float:
    """One standard error of the difference of two classifiers, in points, as ``one_standard_error`` has it.

    one, other: which of the same ``N`` images each is right on.  labels: ``N`` classes.
    """
    differ = np.asarray(one_N, dtype=bool) ^ np.asarray(other_N, dtype=bool)
    return float(100 * np.sqrt(differ @ _weights(np.asarray(labels_N)) ** 2))


def bias_corrected(
    correct_CN: ArrayLike, labels_N: ArrayLike, order: ArrayLike | None = None, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """The accuracy, mean over classes in percent, of the classifier that such images choose, of other images.

    correct, labels, order: as of ``one_standard_error``, whose choice it is; without an order the best is chosen.
    Of each class as many images are drawn with replacement as it has; what was not drawn is scored, class by class. A
    class of one image, which cannot be on both sides, chooses and is not scored. low, high: from the 2.5th to the
    97.5th percentile over draws. Raises ValueError where no class has two images.

    >>> import fsgl, numpy as np
    >>> labels, random = np.repeat([0, 1], 50), np.random.default_rng(1000)
    >>> guesses = random.random((200, 100)) < 0.5  # 200 classifiers that toss coins
    >>> found = fsgl.bias_corrected(guesses, labels)
    >>> bool(fsgl.macro_accuracies(guesses, labels).max() > 60), bool(45 < found.mean < 53)
    (True, True)
    """
    correct, labels = np.asarray(correct_CN, dtype=bool), np.asarray(labels_N)
    places = [np.flatnonzero(labels == k) for k in np.unique(labels)]
    if max(map(len, places)) < 2:
        raise ValueError("no class has two held-out images, one to choose by and one to score")
    random, found = np.random.default_rng(seed), []
    for _ in range(draws):
        drawn = [random.choice(of_class, len(of_class)) for of_class in places]
        left = [np.setdiff1d(of_class, chosen) for of_class, chosen in zip(places, drawn, strict=True)]
        scored = np.concatenate(left)
        if not len(scored):
            continue
        sample = np.concatenate(drawn)
        if order is None:
            chosen_one = int(macro_accuracies(correct[:, sample], labels[sample]).argmax())
        else:
            chosen_one = one_standard_error(correct[:, sample], labels[sample], order).chosen
        found.append(float(macro_accuracies(correct[[chosen_one]][:, scored], labels[scored])[0]))
    low, high = np.percentile(found, (2.5, 97.5))
    return Interval(float(np.mean(found)), float(low), float(high), len(found))


def macro_interval(right_K: ArrayLike, total_K: ArrayLike, confidence: float = 0.95) -> Interval:
    """The mean over classes in percent, and where that of all images is to be expected.

    right, total: images of each class that are right, and all; classes without images are passed over. Each class's
    share is taken with two more that are right and two more that are wrong when its variance is estimated (Agresti and
    Coull, The American Statistician 1998), so that three of three do not look certain.

    >>> import fsgl
    >>> found = fsgl.macro_interval([90, 2], [100, 3])
    >>> round(found.mean, 1), round(found.low, 1), round(found.high, 1)
    (78.3, 50.2, 100.0)
    """
    from scipy.stats import norm

    right, total = np.asarray(right_K, dtype=np.float64), np.asarray(total_K, dtype=np.float64)
    right, total = right[total > 0], total[total > 0]
    if not len(total):
        raise ValueError("no class has images")
    share, smoothed = right / total, (right + 2) / (total + 4)
    half = 100 * float(norm.ppf((1 + confidence) / 2) * np.sqrt((smoothed * (1 - smoothed) / total).sum()) / len(total))
    mean = 100 * float(share.mean())
    return Interval(mean, max(0.0, mean - half), min(100.0, mean + half), int(total.sum()))


def _weights(labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Of each image, so that the sum over right ones is the mean over classes."""
    _, own, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return np.asarray(1 / (counts[own] * len(counts)))
