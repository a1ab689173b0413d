"""Several experts on a shared trunk (RIDE, Wang et al., ICLR 2021; SADE, Zhang et al., NeurIPS 2022).

    features = [tail_1(trunk(x)), ..., tail_E(trunk(x))]  ``B x E D``          o_e = head_e(tail_e)

A backbone says which part of it an expert has for itself (``Backbone.parted``): the last stage of a ResNet. Others are
shared whole, and their experts differ by their heads.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from fsgl.models.backbone import Backbone
from fsgl.models.heads import CosineLinear


class ExpertBackbone(Backbone):
    """experts: how many. The first has the backbone's own last part, the others fresh ones like it."""

    def __init__(self, backbone: Backbone, experts: int) -> None:
        super().__init__()
        self.trunk, tail = backbone.parted()
        self.tails = nn.ModuleList([tail, *(copy.deepcopy(tail) for _ in range(experts - 1))])
        for other in self.tails[1:]:
            backbone.initialise(other)
        self.feature_dim = experts * backbone.feature_dim
        self.head_width, self.linear_init = backbone.head_width, backbone.linear_init

    def copy_first(self) -> None:
        """Let all experts begin with the first one's weights: of a pretrained backbone they are the only ones."""
        for other in self.tails[1:]:
            other.load_state_dict(self.tails[0].state_dict())

    def forward(self, images: Tensor) -> Tensor:
        shared = self.trunk(images)
        return torch.cat([tail(shared) for tail in self.tails], dim=1)


class ExpertHeads(nn.Module):
    """A cosine classifier of each expert's part of the features, and how their logits are averaged.

    weights_E: summing to 1; uniform until they are learnt at test time (evaluation/aggregation.py).
    """

    weights_E: Tensor

    def __init__(self, feature_dim: int, num_classes: int, experts: int, scale: float) -> None:
        super().__init__()
        self.heads = nn.ModuleList([CosineLinear(feature_dim, num_classes, scale) for _ in range(experts)])
        self.register_buffer("weights_E", torch.full((experts,), 1 / experts))

    def each(self, features_BD: Tensor) -> Tensor:
        """Logits of every expert, ``B x E x K``."""
        parts = features_BD.chunk(len(self.heads), dim=1)
        return torch.stack([head(part) for head, part in zip(self.heads, parts, strict=True)], dim=1)

    def forward(self, features_BD: Tensor) -> Tensor:
        return torch.einsum("e,bek->bk", self.weights_E, self.each(features_BD))
