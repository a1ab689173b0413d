"""The linear maps on top of a backbone.

Four heads of GLMC (Du et al., CVPR 2023), METHOD section 4: ``fc`` (conventional classifier),
``fc_cb`` (rebalanced classifier, the one used at test), ``projection_head`` z and ``contrast_head``
p = W z. The names are the release's, so that its readers find them. And the classifiers of some rivals.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize


class HeadOutputs(NamedTuple):
    """What the four heads say of one view."""

    conventional_BK: Tensor
    rebalanced_BK: Tensor
    projection_BD: Tensor
    prediction_BD: Tensor


class FourHeads(nn.Module):
    """feature_dim: D of the backbone.  width: of the two consistency heads.

    >>> import fsgl, torch
    >>> outputs = fsgl.FourHeads(feature_dim=8, num_classes=3, width=4)(torch.rand(2, 8))
    >>> [tuple(each.shape) for each in outputs]
    [(2, 3), (2, 3), (2, 4), (2, 4)]
    """

    def __init__(self, feature_dim: int, num_classes: int, width: int) -> None:
        super().__init__()
        self.fc = nn.Linear(feature_dim, num_classes)
        self.fc_cb = nn.Linear(feature_dim, num_classes)
        self.projection_head = nn.Linear(feature_dim, width)
        self.contrast_head = nn.Linear(width, width)

    def forward(self, features_BD: Tensor) -> HeadOutputs:
        projection = self.projection_head(features_BD)
        return HeadOutputs(self.fc(features_BD), self.fc_cb(features_BD), projection, self.contrast_head(projection))


class CosineLinear(nn.Module):
    """scale * cos(w_k, h): a classifier whose rows and features have length 1, without bias (LDAM, section 3.3).

    Rows begin uniform on the sphere.

    >>> import fsgl, torch
    >>> fsgl.CosineLinear(8, 3, scale=30.0)(torch.rand(2, 8)).abs().max().item() <= 30
    True
    """

    def __init__(self, feature_dim: int, num_classes: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(normalize(torch.randn(num_classes, feature_dim), dim=1))

    def forward(self, features_BD: Tensor) -> Tensor:
        return self.scale * linear(normalize(features_BD, dim=1), normalize(self.weight, dim=1))


class ScaledLinear(nn.Linear):
    """f_k (w_k h + b_k): a linear classifier with a learnable factor of each row (LWS, Kang et al., ICLR 2020, eq. 5).

    scale_bias: False is f_k w_k h + b_k.

    >>> import fsgl, torch
    >>> layer = fsgl.ScaledLinear(8, 3)
    >>> layer(torch.rand(2, 8)).shape, layer.factors_K.tolist()
    (torch.Size([2, 3]), [1.0, 1.0, 1.0])
    """

    def __init__(self, feature_dim: int, num_classes: int, scale_bias: bool = True) -> None:
        super().__init__(feature_dim, num_classes)
        self.scale_bias = scale_bias
        self.factors_K = nn.Parameter(torch.ones(num_classes))

    def forward(self, features_BD: Tensor) -> Tensor:
        # While the rows themselves are trained, their factors are not: without a gradient no optimizer touches them.
        factors = self.factors_K.detach() if self.weight.requires_grad else self.factors_K
        return linear(
            features_BD, factors[:, None] * self.weight, self.bias * factors if self.scale_bias else self.bias
        )


class AlignedLinear(nn.Module):
    """A linear classifier and a learnable alignment of its logits (DisAlign, Zhang et al., CVPR 2021).

    (1 + c a_k) o_k + c b_k, c = sigmoid(confidence(h)). While the linear part is trained the rest is not, and only once
    ``aligned`` is 1 does it change anything.
    """

    aligned: Tensor

    def __init__(self, feature_dim: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(feature_dim, num_classes)
        self.confidence = nn.Linear(feature_dim, 1)
        nn.init.constant_(self.confidence.weight, 0.1)
        self.scale_K = nn.Parameter(torch.ones(num_classes))
        self.shift_K = nn.Parameter(torch.zeros(num_classes))
        self.register_buffer("aligned", torch.zeros(()))

    @property
    def learns_linear(self) -> bool:
        return self.linear.weight.requires_grad

    def forward(self, features_BD: Tensor) -> Tensor:
        logits: Tensor = self.linear(features_BD)
        # While the linear part is trained: without a gradient no optimizer touches the alignment.
        own = (self.confidence.weight, self.confidence.bias, self.scale_K, self.shift_K)
        weight, bias, scale, shift = (each.detach() for each in own) if self.learns_linear else own
        confidence = torch.sigmoid(linear(features_BD, weight, bias))
        return logits + self.aligned * confidence * (scale * logits + shift)


def projection_head(feature_dim: int, hidden: int, width: int) -> nn.Sequential:
    """The MLP of contrastive methods: linear, BatchNorm, ReLU, linear; ``B x feature_dim`` to ``B x width``."""
    return nn.Sequential(
        nn.Linear(feature_dim, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, width)
    )


def initialise(heads: nn.Module, rule: str) -> None:
    """Initial weights of linear maps: "default" is PyTorch's; "kaiming_normal" is He et al. 2015, fan in."""
    if rule == "default":
        return
    for module in heads.modules():
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight)
