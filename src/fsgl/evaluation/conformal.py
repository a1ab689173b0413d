"""Sets of classes that hold the true one as often as promised: split-conformal prediction for long tails.

    C(x) = {k : s(x, k) <= q_k}                   s: how badly class k fits the image; q: from calibration images
    softmax      s = 1 - p(k | x)                 the smallest sets on average      Sadinle et al., JASA 2019
    prevalence   s = -p(k | x) / p(k)             the smallest for the mean over classes; "prevalence-adjusted softmax"
                                                  Ding, Fermanian and Salmon 2025, arXiv 2507.06867
    marginal     q_k = q, the ceil((n + 1) c)-th smallest of the n calibration scores
    by class     q_k, the same of class k's own calibration images
    between      q_k = (1 - b) q_marginal + b q_class                               the same paper's Interp-Q

p(k | x) and p(k) hold for the class frequencies of the calibration images, which are those of training.

What is promised, for images like the calibration images: marginal, that a share c of the sets holds the true class; by
class, that of each class. Between, at least 2c - 1, and about c in practice: a set misses only where one of the two
misses. A class of too few calibration images for a threshold of its own (fewer than c / (1 - c)) shares one with all
other such classes, for which the promise then holds together; where these are too few together, it has the marginal
one, and nothing is promised of it. (Departure: the paper gives such a class the largest score there is, which puts it
into every set.)

A set is never empty: where no class fits, the one that fits best is in it, which can only raise the coverage.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fsgl.evaluation.metrics import shot_groups

SCORES = ("prevalence", "softmax")


def conformal_scores(probabilities_NK: ArrayLike, prior_K: ArrayLike, score: str = "prevalence") -> NDArray[np.float64]:
    """How badly each class fits each image, ``N x K``; lower fits better.

    probabilities: of each class, under the class frequencies ``prior`` (positive weights, of any sum).  score: of
    ``SCORES``. Raises ValueError for another one.

    >>> import fsgl
    >>> fsgl.conformal_scores([[0.75, 0.25]], prior_K=[9, 1]).round(3).tolist()  # the rare class fits better
    [[-0.833, -2.5]]
    """
    shares, prior = np.asarray(probabilities_NK, dtype=np.float64), np.asarray(prior_K, dtype=np.float64)
    if score == "softmax":
        return np.asarray(1 - shares)
    if score == "prevalence":
        return np.asarray(-shares / (prior / prior.sum()))
    raise ValueError(f"the score is one of {', '.join(SCORES)}, not '{score}'")


def fewest_images(coverage: float) -> int:
    """Calibration images below which no threshold promises this coverage.

    >>> import fsgl
    >>> fsgl.fewest_images(0.9)
    9
    """
    return math.ceil(_exact(coverage) / (1 - _exact(coverage)))


def conformal_quantile(scores_N: ArrayLike, coverage: float) -> float:
    """The ceil((n + 1) coverage)-th smallest score; infinity where that is more than n.

    One more score, exchangeable with these, is at most that with a probability of at least ``coverage`` (and, without
    ties, of at most coverage + 1 / (n + 1)).

    >>> import fsgl
    >>> fsgl.conformal_quantile(range(1, 20), 0.9), fsgl.conformal_quantile(range(8), 0.9)
    (18.0, inf)
    """
    scores = np.sort(np.asarray(scores_N, dtype=np.float64))
    place = math.ceil((len(scores) + 1) * _exact(coverage))
    return float(scores[place - 1]) if place <= len(scores) else math.inf


def _exact(coverage: float) -> Fraction:
    """As it was written: 0.9 of 10 images are 9, and not a little more."""
    return Fraction(repr(float(coverage)))


@dataclass(frozen=True)
class Thresholds:
    """By which a class is in a set.  threshold_K: of the score.  coverage: asked for.  shared_K: classes of too few
    calibration images for a threshold of their own.  unpromised_K: classes of which nothing is promised: without a
    calibration image; and by class those, too, that have the marginal threshold.  images_K: calibration images."""

    threshold_K: NDArray[np.float64]
    coverage: float
    by_class: float
    shared_K: NDArray[np.bool_]
    unpromised_K: NDArray[np.bool_]
    images_K: NDArray[np.int64]

    def sets(self, scores_NK: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Which classes are in the set of each image, ``N x K``; never none."""
        members: NDArray[np.bool_] = scores_NK <= self.threshold_K
        empty = ~members.any(axis=1)
        members[empty, scores_NK[empty].argmin(axis=1)] = True
        return members


