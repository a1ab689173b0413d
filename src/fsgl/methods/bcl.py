"""BCL, balanced contrastive learning (Zhu et al., CVPR 2022).

    L = classification CE(o + log pi, y) + contrast L_BCL(z, z', centres, y)          o: of the first of three views

o is a cosine classifier's (scale 30), z and z' are projections of the other two views, the centres those of the
classifier's rows through a projection of their own; L_BCL: losses/contrastive.py. pi_k = n_k / N.

Departures: the authors show the second and third view in another augmentation than the first (SimCLR's), here all three
have the data set's; the hidden layers are as wide as the features, as in their ImageNet code. With several processes
each contrasts its own images, as with DistributedDataParallel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from fsgl.losses.contrastive import balanced_contrastive
from fsgl.losses.margins import log_prior
from fsgl.losses.soft_target import soft_cross_entropy
from fsgl.methods.base import Method
from fsgl.methods.mixtures import one_hot
from fsgl.methods.search import Range, Search
from fsgl.models.assemble import Classifier
from fsgl.models.backbone import Backbone
from fsgl.models.heads import CosineLinear, projection_head
from fsgl.settings import setting
from fsgl.types import Batch, Losses, Mixed

_LARGE = {"contrast": 0.35, "classification": 1.0, "width": 1024, "temperature": 0.07}


@dataclass(frozen=True)
class Bcl(Method):
    """Settings of BCL."""

    contrast: float = setting(0.6, "weight of the contrastive loss", at_least=0)
    classification: float = setting(2.0, "weight of the classification loss", at_least=0)
    temperature: float = setting(0.1, "of the similarities", above=0)
    width: int = setting(128, "of the projections", at_least=1)
    scale: float = setting(30.0, "of the cosine classifier", above=0)

    name: ClassVar[str] = "bcl"
    summary: ClassVar[str] = "BCL, balanced contrastive learning (Zhu et al. 2022)."
    origins: ClassVar[Mapping[str, str]] = {
        "contrast": "paper, CIFAR: mu = 0.6, which others' code for CIFAR has too (the authors' is not published); "
        "authors' code, main.py (ImageNet-LT): beta = 0.35",
        "classification": "paper, CIFAR: lambda = 2, as before; authors' code, main.py (ImageNet-LT): alpha = 1",
        "temperature": "authors' code: the loss's own default, 0.1; 0.07 for ImageNet-LT and iNaturalist",
        "width": "paper, experiments on CIFAR: 128; the authors' code for ImageNet-LT has 1024",
        "scale": "authors' code, models/resnext.py: 30",
    }
    search: ClassVar[Mapping[str, Search]] = {
        "contrast": Range(0.1, 2.0, log=True),
        "temperature": Range(0.03, 0.5, log=True),
        "scale": Range(10, 60, log=True),
    }
    published: ClassVar[Mapping[str, Mapping[str, Any]]] = {"imagenet-lt": _LARGE, "inaturalist2018": _LARGE}
    views: ClassVar[int] = 3
    assumed_prior: ClassVar[str] = "uniform"
    needs_two_streams: ClassVar[bool] = False
    passes: ClassVar[int] = 3

    @property
    def resample_weighting(self) -> float:
        return 0.0

    def build(self, backbone: Backbone, class_counts: Tensor) -> nn.Module:
        width = backbone.feature_dim
        model = Classifier(backbone, CosineLinear(width, len(class_counts), self.scale))
        model.projection = projection_head(width, width, self.width)
        model.centre_projection = projection_head(width, width, self.width)
        model.register_buffer("log_prior_K", log_prior(class_counts).to(torch.get_default_dtype()))
        return model

    def mix(self, batch: Batch, num_classes: int, generator: torch.Generator) -> Mixed:
        views, labels = batch.original.views, batch.original.labels
        return Mixed(tuple(views), (one_hot(labels, num_classes, views[0].dtype),), (labels,))

    def loss(self, model: Any, mixed: Mixed, progress: float) -> Losses:
        (labels,), (target,) = mixed.extras, mixed.targets
        features = model.features(torch.cat(mixed.images))
        first, *others = features.split(len(labels))
        projected = normalize(model.projection(torch.cat(others)), dim=1)
        centres = normalize(model.centre_projection(model.fc.weight), dim=1)
        contrast = balanced_contrastive(projected, labels.repeat(2), centres, self.temperature)
        classification = soft_cross_entropy(model.fc(first) + model.log_prior_K, target)
        return Losses(
            self.classification * classification + self.contrast * contrast,
            terms={"classification": classification.detach(), "contrast": contrast.detach()},
        )

    def predict(self, model: Classifier, images_BCHW: Tensor) -> Tensor:
        return model.predict(images_BCHW)
