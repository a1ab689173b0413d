"""Weights of classes by their counts (METHOD section 3).

    w_k = K n_k^-p / sum_j n_j^-p          p = 0: all ones
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def power_class_weights(class_counts: Sequence[int] | Tensor, power: float) -> Tensor:
    """Weights ``K``, float64, with mean 1, falling with the count to the given power.

    Raises ValueError where a class has no image: its weight would be infinite.
    """
    counts = torch.as_tensor(class_counts, dtype=torch.float64)
    if not bool((counts > 0).all()):
        raise ValueError(f"class {int((counts <= 0).nonzero()[0])} has no image, so it has no weight")
    # Relative to the class that weighs most, so that a large power does not overflow.
    inverse = (counts / (counts.min() if power > 0 else counts.max())) ** -power
    return len(counts) * inverse / inverse.sum()
