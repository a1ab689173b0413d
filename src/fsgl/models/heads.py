"""The linear maps on top of a backbone.

Four heads of GLMC (Du et al., CVPR 2023), METHOD section 4: ``fc`` (conventional classifier),
``fc_cb`` (rebalanced classifier, the one used at test), ``projection_head`` z and ``contrast_head``
p = W z. The names are the release's, so that its readers find them.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn


class HeadOutputs(NamedTuple):
    """What the four heads say of one view."""

    conventional_BK: Tensor
    rebalanced_BK: Tensor
    projection_BD: Tensor
    prediction_BD: Tensor


class FourHeads(nn.Module):
    """feature_dim: D of the backbone.  width: of the two consistency heads."""

    def __init__(self, feature_dim: int, num_classes: int, width: int) -> None:
        super().__init__()
        self.fc = nn.Linear(feature_dim, num_classes)
        self.fc_cb = nn.Linear(feature_dim, num_classes)
        self.projection_head = nn.Linear(feature_dim, width)
        self.contrast_head = nn.Linear(width, width)

    def forward(self, features_BD: Tensor) -> HeadOutputs:
        projection = self.projection_head(features_BD)
        return HeadOutputs(self.fc(features_BD), self.fc_cb(features_BD), projection, self.contrast_head(projection))


def initialise(heads: nn.Module, rule: str) -> None:
    """Initial weights of linear maps: "default" is PyTorch's; "kaiming_normal" is He et al. 2015, fan in."""
    if rule == "default":
        return
    for module in heads.modules():
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight)
