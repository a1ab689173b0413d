"""DisAlign (Zhang et al., CVPR 2021): see methods/two_stage.py.

    o~_k = (1 + c a_k) o_k + c b_k          c = sigmoid(v . h + d), how far an image's logits are aligned
    L    = sum_i w_y CE(o~_i, y_i) / sum_i w_y          w_k ~ (1 / pi_k)^scale, with mean 1 over the classes

The second stage learns a, b, v and d on the frozen backbone and classifier, over the images as they are. They begin as
in the authors' code: a = 1, b = 0, v = 0.1. (On hundreds of features v . h can then be so large that c is 1 and v and d
have no gradient: the alignment is (1 + a) o + b.) Of several processes, each divides by its own images' weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fsgl.losses.class_weights import power_class_weights
from fsgl.losses.soft_target import soft_cross_entropy
from fsgl.methods.search import Range, Search
from fsgl.methods.two_stage import TwoStage
from fsgl.models.assemble import Classifier
from fsgl.models.backbone import Backbone
from fsgl.models.heads import AlignedLinear, initialise
from fsgl.settings import setting


@dataclass(frozen=True)
class DisAlign(TwoStage):
    """Settings of DisAlign."""

    scale: float = setting(1.2, "of the class weights", at_least=0)
    second: float = setting(0.1, "share of the epochs that learn the alignment", above=0, below=1)

    name: ClassVar[str] = "disalign"
    summary: ClassVar[str] = "DisAlign, a learnt alignment of the logits, two stages (Zhang et al. 2021)."
    origins: ClassVar[Mapping[str, str]] = {
        "scale": "authors' code, ImageNet-LT, ResNeXt-50: GRW_SCALE = 1.2",
        "second": "authors' code, ImageNet-LT: 10 epochs after 90",
    }
    search: ClassVar[Mapping[str, Search]] = {"scale": Range(0.3, 2.0), "second": Range(0.05, 0.3)}
    assumed_prior: ClassVar[str] = "uniform"
    balanced_second_stage: ClassVar[bool] = False

    def statistics(self, class_counts: Tensor) -> Mapping[str, Tensor]:
        return {"class_weights_K": power_class_weights(class_counts, self.scale)}

    def build(self, backbone: Backbone, class_counts: Tensor) -> nn.Module:
        fc = AlignedLinear(backbone.feature_dim, len(class_counts))
        initialise(fc.linear, backbone.linear_init)
        model = Classifier(backbone, fc)
        self.register_statistics(model, class_counts)
        return model

    def objective(self, model: Any, logits_BK: Tensor, target_BK: Tensor, progress: float) -> Tensor:
        if model.fc.learns_linear:
            return soft_cross_entropy(logits_BK, target_BK)
        weighted = model.class_weights_K * target_BK
        return soft_cross_entropy(logits_BK, weighted) * len(weighted) / weighted.sum()

    def enter_second_stage(self, model: Any, fresh: bool) -> None:
        model.freeze_backbone()
        model.fc.linear.requires_grad_(False)
        with torch.no_grad():
            model.fc.aligned.fill_(1.0)
