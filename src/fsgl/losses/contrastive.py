"""Contrastive losses with labels, for classes of unequal size. Rows of features have length 1.

balanced      BCL (Zhu et al., CVPR 2022): a mean over classes in the denominator (class-averaging), and a centre of
              each class among the images, so that no class is missing from a batch (class-complement)
parametric    PaCo (Cui et al., ICCV 2021): a softmax over classes and images at once; the logits of
              a classifier, with the log prior, are its classes' part
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def balanced_contrastive(features_MD: Tensor, labels_M: Tensor, centres_KD: Tensor, temperature: float) -> Tensor:
    """Mean over the M features (every view of every image is one).

        s_ij = z_i . z_j / temperature           j: the other features and the centres
        L_i  = - mean_{p of class y_i, p not i} (s_ip - log sum_{j not i} exp(s_ij) / m_ij)

    m_ij: how many features and centres are of j's class, one less where that is i's own (i itself does not count).
    features, centres: rows of length 1.  labels: int64.  Returns a scalar, in nats.

    >>> import fsgl, torch
    >>> z = torch.eye(2)
    >>> round(fsgl.balanced_contrastive(z, torch.tensor([0, 1]), centres_KD=z, temperature=1.0).item(), 3)
    0.313
    """
    count, classes = len(features_MD), len(centres_KD)
    everything = torch.cat([features_MD, centres_KD])
    classes_of = torch.cat([labels_M, torch.arange(classes, device=labels_M.device)])
    similar = features_MD @ everything.T / temperature
    itself = torch.eye(count, count + classes, dtype=torch.bool, device=similar.device)
    same = (labels_M[:, None] == classes_of).logical_and(~itself)
    of_class = torch.zeros(classes, dtype=similar.dtype, device=similar.device)
    of_class = of_class.scatter_add(0, classes_of, torch.ones_like(classes_of, dtype=similar.dtype))
    sizes = of_class[classes_of] - same.to(similar.dtype)
    log_mean = torch.logsumexp((similar - sizes.log()).masked_fill(itself, float("-inf")), dim=1)
    weights = same.to(similar.dtype)
    return -((weights * (similar - log_mean[:, None])).sum(1) / weights.sum(1)).mean()


def parametric_contrastive(
    logits_BK: Tensor, features_BD: Tensor, labels_B: Tensor, others_MD: Tensor, labels_M: Tensor,
    alpha: float, beta: float, gamma: float, temperature: float,
) -> Tensor:  # fmt: skip
    """Mean over the B images.

        log q_i  = log softmax of the classes' logits o_ik and the similarities z_i . z_j / temperature, those weighing
                   gamma each
        L_i      = - (beta log q_i,y + alpha sum_{j of class y_i} log q_ij) / (beta + alpha |{j of class y_i}|)

    j: the other images of the batch and ``others``; of these, what has a label below 0 is left out (an empty place of a
    queue).  logits: with the log prior added.  Returns a scalar, in nats.

    >>> import fsgl, torch
    >>> z, y, nothing = torch.eye(2), torch.tensor([0, 1]), torch.empty(0, 2)
    >>> loss = fsgl.parametric_contrastive(z, z, y, nothing, torch.empty(0).long(), 0.05, 1.0, 1.0, 0.07)
    >>> round(loss.item(), 3)
    0.551
    """
    count = len(features_BD)
    similar = features_BD @ torch.cat([features_BD, others_MD]).T / temperature
    labels = torch.cat([labels_B, labels_M])
    itself = torch.eye(count, len(labels), dtype=torch.bool, device=similar.device)
    left_out = itself | (labels < 0)
    contrasted = (similar + math.log(gamma)).masked_fill(left_out, float("-inf"))
    shown = torch.cat([logits_BK, contrasted], dim=1)
    log_sum = torch.logsumexp(shown, dim=1, keepdim=True)
    same = ((labels_B[:, None] == labels) & ~left_out).to(similar.dtype)
    own = logits_BK.gather(1, labels_B[:, None])
    positive = beta * (own - log_sum)[:, 0] + alpha * (same * (similar - log_sum)).sum(1)
    return -(positive / (beta + alpha * same.sum(1))).mean()
