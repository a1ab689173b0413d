"""How good a classifier is, overall and on many-, medium- and few-shot classes, from its logits alone.

Everything here is a pure function of (logits, labels, training class counts) in NumPy, so that saved
predictions give every figure again without the model. Formulas, sources and conventions: docs/metrics.md.

Accuracies and calibration errors are in percent. What cannot be measured (a group without classes, a
class without test images) is ``None``, never NaN and never 0. Logits and labels may be arrays, nested
lists or PyTorch tensors on any device; the answers are plain Python numbers.

Ties: of equal logits the one of the lower class index comes first, for top-1 and top-k alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fsgl.evaluation.classes import group_of

GROUPS = ("many", "medium", "few")

# Scores of a large test set (24,426 x 8,142 for iNaturalist 2018) are 200 M numbers: temporaries are
# made for this many of them at a time, so that measuring needs little more memory than the logits.
_BLOCK = 1 << 22


def evaluate_predictions(
    logits_NK: ArrayLike,
    labels_N: ArrayLike,
    class_counts_K: ArrayLike,
    *,
    many: int = 100,
    few: int = 20,
    ece_bins: int = 15,
) -> dict[str, Any]:
    """Every figure of one evaluation, ready for ``json.dumps``.

    logits_NK: scores ``N x K``, any scale; only ECE depends on more than their order.
    labels_N: true classes, integers in ``[0, K)``.
    class_counts_K: training images of each class, which alone decide the group a class is in.
    many, few: a class is many-shot with more than ``many`` training images, few-shot with at most ``few``.
    ece_bins: equal-width bins of the calibration error.

    Returns a dict with

    - ``top1``, ``top5``: share of images whose class is first, or among the first five; ``top5`` is None
      for K <= 5, where it would be 100 whatever the model does.
    - ``balanced``: mean of the per-class accuracies over the classes that have test images.
    - ``many``, ``medium``, ``few``: the same mean over the classes of each group; None for a group
      without classes, or none of whose classes has test images.
    - ``per_class``: K accuracies in class order, None for a class without test images.
    - ``ece``: expected calibration error (``expected_calibration_error``).
    - ``groups``: ``{"boundaries": [many, few], "classes": {"many": ..., "medium": ..., "few": ...}, "tested":
      {...}}``, the number of classes in each group, and of those that have test images.
    - ``n``: N.

    Raises ValueError for no images, shapes that do not fit, labels out of range, negative counts,
    ``many < few``, or logits that are NaN or infinite (naming the row).

    >>> import fsgl
    >>> logits, labels = [[2.0, 0.0], [0.5, 1.0], [3.0, 1.0]], [0, 1, 1]
    >>> figures = fsgl.evaluate_predictions(logits, labels, class_counts_K=[500, 10])
    >>> figures["balanced"], figures["many"], figures["few"], figures["medium"]
    (75.0, 100.0, 50.0, None)
    """
    logits, labels = _checked(logits_NK, labels_N)
    n_images, n_classes = logits.shape
    members = shot_groups(class_counts_K, many=many, few=few)
    if len(members["many"]) != n_classes:
        raise ValueError(f"{n_classes} columns of logits, but class_counts has {len(members['many'])} entries")

    predicted = logits.argmax(axis=1)
    accuracy_K = _per_class(predicted, labels, n_classes)
    metrics: dict[str, Any] = {
        "top1": 100.0 * int((predicted == labels).sum()) / n_images,
        "top5": _top_k(logits, labels, 5) if n_classes > 5 else None,
        "balanced": _mean(accuracy_K),
    }
    metrics |= {group: _mean(accuracy_K[members[group]]) for group in GROUPS}
    metrics |= {
        "per_class": [None if np.isnan(accuracy) else float(accuracy) for accuracy in accuracy_K],
        "ece": _calibration_error(logits, labels, ece_bins),
        "groups": {
            "boundaries": [int(many), int(few)],
            "classes": {group: int(members[group].sum()) for group in GROUPS},
            "tested": {group: int((members[group] & ~np.isnan(accuracy_K)).sum()) for group in GROUPS},
        },
        "n": n_images,
    }
    return metrics


def shot_groups(class_counts_K: ArrayLike, *, many: int = 100, few: int = 20) -> dict[str, NDArray[np.bool_]]:
    """Which classes are many-, medium- and few-shot: three masks of length K that part the classes.

    many: n_k > ``many``; medium: ``few`` < n_k <= ``many``; few: n_k <= ``few``, 0 included. The boundaries
    are those of Liu et al. (2019, Large-Scale Long-Tailed Recognition in an Open World); a class of exactly
    20 images is few-shot here, as in the method's release, and medium-shot where few means n_k < 20
    (``few=19`` gives that reading).

    Raises ValueError for counts that are not a vector of numbers >= 0, or ``many < few``.

    >>> import fsgl
    >>> {name: members.tolist() for name, members in fsgl.shot_groups([500, 50, 5]).items()}
    {'many': [True, False, False], 'medium': [False, True, False], 'few': [False, False, True]}
    """
    counts = _array(class_counts_K)
    if counts.ndim != 1 or not np.all(counts >= 0):
        raise ValueError(f"class_counts must be a vector of numbers >= 0, got shape {counts.shape}: {counts}")
    if many < few:
        raise ValueError(f"boundaries of the groups cross: many > {many}, few <= {few}")
    groups = [group_of(count, many, few) for count in counts.tolist()]
    return {name: np.array([group == name for group in groups], dtype=bool) for name in GROUPS}


def top_k_accuracy(logits_NK: ArrayLike, labels_N: ArrayLike, k: int = 1) -> float:
    """Share of images, in percent, whose class is among the ``k`` highest logits; 100 for k >= K.

    A class whose logit ties with the label's comes before it if its index is lower.
    Raises ValueError as ``evaluate_predictions`` does, and for k < 1.

    >>> import fsgl
    >>> fsgl.top_k_accuracy([[3, 2, 1], [3, 2, 1]], [1, 2], k=2)
    50.0
    """
    if k < 1:
        raise ValueError(f"top-k needs k >= 1, got {k}")
    return _top_k(*_checked(logits_NK, labels_N), k)


def per_class_accuracy(logits_NK: ArrayLike, labels_N: ArrayLike) -> list[float | None]:
    """Accuracy (recall) of each of the K classes in percent; None for a class without images.

    >>> import fsgl
    >>> logits, labels = [[2.0, 0.0], [0.5, 1.0], [3.0, 1.0]], [0, 1, 1]
    >>> fsgl.per_class_accuracy(logits, labels)
    [100.0, 50.0]
    """
    logits, labels = _checked(logits_NK, labels_N)
    accuracy_K = _per_class(logits.argmax(axis=1), labels, logits.shape[1])
    return [None if np.isnan(accuracy) else float(accuracy) for accuracy in accuracy_K]


def expected_calibration_error(logits_NK: ArrayLike, labels_N: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error in percent (Guo et al. 2017, On Calibration of Modern Neural Networks, eq. 3).

    Images are put by their confidence, the largest softmax probability, into ``bins`` equal intervals
    ((m-1)/bins, m/bins], and ECE = sum_m |B_m| / N * |accuracy(B_m) - mean confidence(B_m)|.
    Raises ValueError as ``evaluate_predictions`` does, and for bins < 1.

    >>> import fsgl
    >>> round(fsgl.expected_calibration_error([[9.0, 0.0], [9.0, 0.0]], [0, 1]), 1)  # sure, and half right
    50.0
    """
    return _calibration_error(*_checked(logits_NK, labels_N), bins)


