"""PaCo, parametric contrastive learning (Cui et al., ICCV 2021; the loss: losses/contrastive.py).

    z = projection(h(x)), of length 1          k = momentum encoder(x'), of length 1          o = W h(x) + b + log pi
    contrast of z_i: the other z of the batch, its keys k, and a queue of the keys of earlier steps

State, all of it in the network (methods/base.py): the momentum encoder, a copy of backbone and projection that moves by
1 - momentum towards them before every step, and the queue, to which a step's keys are added after it. With several
processes the queue takes the keys of all, in the order of the step; an image's loss contrasts it with its own process's
images and that queue, as the authors' does. SAM sees the same keys and queue in both passes.

Departures: the authors augment the second view otherwise (SimCLR's), here both have the data set's; their queue begins
with random entries, here its empty places are left out; and they shuffle keys among processes for BatchNorm's sake.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from fsgl.losses.contrastive import parametric_contrastive
from fsgl.losses.margins import log_prior
from fsgl.methods.base import Join, Method
from fsgl.methods.mixtures import one_hot
from fsgl.methods.search import Range, Search
from fsgl.models.assemble import build_classifier
from fsgl.models.backbone import Backbone
from fsgl.models.momentum import MomentumClassifier
from fsgl.settings import setting
from fsgl.types import Batch, Losses, Mixed


@dataclass(frozen=True)
class Paco(Method):
    """Settings of PaCo."""

    alpha: float = setting(0.01, "weight of each contrasted image of the class", at_least=0)
    beta: float = setting(1.0, "weight of the class's centre", above=0)
    gamma: float = setting(1.0, "of similarities in the softmax", above=0)
    temperature: float = setting(0.05, "of the similarities", above=0)
    momentum: float = setting(0.999, "of the encoder of keys", at_least=0, at_most=1)
    queue: int = setting(1024, "keys kept", at_least=1)
    width: int = setting(32, "of the projection", at_least=1)

    name: ClassVar[str] = "paco"
    summary: ClassVar[str] = "PaCo, parametric contrastive learning with a momentum encoder (Cui et al. 2021)."
    origins: ClassVar[Mapping[str, str]] = {
        "alpha": "authors' code, script for CIFAR-100-LT, IF 100: 0.01; ImageNet-LT 0.05",
        "beta": "authors' code, the same scripts: 1",
        "gamma": "authors' code, the same scripts: 1",
        "temperature": "authors' code, the same scripts: 0.05; ImageNet-LT 0.2",
        "momentum": "authors' code, paco_cifar.py: moco-m = 0.999",
        "queue": "authors' code, script for CIFAR-100-LT: moco-k = 1024",
        "width": "authors' code, script for CIFAR-100-LT: moco-dim = 32, for 64 features",
    }
    search: ClassVar[Mapping[str, Search]] = {
        "alpha": Range(0.003, 0.3, log=True),
        "beta": Range(0.3, 3.0, log=True),
        "temperature": Range(0.03, 0.5, log=True),
    }
    published: ClassVar[Mapping[str, Mapping[str, Any]]] = {"imagenet-lt": {"alpha": 0.05, "temperature": 0.2}}
    views: ClassVar[int] = 2
    assumed_prior: ClassVar[str] = "uniform"
    needs_two_streams: ClassVar[bool] = False
    passes: ClassVar[int] = 2
    stateful: ClassVar[bool] = True

    @property
    def resample_weighting(self) -> float:
        return 0.0

    def build(self, backbone: Backbone, class_counts: Tensor) -> nn.Module:
        fc = build_classifier(backbone, len(class_counts)).fc
        model = MomentumClassifier(backbone, fc, self.width)
        model.register_buffer("log_prior_K", log_prior(class_counts).to(torch.get_default_dtype()))
        model.register_buffer("queue", torch.zeros(self.queue, self.width))
        model.register_buffer("queue_labels", torch.full((self.queue,), -1))  # below 0: empty
        model.register_buffer("queued", torch.zeros((), dtype=torch.int64))
        return model

    def begin(self, model: Any, pretrained: bool) -> None:
        model.copy_encoder()

    def mix(self, batch: Batch, num_classes: int, generator: torch.Generator) -> Mixed:
        views, labels = batch.original.views, batch.original.labels
        return Mixed(tuple(views), (one_hot(labels, num_classes, views[0].dtype),), (labels,))

    def prepare(self, model: Any, mixed: Mixed) -> Mixed:
        model.follow(self.momentum)
        keys = normalize(model.encode_keys(mixed.images[1]), dim=1)
        return Mixed(mixed.images, mixed.targets, (*mixed.extras, keys))

    def loss(self, model: Any, mixed: Mixed, progress: float) -> Losses:
        labels, keys = mixed.extras
        features = model.features(mixed.images[0])
        total = parametric_contrastive(
            model.fc(features) + model.log_prior_K, normalize(model.projection(features), dim=1), labels,
            torch.cat([keys, model.queue]), torch.cat([labels, model.queue_labels]),
            self.alpha, self.beta, self.gamma, self.temperature,
        )  # fmt: skip
        return Losses(total, terms={"paco": total.detach()})

    def remember(self, model: Any, mixed: Mixed, join: Join) -> None:
        labels, keys = (join(rows)[-self.queue :] for rows in mixed.extras)
        places = (model.queued + torch.arange(len(keys), device=keys.device)) % self.queue
        model.queue.index_copy_(0, places, keys)
        model.queue_labels.index_copy_(0, places, labels)
        model.queued += len(keys)

    def predict(self, model: MomentumClassifier, images_BCHW: Tensor) -> Tensor:
        return model.predict(images_BCHW)
