"""Whole networks: a backbone with its heads, behind two calls.

``net(images, target)`` is the training forward of one view; ``net.predict(images)`` gives the logits
used at test. Nothing here knows a loss.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

import torch
from torch import Tensor, nn

from fsgl.models.backbone import Backbone
from fsgl.models.feature_scaling import FeatureScaling, FeatureScalingSpec
from fsgl.models.heads import CosineLinear, FourHeads, HeadOutputs, initialise


class RecognitionNet(nn.Module):
    """A backbone with something on top.

    compute_dtype: torch.bfloat16 runs the backbone under autocast; what is on top, and the losses, stay in float32,
    where they cost nothing and a rounded logit could cost a rank. None is no autocast.
    frozen: the backbone's weights stay as they are; see ``freeze_backbone``.
    stacked: images twice as high as wide are two, one above the other, whose features are averaged (``data.view``).
    frozen_batch_norm: the backbone's BatchNorm normalises by its running statistics, which stay as they are.
    temperature_K: divides an image's logits by that of the class predicted (posthoc.py); None for no such buffer.
    """

    temperature_K: Tensor | None

    backbone: nn.Module
    compute_dtype: torch.dtype | None = None
    stacked: bool = False
    frozen: bool = False
    frozen_statistics: bool = False
    frozen_batch_norm: bool = False

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("temperature_K", None)

    def freeze_backbone(self, statistics: bool = True) -> None:
        """From now on nothing trains the backbone: no gradients, and evaluation mode in training as well.

        statistics: False leaves BatchNorm in training mode: it normalises by the batch, and its statistics follow.
        """
        self.frozen, self.frozen_statistics = True, statistics
        self.backbone.requires_grad_(False)
        self.train(self.training)

    def unfreeze_backbone(self, weights: Iterable[Tensor]) -> None:
        """Train these weights of the backbone from now on; its BatchNorm as ``frozen_batch_norm`` says."""
        self.frozen = self.frozen_statistics = False
        for weight in weights:
            weight.requires_grad_(True)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.frozen_statistics:
            self.backbone.eval()
        elif self.frozen_batch_norm:
            for module in self.backbone.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    @property
    def classifier(self) -> nn.Module:
        """What predicts from (unscaled) features, ``B x D`` to ``B x K``."""
        raise NotImplementedError

    def predict(self, images_BCHW: Tensor) -> Tensor:
        """Logits ``B x K``."""
        return self.classify(self.features(images_BCHW))

    def classify(self, features_BD: Tensor) -> Tensor:
        """Logits ``B x K`` of (unscaled) features ``B x D``."""
        logits: Tensor = self.classifier(features_BD)
        if self.temperature_K is None:
            return logits
        return logits / self.temperature_K[logits.argmax(dim=1)][:, None]

    def features(self, images_BCHW: Tensor) -> Tensor:
        """Features ``B x D`` of the backbone. What has that shape already is taken for features (feature_cache.py)."""
        return self.encode(self.backbone, images_BCHW)

    def encode(self, backbone: nn.Module, images_BCHW: Tensor) -> Tensor:
        """As ``features``, by a backbone like this network's."""
        if images_BCHW.ndim == 2:
            return images_BCHW
        if self.compute_dtype is None:
            return seen(backbone, images_BCHW, self.stacked)
        with torch.autocast(images_BCHW.device.type, self.compute_dtype):
            rounded = seen(backbone, images_BCHW, self.stacked)
        return rounded.float()


def views_in(images_BCHW: Tensor, stacked: bool) -> int:
    """Views in each image, one above the other. stacked: as of ``RecognitionNet``; square images are one each."""
    return 2 if stacked and images_BCHW.shape[2] == 2 * images_BCHW.shape[3] else 1


def seen(backbone: nn.Module, images_BCHW: Tensor, stacked: bool) -> Tensor:
    """Features ``B x D``, the mean over an image's views. stacked: as of ``RecognitionNet``."""
    if views_in(images_BCHW, stacked) == 2:
        upper, lower = images_BCHW.chunk(2, dim=2)
        mean: Tensor = (backbone(upper) + backbone(lower)) / 2
        return mean
    features: Tensor = backbone(images_BCHW)
    return features


class FourHeadNet(RecognitionNet):
    """backbone -> h -> FSM (training only) -> four heads (METHOD section 4).

    class_weights_K: the weights of the rebalanced label; kept here as a buffer so that it moves with the
    network and is saved with it.

    >>> import fsgl, torch
    >>> backbone, counts = fsgl.build_backbone("resnet8-slim"), [50, 5]
    >>> heads = fsgl.FourHeads(backbone.feature_dim, 2, backbone.head_width)
    >>> net = fsgl.FourHeadNet(backbone, fsgl.FeatureScaling(counts, 0.5), heads, torch.ones(2))
    >>> images, target = torch.rand(2, 3, 32, 32), torch.eye(2)
    >>> net(images, target).rebalanced_BK.shape, net.eval().predict(images).shape
    (torch.Size([2, 2]), torch.Size([2, 2]))
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

    @property
    def classifier(self) -> nn.Module:
        """The rebalanced one."""
        return self.heads.fc_cb


class Classifier(RecognitionNet):
    """backbone -> one classifier, ``fc``, most often linear."""

    fc: nn.Module

    def __init__(self, backbone: nn.Module, fc: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.fc = fc

    def forward(self, images_BCHW: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.features(images_BCHW))
        return logits

    @property
    def classifier(self) -> nn.Module:
        return self.fc


def build_four_heads(
    backbone: Backbone, class_counts: Tensor, scaling: FeatureScalingSpec, class_weights_K: Tensor
) -> FourHeadNet:
    """A FourHeadNet on a backbone, with freshly initialised heads."""
    heads = FourHeads(backbone.feature_dim, len(class_counts), backbone.head_width)
    initialise(heads, backbone.linear_init)
    fsm = FeatureScaling(class_counts, scaling.gamma, scaling.profile, scaling.rank, scaling.decimals)
    return FourHeadNet(backbone, fsm, heads, class_weights_K.to(torch.get_default_dtype()))


def with_cosine_classifier(model: nn.Module, scale: float) -> None:
    """Put a fresh ``CosineLinear`` in the place of a Classifier's linear map. Raises TypeError where there is none."""
    if not isinstance(model, Classifier) or type(model.fc) is not nn.Linear:
        raise TypeError("no network with one linear classifier")
    model.fc = CosineLinear(model.fc.in_features, model.fc.out_features, scale)


def build_classifier(backbone: Backbone, num_classes: int) -> Classifier:
    """A Classifier on a backbone, with a freshly initialised linear map."""
    fc = nn.Linear(backbone.feature_dim, num_classes)
    initialise(fc, backbone.linear_init)
    return Classifier(backbone, fc)