def confusion_matrix(logits_NK: ArrayLike, labels_N: ArrayLike, K: int) -> NDArray[np.int64]:
    """Counts of images, int64 ``K x K``: row = true class, column = predicted class.

    Raises ValueError as ``evaluate_predictions`` does, and where the logits have not K columns.

    >>> import fsgl
    >>> logits, labels = [[2.0, 0.0], [0.5, 1.0], [3.0, 1.0]], [0, 1, 1]
    >>> fsgl.confusion_matrix(logits, labels, 2).tolist()
    [[1, 0], [1, 1]]
    """
    logits, labels = _checked(logits_NK, labels_N)
    if logits.shape[1] != K:
        raise ValueError(f"a {K} x {K} confusion matrix was asked of logits with {logits.shape[1]} columns")
    return np.bincount(labels * K + logits.argmax(axis=1), minlength=K * K).reshape(K, K).astype(np.int64, copy=False)


def softmax(logits: ArrayLike) -> NDArray[np.float64]:
    """Probabilities along the last axis in float64, without overflow for logits of any finite size.

    Raises ValueError where a logit is NaN or infinite.
    """
    scores = _array(logits)
    if not np.isfinite(scores).all():
        raise ValueError("softmax of logits that are NaN or infinite")
    scores = scores.astype(np.float64)
    with np.errstate(over="ignore", under="ignore"):  # the difference of two huge logits: exp(-inf) = 0 is right
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores


