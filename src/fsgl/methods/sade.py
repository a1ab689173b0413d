"""SADE, self-supervised aggregation of diverse experts (Zhang et al., NeurIPS 2022), its training.

    L = CE(o_1, y) + CE(o_2 + log pi, y) + CE(o_3 + log pi - tau log pi^inv, y)

Three experts (models/experts.py), at home in the training prior pi, in a uniform one, and in the inverse: pi^inv_k is
the frequency of the class whose rank from the other end is k's. At test their logits are averaged; for a test set of
unknown class frequencies ``fsgl adjust RUN aggregation`` learns the weights from its images, without their labels.

Departures: an expert has a ResNet's last stage for itself, of full width; the authors' have the last two stages of
ResNet-32, made narrower.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fsgl.losses.margins import inverse_log_prior, log_prior
from fsgl.losses.soft_target import soft_cross_entropy
from fsgl.methods.one_view import OneView
from fsgl.methods.search import Range, Search
from fsgl.models.assemble import Classifier
from fsgl.models.backbone import Backbone
from fsgl.models.experts import ExpertBackbone, ExpertHeads
from fsgl.settings import setting
from fsgl.types import Losses, Mixed

EXPERTS = 3


@dataclass(frozen=True)
class Sade(OneView):
    """Settings of SADE."""

    tau: float = setting(2.0, "how far the third expert's prior is turned round")
    scale: float = setting(30.0, "of the cosine classifiers", above=0)

    name: ClassVar[str] = "sade"
    summary: ClassVar[str] = "SADE, three experts for three test distributions (Zhang et al. 2022)."
    origins: ClassVar[Mapping[str, str]] = {
        "tau": "authors' code, configuration for CIFAR-100-LT, IF 100: 2",
        "scale": "authors' code, DiverseExpertLoss: s = 30",
    }
    search: ClassVar[Mapping[str, Search]] = {"tau": Range(0.5, 3.0), "scale": Range(10, 60, log=True)}
    assumed_prior: ClassVar[str] = "uniform"

    def statistics(self, class_counts: Tensor) -> Mapping[str, Tensor]:
        prior = log_prior(class_counts)
        third = prior - self.tau * inverse_log_prior(class_counts)
        return {"shifts_EK": torch.stack([torch.zeros_like(prior), prior, third])}

    def build(self, backbone: Backbone, class_counts: Tensor) -> nn.Module:
        heads = ExpertHeads(backbone.feature_dim, len(class_counts), EXPERTS, self.scale)
        model = Classifier(self.widened(backbone), heads)
        self.register_statistics(model, class_counts)
        return model

    def widened(self, backbone: Backbone) -> ExpertBackbone:
        return ExpertBackbone(backbone, EXPERTS)

    def begin(self, model: Any, pretrained: bool) -> None:
        if pretrained:
            model.backbone.copy_first()

    def loss(self, model: Any, mixed: Mixed, progress: float) -> Losses:
        logits_BEK = model.fc.each(model.features(mixed.images[0])) + model.shifts_EK
        losses = [soft_cross_entropy(logits, mixed.targets[0]) for logits in logits_BEK.unbind(dim=1)]
        terms = dict(zip(("long_tailed", "uniform", "inverse"), (loss.detach() for loss in losses), strict=True))
        return Losses(torch.stack(losses).sum(), terms=terms)
