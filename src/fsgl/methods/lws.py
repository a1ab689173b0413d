"""LWS, learnable weight scaling (Kang et al., ICLR 2020, section 4.1, eq. 5): see methods/two_stage.py.

    o~_k = f_k (w_k h + b_k)

The second stage learns one factor f_k of each class, from 1, and nothing else. The equation has no bias; the authors'
code scales the classifier's output, its bias with its row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from fsgl.errors import unknown
from fsgl.methods.two_stage import SECOND, TwoStage
from fsgl.models.assemble import Classifier
from fsgl.models.backbone import Backbone
from fsgl.models.heads import ScaledLinear, initialise

BIASES = ("scaled", "kept")


@dataclass(frozen=True)
class Lws(TwoStage):
    """second: share of the epochs that learn the factors.  bias: "scaled" with its row, as the authors, or "kept"."""

    second: float = 0.1
    bias: str = "scaled"

    name: ClassVar[str] = "lws"
    summary: ClassVar[str] = "Learnable weight scaling, two stages (Kang et al. 2020)."
    origins: ClassVar[Mapping[str, str]] = {
        "second": SECOND,
        "bias": "authors' code: the output is scaled, bias and all",
    }
    assumed_prior: ClassVar[str] = "uniform"

    def __post_init__(self) -> None:
        if self.bias not in BIASES:
            raise unknown("bias", self.bias, BIASES)

    def build(self, backbone: Backbone, class_counts: Tensor) -> nn.Module:
        fc = ScaledLinear(backbone.feature_dim, len(class_counts), self.bias == "scaled")
        initialise(nn.ModuleList([fc]), backbone.linear_init)
        return Classifier(backbone, fc)

    def enter_second_stage(self, model: Any, fresh: bool) -> None:
        model.freeze_backbone()
        model.fc.weight.requires_grad_(False)
        model.fc.bias.requires_grad_(False)
