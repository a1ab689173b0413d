"""Consistency of the two mixtures of an image (GLMC, eq. 5, after SimSiam, Chen and He, CVPR 2021).

L = - cos(p_g, sg(z_l)) - cos(p_l, sg(z_g))          mean over the batch
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cosine_similarity


def consistency(prediction_g: Tensor, projection_l: Tensor, prediction_l: Tensor, projection_g: Tensor) -> Tensor:
    """Negative cosine similarity of each view's prediction to the other's projection, all ``B x D``.

    Returns a scalar in [-2, 2]. The projections are detached: without the stop-gradient both views
    collapse to a constant (SimSiam, section 4.1).

    >>> import fsgl, torch
    >>> z, p = torch.eye(2), torch.eye(2)
    >>> fsgl.consistency(p, z, p, z).item()  # both views agree entirely
    -2.0
    """
    global_to_local = cosine_similarity(prediction_g, projection_l.detach(), dim=1)
    local_to_global = cosine_similarity(prediction_l, projection_g.detach(), dim=1)
    return -(global_to_local + local_to_global).mean()
