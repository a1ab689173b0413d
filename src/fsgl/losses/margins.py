"""Logits changed by class frequency before the softmax: what is trained with them on is classified without.

    logit adjustment   o_k + tau log pi_k                      Menon et al., ICLR 2021, eq. 10; tau = 1: Balanced
                                                               Softmax, Ren et al., NeurIPS 2020, eq. 4
    vector scaling     (n_k / n_max)^gamma o_k + tau log pi_k  Kini et al., NeurIPS 2021, eq. 2 and section 5
    LDAM               s (cos_k - m_k [k = y])                 Cao et al., NeurIPS 2019, eq. 10 and 13; m_k ~ n_k^(-1/4)

pi_k = n_k / N is the training prior. What depends on the counts is a vector ``K`` that is added to, or multiplied with,
logits ``B x K``.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _positive(class_counts: Tensor) -> Tensor:
    counts = torch.as_tensor(class_counts, dtype=torch.float64)
    if not bool((counts > 0).all()):
        raise ValueError(f"class {int((counts <= 0).nonzero()[0])} has no image, so it has no margin")
    return counts


def log_prior(class_counts: Tensor) -> Tensor:
    """log(n_k / N), ``K`` float64. Raises ValueError where a class has no image.

    >>> import fsgl, torch
    >>> logits = torch.zeros(1, 2)
    >>> (logits + fsgl.log_prior(torch.tensor([90, 10]))).softmax(dim=1).tolist()  # Balanced Softmax trains on these
    [[0.8999999999999999, 0.10000000000000002]]
    """
    counts = _positive(class_counts)
    return torch.log(counts / counts.sum())


def inverse_log_prior(class_counts: Tensor) -> Tensor:
    """log pi with the ranks turned round, ``K`` float64: the most frequent class has the rarest one's, and so on.

    Of equal counts the lower index is taken for the rarer, as in SADE's code. Raises ValueError where a class has none.

    >>> import fsgl, torch
    >>> [round(p, 3) for p in fsgl.inverse_log_prior(torch.tensor([90, 10])).exp().tolist()]
    [0.1, 0.9]
    """
    prior = log_prior(class_counts)
    order = torch.argsort(prior, stable=True)
    return torch.empty_like(prior).index_copy_(0, order, prior[order].flip(0))


def relative_frequency(class_counts: Tensor, power: float) -> Tensor:
    """(n_k / n_max)^power, ``K`` float64. Raises ValueError where a class has no image.

    >>> import fsgl, torch
    >>> fsgl.relative_frequency(torch.tensor([100, 25]), power=0.5).tolist()
    [1.0, 0.5]
    """
    counts = _positive(class_counts)
    return (counts / counts.max()) ** power


def ldam_margins(class_counts: Tensor, largest: float) -> Tensor:
    """Margins ``K`` float64, in units of the cosine, proportional to n_k^(-1/4); the rarest class has ``largest``.

    Raises ValueError where a class has no image.

    >>> import fsgl, torch
    >>> fsgl.ldam_margins(torch.tensor([16, 1]), largest=0.5).tolist()
    [0.25, 0.5]
    """
    counts = _positive(class_counts)
    return largest * (counts / counts.min()) ** -0.25
