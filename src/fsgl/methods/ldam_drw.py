"""LDAM with deferred re-weighting (Cao et al., NeurIPS 2019, eq. 13 and algorithm 1).

    L = sum_i w_y CE(s (cos_i - m_y [k = y]), y_i) / sum_i w_y        cos_k = <w_k / ||w_k||, h / ||h||>

m_k ~ n_k^(-1/4), the largest 0.5 (losses/margins.py); w = 1 until the last fifth of the epochs, then the effective-
number weights of Cui et al. (losses/class_weights.py). The paper's algorithm leaves the divisor open. It is the
authors' here, the sum of the batch's weights: a mean over images, most of which weigh little, would make the late steps
several times smaller. Of several processes, each divides by its own images' weights. The authors'
learning rates are ``schedule.kind=warmup-steps`` (optim/schedule.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from fsgl.losses.class_weights import effective_number_weights
from fsgl.losses.margins import ldam_margins
from fsgl.losses.soft_target import soft_cross_entropy
from fsgl.methods.one_view import OneView
from fsgl.methods.search import Range, Search
from fsgl.models.assemble import Classifier
from fsgl.models.backbone import Backbone
from fsgl.models.heads import CosineLinear
from fsgl.settings import setting


@dataclass(frozen=True)
class LdamDrw(OneView):
    """Settings of LDAM-DRW."""

    largest_margin: float = setting(0.5, "margin of the rarest class, as a cosine", at_least=0, at_most=2)
    scale: float = setting(30.0, "s, of the cosines", above=0)
    beta: float = setting(0.9999, "of the deferred class weights", at_least=0, below=1)
    deferred: float = setting(
        0.8, "share of the epochs before the weights are used; 1 is LDAM alone", at_least=0, at_most=1
    )

    name: ClassVar[str] = "ldam-drw"
    summary: ClassVar[str] = "Label-distribution-aware margins, deferred re-weighting (Cao et al. 2019)."
    origins: ClassVar[Mapping[str, str]] = {
        "largest_margin": "authors' code, cifar_train.py: max_m = 0.5",
        "scale": "authors' code, cifar_train.py: s = 30",
        "beta": "authors' code, cifar_train.py: 0.9999",
        "deferred": "authors' code, cifar_train.py: from epoch 160 of 200",
    }
    search: ClassVar[Mapping[str, Search]] = {
        "largest_margin": Range(0.1, 0.8),
        "scale": Range(10, 60, log=True),
        "deferred": Range(0.5, 0.95),
    }
    assumed_prior: ClassVar[str] = "uniform"

    def statistics(self, class_counts: Tensor) -> Mapping[str, Tensor]:
        return {
            "margins_K": ldam_margins(class_counts, self.largest_margin),
            "class_weights_K": effective_number_weights(class_counts, self.beta),
        }

    def build(self, backbone: Backbone, class_counts: Tensor) -> nn.Module:
        model = Classifier(backbone, CosineLinear(backbone.feature_dim, len(class_counts), self.scale))
        self.register_statistics(model, class_counts)
        return model

    def objective(self, model: Any, logits_BK: Tensor, target_BK: Tensor, progress: float) -> Tensor:
        weighted = target_BK if progress < self.deferred else model.class_weights_K * target_BK
        loss = soft_cross_entropy(logits_BK - self.scale * model.margins_K * target_BK, weighted)
        return loss * len(weighted) / weighted.sum()
