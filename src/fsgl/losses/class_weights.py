"""Weights of classes by their counts (METHOD section 3).

w_k = K n_k^-p / sum_j n_j^-p          p = 0: all ones
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def power_class_weights(class_counts: Sequence[int] | Tensor, power: float) -> Tensor:
    """Weights ``K``, float64, with mean 1, falling with the count to the given power.

    Raises ValueError where a class has no image: its weight would be infinite.

    >>> import fsgl
    >>> fsgl.power_class_weights([100, 25], power=0.5).tolist()
    [0.6666666666666666, 1.3333333333333333]
    """
    counts = torch.as_tensor(class_counts, dtype=torch.float64)
    if not bool((counts > 0).all()):
        raise ValueError(f"class {int((counts <= 0).nonzero()[0])} has no image, so it has no weight")
    # Relative to the class that weighs most, so that a large power does not overflow.
    inverse = (counts / (counts.min() if power > 0 else counts.max())) ** -power
    return len(counts) * inverse / inverse.sum()


def effective_number_weights(class_counts: Sequence[int] | Tensor, beta: float) -> Tensor:
    """Weights ``K``, float64, with mean 1, by the effective number of images (Cui et al., CVPR 2019, eq. 2).

        w_k ~ (1 - beta) / (1 - beta^n_k)          beta = 0: all ones; beta -> 1: ~ 1 / n_k

    Raises ValueError for beta outside [0, 1), or where a class has no image.

    >>> import fsgl
    >>> [round(w, 3) for w in fsgl.effective_number_weights([100, 10], beta=0.99).tolist()]
    [0.262, 1.738]
    """
    if not 0 <= beta < 1:
        raise ValueError(f"beta must be at least 0 and below 1, not {beta}")
    counts = torch.as_tensor(class_counts, dtype=torch.float64)
    if not bool((counts > 0).all()):
        raise ValueError(f"class {int((counts <= 0).nonzero()[0])} has no image, so it has no weight")
    # 1 - beta^n by expm1: with beta near 1 the plain difference loses its digits.
    inverse = 1 / -torch.expm1(counts * math.log(beta)) if beta > 0 else torch.ones_like(counts)
    return len(counts) * inverse / inverse.sum()
