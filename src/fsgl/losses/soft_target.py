"""Cross-entropy against a soft target (METHOD section 6).

    CE(o, y) = - mean_i sum_k y_ik log softmax(o_i)_k

The rows of y need not sum to 1: GLMC's class-weighted label w * y does not, and its total weight is meant to count.
"""

from __future__ import annotations

import torch
from torch import Tensor


def soft_cross_entropy(logits_BK: Tensor, target_BK: Tensor) -> Tensor:
    """Mean over the batch; logits and target ``B x K``, target >= 0. Returns a scalar, in nats.

    Raises ValueError where the shapes differ, as for class indices: see ``fsgl.methods.mixtures.one_hot``.

    >>> import fsgl, torch
    >>> logits, target = torch.zeros(1, 4), torch.tensor([[0.5, 0.5, 0.0, 0.0]])
    >>> round(fsgl.soft_cross_entropy(logits, target).item(), 3)  # log 4
    1.386
    """
    if logits_BK.shape != target_BK.shape:
        raise ValueError(f"logits {tuple(logits_BK.shape)} and soft target {tuple(target_BK.shape)} differ in shape")
    return -(target_BK * torch.log_softmax(logits_BK, dim=1)).sum(dim=1).mean()
