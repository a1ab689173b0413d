"""Plain cross-entropy on one view of one stream: the baseline every long-tail paper starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from fsgl.losses.soft_target import soft_cross_entropy
from fsgl.mix import one_hot
from fsgl.models.assemble import Classifier, build_classifier
from fsgl.models.cifar_resnet import Backbone
from fsgl.types import Batch, Losses, Mixed


@dataclass(frozen=True)
class CrossEntropy:
    """No settings: the loss is -log softmax(o)_label, averaged over the batch."""

    name: ClassVar[str] = "cross-entropy"
    views: ClassVar[int] = 1
    assumed_prior: ClassVar[str] = "training"
    needs_two_streams: ClassVar[bool] = False
    passes: ClassVar[int] = 1

    @property
    def resample_weighting(self) -> float:
        return 0.0

    def build(self, backbone: Backbone, class_counts: Tensor) -> nn.Module:
        return build_classifier(backbone, len(class_counts))

    def mix(self, batch: Batch, num_classes: int, generator: torch.Generator) -> Mixed:
        (images,) = batch.original.views
        return Mixed((images,), (one_hot(batch.original.labels, num_classes, images.dtype),))

    def loss(self, model: Classifier, mixed: Mixed, progress: float) -> Losses:
        total = soft_cross_entropy(model(mixed.images[0]), mixed.targets[0])
        return Losses(total, terms={"cross_entropy": total.detach()})

    def predict(self, model: Classifier, images_BCHW: Tensor) -> Tensor:
        return model.predict(images_BCHW)
