"""Focal loss with softmax (Lin et al., ICCV 2017, eq. 4): what is classified well already counts less.

    FL(o, y) = - mean_i sum_k y_ik (1 - p_ik)^gamma log p_ik          p = softmax(o); gamma = 0 is cross-entropy

Departure: the paper's is for detection, one sigmoid a class; in recognition it is used with softmax, as here.
"""

from __future__ import annotations

import torch
from torch import Tensor


def focal_loss(logits_BK: Tensor, target_BK: Tensor, gamma: float) -> Tensor:
    """Mean over the batch; logits and soft target ``B x K``, gamma >= 0. Returns a scalar, in nats.

    >>> import fsgl, torch
    >>> logits, target = torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0]])
    >>> [round(fsgl.focal_loss(logits, target, gamma).item(), 3) for gamma in (0, 2)]
    [0.127, 0.002]
    """
    log_p = torch.log_softmax(logits_BK, dim=1)
    # Not exp(): where p rounds to 1, (1 - p)^gamma has no finite gradient for gamma < 1.
    missed = -torch.expm1(log_p)
    return -(target_BK * missed.clamp_min(torch.finfo(log_p.dtype).tiny) ** gamma * log_p).sum(dim=1).mean()
