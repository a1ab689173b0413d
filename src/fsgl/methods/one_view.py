"""What the methods share that train one linear classifier on one view of one stream, and differ in the loss alone.

Such a method states ``objective`` and, where it needs them, the class statistics that go with the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fsgl.methods.base import Method
from fsgl.methods.mixtures import one_hot
from fsgl.models.assemble import Classifier, build_classifier
from fsgl.models.backbone import Backbone
from fsgl.types import Batch, Losses, Mixed


class OneView(Method):
    """Not a method: the part of the contract that is the same for them."""

    views: ClassVar[int] = 1
    assumed_prior: ClassVar[str] = "training"
    needs_two_streams: ClassVar[bool] = False
    passes: ClassVar[int] = 1

    @property
    def resample_weighting(self) -> float:
        return 0.0

    def statistics(self, class_counts: Tensor) -> Mapping[str, Tensor]:
        """Buffers of the network, ``K`` each, by name: what the objective needs of the counts."""
        return {}

    def objective(self, model: Any, logits_BK: Tensor, target_BK: Tensor, progress: float) -> Tensor:
        """The loss, a scalar. target: soft labels, rows summing to 1."""
        raise NotImplementedError

    def build(self, backbone: Backbone, class_counts: Tensor) -> nn.Module:
        model = build_classifier(backbone, len(class_counts))
        self.register_statistics(model, class_counts)
        return model

    def register_statistics(self, model: nn.Module, class_counts: Tensor) -> None:
        for name, values_K in self.statistics(class_counts).items():
            model.register_buffer(name, values_K.to(torch.get_default_dtype()))

    def mix(self, batch: Batch, num_classes: int, generator: torch.Generator) -> Mixed:
        (images,) = batch.original.views
        return Mixed((images,), (one_hot(batch.original.labels, num_classes, images.dtype),))

    def loss(self, model: Any, mixed: Mixed, progress: float) -> Losses:
        total = self.objective(model, model(mixed.images[0]), mixed.targets[0], progress)
        return Losses(total, terms={self.name.replace("-", "_"): total.detach()})

    def predict(self, model: Classifier, images_BCHW: Tensor) -> Tensor:
        return model.predict(images_BCHW)
