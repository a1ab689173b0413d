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

from fsgl.methods.search import Range, Search
from fsgl.methods.two_stage import SECOND, TwoStage
from fsgl.models.assemble import Classifier
from fsgl.models.backbone import Backbone
from fsgl.models.heads import ScaledLinear, initialise
from fsgl.settings import setting

BIASES = ("scaled", "kept")


@dataclass(frozen=True)
class Lws(TwoStage):
    """Settings of LWS."""

    second: float = setting(0.1, "share of the epochs that learn the factors", above=0, below=1)
    bias: str = setting("scaled", "scaled with its row, as the authors do, or kept", choices=BIASES)

    name: ClassVar[str] = "lws"
    summary: ClassVar[str] = "Learnable weight scaling, two stages (Kang et al. 2020)."
    origins: ClassVar[Mapping[str, str]] = {
        "second": SECOND,
        "bias": "authors' code: the output is scaled, bias and all",
    }
    search: ClassVar[Mapping[str, Search]] = {"second": Range(0.05, 0.5)}
    assumed_prior: ClassVar[str] = "uniform"

    def build(self, backbone: Backbone, class_counts: Tensor) -> nn.Module:
        fc = ScaledLinear(backbone.feature_dim, len(class_counts), self.bias == "scaled")
        initialise(nn.ModuleList([fc]), backbone.linear_init)
        return Classifier(backbone, fc)

    def enter_second_stage(self, model: Any, fresh: bool) -> None:
        model.freeze_backbone()
        model.fc.weight.requires_grad_(False)
        model.fc.bias.requires_grad_(False)
