"""A classifier with a momentum encoder beside it (MoCo, He et al., CVPR 2020, eq. 2).

encoder_k <- momentum encoder_k + (1 - momentum) encoder          encoder: backbone and projection
"""

from __future__ import annotations

import copy
from typing import Self

import torch
from torch import Tensor, nn

from fsgl.models.assemble import Classifier
from fsgl.models.backbone import Backbone
from fsgl.models.heads import projection_head


class MomentumClassifier(Classifier):
    """projection: of features to ``width``.  key_encoder: the slow copies of backbone and projection, never trained."""

    def __init__(self, backbone: Backbone, fc: nn.Module, width: int) -> None:
        super().__init__(backbone, fc)
        self.projection = projection_head(backbone.feature_dim, backbone.feature_dim, width)
        self.key_encoder = nn.ModuleList([copy.deepcopy(backbone), copy.deepcopy(self.projection)])
        self.key_encoder.requires_grad_(False)

    @torch.no_grad()
    def copy_encoder(self) -> None:
        """Let the slow copies be what they copy, running statistics too."""
        for slow, fast in zip(self.key_encoder, (self.backbone, self.projection), strict=True):
            slow.load_state_dict(fast.state_dict())

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """Move the slow weights towards the others."""
        fast = [*self.backbone.parameters(), *self.projection.parameters()]
        torch._foreach_lerp_(list(self.key_encoder.parameters()), [weight.detach() for weight in fast], 1 - momentum)

    def encode_keys(self, images_BCHW: Tensor) -> Tensor:
        """Projections ``B x width`` by the slow copies."""
        backbone, projection = self.key_encoder
        projected: Tensor = projection(self.encode(backbone, images_BCHW))
        return projected

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.frozen_statistics:
            self.key_encoder[0].eval()
        return self