def confidences(logits_NK: ArrayLike) -> NDArray[np.float64]:
    """The largest softmax probability of each image, ``N``. Raises ValueError where a logit is NaN or infinite."""
    logits = _array(logits_NK)
    return np.concatenate([softmax(logits[rows]).max(axis=1) for rows in _blocks(logits)])


def _array(values: Any) -> NDArray[Any]:
    if hasattr(values, "detach"):  # a tensor, recognised without importing torch
        values = values.detach().cpu()
        if str(values.dtype) == "torch.bfloat16":  # which NumPy does not have
            values = values.float()
    return np.asarray(values)


def _checked(logits_NK: ArrayLike, labels_N: ArrayLike) -> tuple[NDArray[Any], NDArray[np.int64]]:
    logits, labels = _array(logits_NK), _array(labels_N)
    if logits.ndim != 2 or 0 in logits.shape:
        raise ValueError(f"logits must be images x classes, at least 1 x 1, got shape {logits.shape}")
    if labels.shape != logits.shape[:1]:
        raise ValueError(f"logits of {len(logits)} images, but labels of shape {labels.shape}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers, got {labels.dtype}")
    n_classes = logits.shape[1]
    outside = np.flatnonzero((labels < 0) | (labels >= n_classes))
    if outside.size:
        row = outside[0]
        raise ValueError(f"label {labels[row]} in row {row} is outside the {n_classes} classes 0 to {n_classes - 1}")
    for rows in _blocks(logits):
        finite = np.isfinite(logits[rows]).all(axis=1)
        if not finite.all():
            row = rows.start + int(finite.argmin())
            column = int(np.isfinite(logits[row]).argmin())
            raise ValueError(f"logits of row {row} are not finite: class {column} has {logits[row, column]}")
    return logits, labels.astype(np.int64, copy=False)


def _blocks(logits: NDArray[Any]) -> Iterator[slice]:
    n_rows = max(1, _BLOCK // logits.shape[1])
    return (slice(start, start + n_rows) for start in range(0, len(logits), n_rows))


def _top_k(logits: NDArray[Any], labels: NDArray[np.int64], k: int) -> float:
    index_K = np.arange(logits.shape[1])
    hits = 0
    for rows in _blocks(logits):
        scores, own = logits[rows], labels[rows, None]
        own_score = np.take_along_axis(scores, own, axis=1)
        before = (scores > own_score) | ((scores == own_score) & (index_K < own))
        hits += int((before.sum(axis=1) < k).sum())
    return 100.0 * hits / len(logits)


def _per_class(predicted: NDArray[np.intp], labels: NDArray[np.int64], n_classes: int) -> NDArray[np.float64]:
    """Percent right of each class; NaN, here inside only, marks a class without images."""
    right = np.bincount(labels[predicted == labels], minlength=n_classes)
    total = np.bincount(labels, minlength=n_classes)
    return np.where(total > 0, 100.0 * right / np.maximum(total, 1), np.nan)


def _mean(accuracies: NDArray[np.float64]) -> float | None:
    known = accuracies[~np.isnan(accuracies)]
    return float(known.mean()) if known.size else None


def _calibration_error(logits: NDArray[Any], labels: NDArray[np.int64], bins: int) -> float:
    if bins < 1:
        raise ValueError(f"calibration error needs at least one bin, got {bins}")
    confidence = confidences(logits)
    right = logits.argmax(axis=1) == labels
    # "left": a confidence on an inner edge belongs to the bin below it, as in the paper's (a, b]
    bin_of = np.searchsorted(np.linspace(0.0, 1.0, bins + 1)[1:-1], confidence, side="left")
    gap = np.bincount(bin_of, weights=right - confidence, minlength=bins)
    return float(100.0 * np.abs(gap).sum() / len(labels))