def conformal_thresholds(
    scores_NK: ArrayLike, labels_N: ArrayLike, coverage: float = 0.9, by_class: float = 0.0
) -> Thresholds:
    """The threshold of each class, from held-out labelled images.

    scores: as of ``conformal_scores``.  coverage: share of sets that are to hold the true class, in (0, 1).  by_class:
    0 over all images together, 1 for each class, and between. Raises ValueError outside of these ranges, and for fewer
    images than ``fewest_images``.

    >>> import fsgl, numpy as np
    >>> random = np.random.default_rng(0)
    >>> labels = random.integers(0, 2, 100)
    >>> scores = random.random((100, 2)) + (np.arange(2) != labels[:, None])  # the true class's score is below 1
    >>> fsgl.conformal_thresholds(scores, labels, 0.9).threshold_K.round(2).tolist()
    [0.93, 0.93]
    """
    scores, labels = np.asarray(scores_NK, dtype=np.float64), np.asarray(labels_N)
    if not 0 < coverage < 1:
        raise ValueError(f"coverage is above 0 and below 1, not {coverage}")
    if not 0 <= by_class <= 1:
        raise ValueError(f"by_class is from 0 to 1, not {by_class}")
    fewest, classes = fewest_images(coverage), scores.shape[1]
    if len(labels) < fewest:
        raise ValueError(f"coverage {coverage:g} needs {fewest} calibration images or more, not {len(labels)}")
    own = scores[np.arange(len(labels)), labels]
    images = np.bincount(labels, minlength=classes)
    marginal = conformal_quantile(own, coverage)
    threshold, shared = np.full(classes, marginal), np.zeros(classes, dtype=bool)
    unpromised = images == 0
    if by_class > 0:
        shared = images < fewest
        pool = own[shared[labels]]
        for k in np.flatnonzero(~shared):
            threshold[k] = conformal_quantile(own[labels == k], coverage)
        if len(pool) >= fewest:
            threshold[shared] = conformal_quantile(pool, coverage)
        else:
            unpromised = shared
        threshold = (1 - by_class) * marginal + by_class * threshold
    return Thresholds(threshold, coverage, by_class, shared, unpromised, images)


def set_figures(
    members_NK: ArrayLike, labels_N: ArrayLike, class_counts_K: ArrayLike, *, many: int = 100, few: int = 20
) -> dict[str, Any]:
    """Coverage, in percent, and mean size of sets: of all images, in the mean over classes, and by group.

    Returns ``{"all": {"coverage", "size", "n"}, "classes": ..., "many": ..., "medium": ..., "few": ...}``; a group's
    images are those of its true classes, and None stands where there are none.

    >>> import fsgl
    >>> found = fsgl.set_figures([[True, False], [True, True], [True, False]], [0, 1, 1], [500, 10])
    >>> round(found["all"]["coverage"], 1), found["classes"]["coverage"], found["few"]
    (66.7, 75.0, {'coverage': 50.0, 'size': 1.5, 'n': 2})
    """
    members, labels = np.asarray(members_NK, dtype=bool), np.asarray(labels_N)
    held, size = 100.0 * members[np.arange(len(labels)), labels], members.sum(axis=1)

    def of(rows: NDArray[np.bool_]) -> dict[str, Any]:
        if not rows.any():
            return {"coverage": None, "size": None, "n": 0}
        return {"coverage": float(held[rows].mean()), "size": float(size[rows].mean()), "n": int(rows.sum())}

    by_class = [of(labels == k) for k in np.unique(labels)]
    mean = {name: float(np.mean([each[name] for each in by_class])) for name in ("coverage", "size")}
    groups = shot_groups(class_counts_K, many=many, few=few)
    return {
        "all": of(np.ones(len(labels), dtype=bool)),
        "classes": {**mean, "n": len(labels)},
        **{name: of(belongs[labels]) for name, belongs in groups.items()},
    }
