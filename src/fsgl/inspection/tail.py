"""How long the tail is: figures of the number of training images of each class."""

from __future__ import annotations

from typing import Any

import numpy as np

from fsgl.evaluation.classes import class_order
from fsgl.evaluation.metrics import shot_groups

MANY, FEW = 100, 20  # training images: many-shot has more, few-shot at most so many


def gini(counts_K: np.ndarray) -> float:
    """Gini coefficient: 0 where all classes are of one size, towards 1 where one class has everything.

    The mean absolute difference of two classes' sizes over twice their mean, by the sorted sizes.
    """
    sizes = np.sort(np.asarray(counts_K, dtype=np.float64))
    if sizes.sum() == 0:
        return 0.0
    ranks = np.arange(1, len(sizes) + 1)
    return float(((2 * ranks - len(sizes) - 1) * sizes).sum() / (len(sizes) * sizes.sum()))


def describe_tail(counts_K: np.ndarray, many: int = MANY, few: int = FEW) -> dict[str, Any]:
    """Imbalance factor (largest over smallest class that has images), Gini, and the sizes of the three groups.

    fixed: many-shot is n > many, few-shot n <= few.  thirds: of the classes, ranked by size; ties by class index.
    """
    counts = np.asarray(counts_K)
    present = counts[counts > 0]
    groups = shot_groups(counts, many=many, few=few)
    ranked = np.array_split(class_order(counts), 3)
    return {
        "classes": len(counts),
        "images": int(counts.sum()),
        "largest": int(counts.max()),
        "median": float(np.median(counts)),
        "smallest": int(counts.min()),
        "imbalance_factor": float(present.max() / present.min()) if len(present) else None,
        "gini": gini(counts),
        "fixed": {
            name: {"classes": int(mask.sum()), "images": int(counts[mask].sum())} for name, mask in groups.items()
        },
        "thirds": {
            name: {
                "classes": len(of),
                "images": int(counts[of].sum()),
                "smallest": int(counts[of[-1]]) if len(of) else 0,
            }
            for name, of in zip(("many", "medium", "few"), ranked, strict=True)
        },
    }
