"""GLMC and, with feature scaling, FSGL.

Sources: Global and Local Mixture Consistency Cumulative Learning (Du et al., CVPR 2023); Feature
Scaling Guided Learning (Wang, You, Zheng, 2024). METHOD section 6:

    L_conventional = CE(fc(h'_g), y)    + CE(fc(h'_l), y)
    L_rebalanced   = CE(fc_cb(h'_g), v) + CE(fc_cb(h'_l), v)            v = w * y
    L_consistency  = -cos(p_g, sg(z_l)) - cos(p_l, sg(z_g))
    alpha(t)       = 1 - (t / T)^2
    L              = alpha L_conventional + (1 - alpha) L_rebalanced + c L_consistency

FSGL is this with ``feature_scaling.gamma > 0`` and SAM; there is no class of that name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from fsgl.errors import UserError, unknown
from fsgl.losses.class_weights import power_class_weights
from fsgl.losses.consistency import consistency
from fsgl.losses.soft_target import soft_cross_entropy
from fsgl.mix import box_lambda, cutmix, cutmix_box, draw_lambda, mixup, soft_labels
from fsgl.models.assemble import FourHeadNet, build_four_heads
from fsgl.models.feature_scaling import FeatureScalingSpec
from fsgl.types import Batch, Losses, Mixed

CUTMIX_LABELS = ("area", "lambda")
ASCENTS = ("classification", "total")


@dataclass(frozen=True)
class Glmc:
    """Settings of GLMC and FSGL.

    beta: of the mixture, lambda ~ Beta(beta, beta).
    resample_weighting: q of the rebalanced stream; 0 uniform, 1 class-balanced.
    label_weighting: p of the class weights w_k ~ n_k^-p.
    contrast_weight: c, the weight of the consistency term.
    feature_scaling: the FSM; gamma 0 is GLMC.
    cutmix_label: "area", lambda recomputed from the pasted area; "lambda", as the release does.
    ascent: what SAM climbs: "classification", the loss without consistency (the release); "total".
    """

    beta: float = 0.5
    resample_weighting: float = 0.0
    label_weighting: float = 1.2
    contrast_weight: float = 4.0
    feature_scaling: FeatureScalingSpec = field(default_factory=FeatureScalingSpec)
    cutmix_label: str = "area"
    ascent: str = "classification"

    name: ClassVar[str] = "glmc"
    views: ClassVar[int] = 2
    needs_two_streams: ClassVar[bool] = True
    passes: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if not 0 < self.beta < float("inf"):
            raise UserError(f"beta must be positive, not {self.beta}")
        if self.cutmix_label not in CUTMIX_LABELS:
            raise unknown("cutmix_label", self.cutmix_label, CUTMIX_LABELS)
        if self.ascent not in ASCENTS:
            raise unknown("ascent", self.ascent, ASCENTS)

    def build(self, backbone: str, in_channels: int, class_counts: Tensor) -> nn.Module:
        weights = power_class_weights(class_counts, self.label_weighting)
        return build_four_heads(backbone, in_channels, class_counts, self.feature_scaling, weights)

    def mix(self, batch: Batch, num_classes: int, generator: torch.Generator) -> Mixed:
        original, rebalanced = batch.original, batch.rebalanced
        if rebalanced is None:
            raise ValueError("GLMC mixes two streams, and this batch has only the original one")
        (first_o, second_o), (first_r, second_r) = original.views, rebalanced.views
        height, width = second_o.shape[-2:]
        lam = draw_lambda(self.beta, generator)
        box = cutmix_box(height, width, lam, generator)
        lam_local = box_lambda(box, height, width) if self.cutmix_label == "area" else lam

        def label(share: float) -> Tensor:
            return soft_labels(original.labels, rebalanced.labels, share, num_classes, first_o.dtype)

        return Mixed(
            images=(mixup(first_o, first_r, lam), cutmix(second_o, second_r, box)),
            targets=(label(lam), label(lam_local)),
        )

    def loss(self, model: FourHeadNet, mixed: Mixed, progress: float) -> Losses:
        target_g, target_l = mixed.targets
        out_g = model(mixed.images[0], target_g)
        out_l = model(mixed.images[1], target_l)
        weights = model.class_weights_K
        conventional = soft_cross_entropy(out_g.conventional_BK, target_g) + soft_cross_entropy(
            out_l.conventional_BK, target_l
        )
        rebalanced = soft_cross_entropy(out_g.rebalanced_BK, weights * target_g) + soft_cross_entropy(
            out_l.rebalanced_BK, weights * target_l
        )
        agreement = consistency(out_g.prediction_BD, out_l.projection_BD, out_l.prediction_BD, out_g.projection_BD)
        alpha = 1 - progress**2
        classification = alpha * conventional + (1 - alpha) * rebalanced
        total = classification + self.contrast_weight * agreement
        terms = {"conventional": conventional, "rebalanced": rebalanced, "consistency": agreement}
        return Losses(
            total=total,
            ascent=classification if self.ascent == "classification" else None,
            terms={name: term.detach() for name, term in terms.items()},
        )

    def predict(self, model: FourHeadNet, images_BCHW: Tensor) -> Tensor:
        return model.predict(images_BCHW)
