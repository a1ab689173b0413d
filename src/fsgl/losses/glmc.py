"""The three losses of GLMC on the heads' outputs for both mixtures (Du et al., CVPR 2023; METHOD section 6).

L_conventional = CE(fc(h_g), y_g)    + CE(fc(h_l), y_l)
L_rebalanced   = CE(fc_cb(h_g), v_g) + CE(fc_cb(h_l), v_l)          v = w * y
L_consistency  = -cos(p_g, sg(z_l)) - cos(p_l, sg(z_g))
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from fsgl.losses.consistency import consistency
from fsgl.losses.soft_target import soft_cross_entropy


class GlmcLosses(NamedTuple):
    """Scalars with their graph."""

    conventional: Tensor
    rebalanced: Tensor
    consistency: Tensor

    def classification(self, progress: float) -> Tensor:
        """Cumulative learning: alpha conventional + (1 - alpha) rebalanced, alpha = 1 - progress^2.

        progress: epoch / epochs, in [0, 1]: from the conventional classifier to the rebalanced one.
        """
        alpha = 1 - progress**2
        return alpha * self.conventional + (1 - alpha) * self.rebalanced


def glmc_losses(
    outputs_g: tuple[Tensor, Tensor, Tensor, Tensor],
    outputs_l: tuple[Tensor, Tensor, Tensor, Tensor],
    target_g: Tensor,
    target_l: Tensor,
    class_weights_K: Tensor,
    adjustment_K: Tensor | float = 0.0,
) -> GlmcLosses:
    """The losses of one batch from what the heads say of both mixtures.

    outputs: (fc ``B x K``, fc_cb ``B x K``, z ``B x D``, p ``B x D``), as ``FourHeads`` returns them.
    targets: soft labels ``B x K``.  class_weights_K: w, see ``power_class_weights``.
    adjustment_K: added to the logits of fc_cb: the log prior, with weights of 1, is Balanced Softmax.

    >>> import fsgl, torch
    >>> heads = fsgl.FourHeads(feature_dim=8, num_classes=3, width=4)
    >>> target = fsgl.one_hot(torch.tensor([0, 2]), 3)
    >>> views = [heads(torch.rand(2, 8)) for _ in range(2)]
    >>> losses = fsgl.glmc_losses(*views, target, target, fsgl.power_class_weights([9, 3, 1], 1.0).float())
    >>> (losses.classification(progress=0.5) + 4 * losses.consistency).backward()
    """
    (fc_g, fc_cb_g, z_g, p_g), (fc_l, fc_cb_l, z_l, p_l) = outputs_g, outputs_l
    weights = class_weights_K
    fc_cb_g, fc_cb_l = fc_cb_g + adjustment_K, fc_cb_l + adjustment_K
    return GlmcLosses(
        conventional=soft_cross_entropy(fc_g, target_g) + soft_cross_entropy(fc_l, target_l),
        rebalanced=soft_cross_entropy(fc_cb_g, weights * target_g) + soft_cross_entropy(fc_cb_l, weights * target_l),
        consistency=consistency(p_g, z_l, p_l, z_g),
    )
