"""More than accuracy, from saved logits alone: calibration by group, abstention, other test priors, the worst class.

Conventions are those of metrics.py: figures in percent, None for what cannot be measured; an image belongs to the group
(many, medium, few) of its true class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fsgl.evaluation.classes import class_order
from fsgl.evaluation.metrics import confidences, expected_calibration_error, per_class_accuracy, shot_groups

COVERAGES = (50, 80, 90)
FACTORS = (50, 25, 10, 5, 2)


def beyond_accuracy(
    logits_NK: ArrayLike, labels_N: ArrayLike, class_counts_K: ArrayLike, *, many: int = 100, few: int = 20
) -> dict[str, Any]:
    """Every figure of this module, ready for ``json.dumps``.

    ``worst_class``: the lowest accuracy of a class; ``harmonic_mean`` of the classes' accuracies, 0 where one is 0;
    ``ece``: of each group, None where it has no image; ``selective``: accuracy on the share of images, in percent, that
    the network is surest of; ``aurc``: area under the risk-coverage curve; ``priors``: ``accuracy_under_priors``.

    >>> import fsgl
    >>> logits, labels = [[2.0, 0.0], [0.5, 1.0], [3.0, 1.0]], [0, 1, 1]
    >>> figures = fsgl.beyond_accuracy(logits, labels, [500, 10])
    >>> figures["worst_class"], sorted(figures)
    (50.0, ['aurc', 'ece', 'harmonic_mean', 'priors', 'selective', 'worst_class'])
    """
    logits, labels = np.asarray(logits_NK), np.asarray(labels_N)
    accuracy = [value for value in per_class_accuracy(logits, labels) if value is not None]
    harmonic = 0.0 if min(accuracy) == 0 else len(accuracy) / sum(1 / value for value in accuracy)
    groups = shot_groups(class_counts_K, many=many, few=few)
    ece = {}
    for name, members in groups.items():
        rows = members[labels]
        ece[name] = expected_calibration_error(logits[rows], labels[rows]) if rows.any() else None
    risk = risk_coverage(logits, labels)
    surest = {coverage: round(len(labels) * coverage / 100) or 1 for coverage in COVERAGES}
    return {
        "worst_class": min(accuracy),
        "harmonic_mean": harmonic,
        "ece": ece,
        "selective": {f"{coverage}": 100 - float(risk[n - 1]) for coverage, n in surest.items()},
        "aurc": float(risk.mean()),
        "priors": accuracy_under_priors(logits, labels, class_counts_K),
    }


def reliability_curve(
    logits_NK: ArrayLike, labels_N: ArrayLike, bins: int = 15
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Mean confidence, accuracy (both in percent; NaN in empty bins) and images of each equal bin of confidence.

    >>> import fsgl
    >>> logits, labels = [[2.0, 0.0], [0.5, 1.0], [3.0, 1.0]], [0, 1, 1]
    >>> confidence, accuracy, images = fsgl.reliability_curve(logits, labels, bins=2)
    >>> images.tolist(), round(float(accuracy[1]), 1)
    ([0, 3], 66.7)
    """
    logits, labels = np.asarray(logits_NK), np.asarray(labels_N)
    confidence = confidences(logits)
    right = logits.argmax(axis=1) == labels
    bin_of = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence, side="left")  # as the calibration error's
    count = np.bincount(bin_of, minlength=bins)
    known = np.where(count > 0, count, np.nan)
    means = [100 * np.bincount(bin_of, weights=values, minlength=bins) / known for values in (confidence, right)]
    return means[0], means[1], count


def risk_coverage(logits_NK: ArrayLike, labels_N: ArrayLike) -> NDArray[np.float64]:
    """Share of wrong answers, in percent, among the n images that the network is surest of, for n = 1 to ``N``.

    Surest: by the largest probability (El-Yaniv and Wiener, JMLR 2010; Geifman and El-Yaniv, NeurIPS 2017). Images that
    it is equally sure of share their mistakes evenly, so that their order does not count.

    >>> import fsgl
    >>> logits, labels = [[2.0, 0.0], [0.5, 1.0], [3.0, 1.0]], [0, 1, 1]
    >>> [round(risk, 1) for risk in fsgl.risk_coverage(logits, labels).tolist()]
    [50.0, 50.0, 33.3]
    """
    logits, labels = np.asarray(logits_NK), np.asarray(labels_N)
    confidence = confidences(logits)
    wrong = (logits.argmax(axis=1) != labels).astype(np.float64)
    order = np.argsort(-confidence, kind="stable")
    _, start, size = np.unique(-confidence[order], return_index=True, return_counts=True)
    shared = np.repeat(np.add.reduceat(wrong[order], start) / size, size)
    return np.asarray(100 * np.cumsum(shared) / np.arange(1, len(labels) + 1))


def accuracy_under_priors(
    logits_NK: ArrayLike, labels_N: ArrayLike, class_counts_K: ArrayLike, factors: Sequence[float] = FACTORS
) -> dict[str, float]:
    """Accuracy where the test classes are as long-tailed as training ("forward-50"), even, or the other way round.

    After SADE (Zhang et al., NeurIPS 2022, section 5.3): prior_k ~ f^(-rank_k / (K - 1)), rank 0 the most frequent
    class of training (ties by index), reversed for "backward". Departure: the classes' accuracies are averaged with
    these weights, which is the expectation over the test sets that SADE draws, without a draw. Classes without test
    images are left out.

    >>> import fsgl
    >>> logits, labels = [[2.0, 0.0], [0.5, 1.0], [3.0, 1.0]], [0, 1, 1]
    >>> found = fsgl.accuracy_under_priors(logits, labels, [500, 10], factors=[10])
    >>> {name: round(value, 1) for name, value in found.items()}
    {'forward-10': 95.5, 'uniform': 75.0, 'backward-10': 54.5}
    """
    counts = np.asarray(class_counts_K)
    accuracy = np.array([np.nan if value is None else value for value in per_class_accuracy(logits_NK, labels_N)])
    known = ~np.isnan(accuracy)
    rank = np.empty(len(counts))
    rank[class_order(counts)] = np.arange(len(counts))
    place = rank / max(len(counts) - 1, 1)

    def under(weights: NDArray[np.float64]) -> float:
        return float(np.average(accuracy[known], weights=weights[known]))

    forward = {f"forward-{factor:g}": under(factor**-place) for factor in factors}
    backward = {f"backward-{factor:g}": under(factor ** (place - 1)) for factor in reversed(factors)}
    return {**forward, "uniform": under(np.ones(len(counts))), **backward}
