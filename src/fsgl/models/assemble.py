"""Whole networks: a backbone with its heads, behind two calls.

``net(images, target)`` is the training forward of one view; ``net.predict(images)`` gives the logits
used at test. Nothing here knows a loss.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fsgl.models.backbones import build_backbone
from fsgl.models.feature_scaling import FeatureScaling, FeatureScalingSpec
from fsgl.models.heads import FourHeads, HeadOutputs, initialise


class Net(nn.Module):
    """A backbone with something on top.

    compute_dtype: torch.bfloat16 runs the backbone under autocast; what is on top, and the losses, stay in float32,
    where they cost nothing and a rounded logit could cost a rank. None is no autocast.
    """

    backbone: nn.Module
    compute_dtype: torch.dtype | None = None

    def features(self, images_BCHW: Tensor) -> Tensor:
        """Features ``B x D`` of the backbone."""
        if self.compute_dtype is None:
            plain: Tensor = self.backbone(images_BCHW)
            return plain
        with torch.autocast(images_BCHW.device.type, self.compute_dtype):
            rounded: Tensor = self.backbone(images_BCHW)
        return rounded.float()


class FourHeadNet(Net):
    """backbone -> h -> FSM (training only) -> four heads (METHOD section 4).

    class_weights_K: the weights of the rebalanced label; kept here as a buffer so that it moves with the
    network and is saved with it.
    """

    class_weights_K: Tensor

    def __init__(
        self, backbone: nn.Module, feature_scaling: FeatureScaling, heads: FourHeads, class_weights_K: Tensor
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.feature_scaling = feature_scaling
        self.heads = heads
        self.register_buffer("class_weights_K", class_weights_K)

    def forward(self, images_BCHW: Tensor, target_BK: Tensor) -> HeadOutputs:
        return self.heads(self.feature_scaling(self.features(images_BCHW), target_BK))

    def predict(self, images_BCHW: Tensor) -> Tensor:
        """Logits ``B x K`` of the rebalanced classifier on unscaled features."""
        return self.heads.fc_cb(self.features(images_BCHW))


class Classifier(Net):
    """backbone -> one linear classifier, ``fc``."""

    def __init__(self, backbone: nn.Module, fc: nn.Linear) -> None:
        super().__init__()
        self.backbone = backbone
        self.fc = fc

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return self.fc(self.features(images_BCHW))

    def predict(self, images_BCHW: Tensor) -> Tensor:
        """Logits ``B x K``."""
        return self(images_BCHW)


def build_four_heads(
    backbone: str, in_channels: int, class_counts: Tensor, scaling: FeatureScalingSpec, class_weights_K: Tensor
) -> FourHeadNet:
    """A freshly initialised FourHeadNet on a backbone of the registry."""
    trunk = build_backbone(backbone, in_channels)
    heads = FourHeads(trunk.feature_dim, len(class_counts), trunk.head_width)
    initialise(heads, trunk.linear_init)
    fsm = FeatureScaling(class_counts, scaling.gamma, scaling.profile, scaling.rank, scaling.decimals)
    return FourHeadNet(trunk, fsm, heads, class_weights_K.to(torch.get_default_dtype()))


def build_classifier(backbone: str, in_channels: int, num_classes: int) -> Classifier:
    """A freshly initialised Classifier on a backbone of the registry."""
    trunk = build_backbone(backbone, in_channels)
    fc = nn.Linear(trunk.feature_dim, num_classes)
    initialise(fc, trunk.linear_init)
    return Classifier(trunk, fc)
