"""Folds of a training set of which each image is validated once: also those of classes of two."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from fsgl.data.draw.grouped import SINGLE, staying
from fsgl.data.draw.imbalance import class_counts
from fsgl.errors import UserError
from fsgl.randomness import derive_seed

NEVER = -1  # the fold of an image that is never set aside


def validation_folds(
    labels: np.ndarray, count: int, seed: int, num_classes: int, groups: np.ndarray | None = None,
    stays: Collection[int] = (),
) -> np.ndarray:  # fmt: skip
    """The fold of each image, ``N`` int64 in [0, count), in which it is set aside; ``NEVER`` where it always trains.

    Each class is dealt out evenly: a class of n images has floor(n / count) or one more in each fold, so that of a
    class of two either is set aside while the other trains. The only image of a class is never set aside, nor is the
    only group: nothing would be known of the class then.

    labels: ``N`` integers.  count: of folds, 2 or more.  seed: which image falls where.
    groups: ``N`` integers; images of one group share a fold, -1 for an image of none. Large groups are dealt first,
    each to the fold that has the fewest images of its classes; single images then even out what groups left uneven.
    stays: positions that are never set aside, such as of copies of test images, and with each its group.
    Raises UserError for fewer than 2 folds.

    >>> import fsgl, numpy as np
    >>> fsgl.validation_folds(np.array([0, 0, 0, 0, 1, 1, 2]), count=2, seed=0, num_classes=3)
    array([ 1,  1,  0,  0,  0,  1, -1])
    """
    if count < 2:
        raise UserError(f"folds must be 2 or more, not {count}")
    labels = np.asarray(labels)
    class_counts(labels, num_classes)  # of a label that there is not, it says so
    groups = np.full(len(labels), SINGLE) if groups is None else np.asarray(groups)
    dealt = ~staying(len(labels), stays, groups)
    random = np.random.default_rng(derive_seed(seed, "folds"))
    fold = np.full(len(labels), NEVER, dtype=np.int64)
    held = np.zeros((num_classes, count), dtype=np.int64)  # images of each class in each fold
    total = np.zeros(count, dtype=np.int64)

    def deal(members: np.ndarray) -> None:
        own = np.bincount(labels[members], minlength=num_classes)
        crowded = (held * own[:, None]).sum(axis=0)
        # Of equally crowded folds the one of the fewest images, so that small classes do not all fall into the first.
        place = int(np.lexsort((random.random(count), total, crowded))[0])
        fold[members] = place
        held[:, place] += own
        total[place] += len(members)

    named = [np.flatnonzero(groups == group) for group in np.unique(groups[dealt & (groups != SINGLE)])]
    for members in sorted((named[i] for i in random.permutation(len(named))), key=len, reverse=True):
        deal(members)
    for k in range(num_classes):
        single = random.permutation(np.flatnonzero(dealt & (labels == k) & (groups == SINGLE)))
        for place in single.tolist():
            deal(np.array([place]))
    for k in range(num_classes):
        of_class = np.flatnonzero(labels == k)
        if len(of_class) and len(np.unique(fold[of_class])) == 1:
            # The whole group, other classes' images included: it stays on one side.
            within = np.isin(groups, groups[of_class][groups[of_class] != SINGLE])
            fold[within] = NEVER
            fold[of_class] = NEVER
    return fold
