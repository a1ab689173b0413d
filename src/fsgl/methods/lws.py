"""LWS, learnable weight scaling (Kang et al., ICLR 2020, section 4.1, eq. 5): see methods/two_stage.py.

    w~_k = f_k w_k

The second stage learns one factor f_k of each class, from 1, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from fsgl.methods.two_stage import TwoStage
from fsgl.models.assemble import Classifier
from fsgl.models.backbone import Backbone
from fsgl.models.heads import ScaledLinear, initialise


@dataclass(frozen=True)
class Lws(TwoStage):
    """second: share of the epochs that learn the factors."""

    second: float = 0.1

    name: ClassVar[str] = "lws"
    assumed_prior: ClassVar[str] = "uniform"

    def build(self, backbone: Backbone, class_counts: Tensor) -> nn.Module:
        fc = ScaledLinear(backbone.feature_dim, len(class_counts))
        initialise(nn.ModuleList([fc]), backbone.linear_init)
        return Classifier(backbone, fc)

    def enter_second_stage(self, model: Any, fresh: bool) -> None:
        model.freeze_backbone()
        model.fc.weight.requires_grad_(False)
        model.fc.bias.requires_grad_(False)
