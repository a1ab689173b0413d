"""GLMC and, with feature scaling, FSGL.

Sources: Global and Local Mixture Consistency Cumulative Learning (Du et al., CVPR 2023); Feature
Scaling Guided Learning (Wang, You, Zheng, 2024). METHOD section 6:

    L = alpha L_conventional + (1 - alpha) L_rebalanced + c L_consistency         alpha = 1 - (t / T)^2

(the three losses: losses/glmc.py; the two mixtures that the network is shown: methods/mixtures.py.)

FSGL is this with ``feature_scaling.gamma > 0`` and SAM; there is no class of that name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fsgl.losses.class_weights import power_class_weights
from fsgl.losses.glmc import glmc_losses
from fsgl.losses.margins import log_prior
from fsgl.methods.base import Method
from fsgl.methods.mixtures import global_local_mixture
from fsgl.methods.search import Range, Search
from fsgl.models.assemble import FourHeadNet, build_four_heads
from fsgl.models.backbone import Backbone
from fsgl.models.feature_scaling import FeatureScalingSpec
from fsgl.settings import setting
from fsgl.types import Batch, Losses, Mixed

CUTMIX_LABELS = ("area", "lambda")
ASCENTS = ("classification", "total")
REBALANCINGS = ("weights", "balanced-softmax")


@dataclass(frozen=True)
class Glmc(Method):
    """Settings of GLMC and FSGL."""

    beta: float = setting(0.5, "of the mixture, lambda ~ Beta(beta, beta)", above=0)
    resample_weighting: float = setting(0.0, "q of the rebalanced stream: 0 uniform, 1 class-balanced")
    label_weighting: float = setting(1.2, "p of the class weights w_k ~ n_k^-p")
    contrast_weight: float = setting(4.0, "c, the weight of the consistency term")
    feature_scaling: FeatureScalingSpec = setting(FeatureScalingSpec, "the FSM; gamma 0 is GLMC")
    cutmix_label: str = setting(
        "area", "lambda recomputed from the pasted area, or kept (the release)", choices=CUTMIX_LABELS
    )
    ascent: str = setting(
        "classification", "what SAM ascends: the loss without consistency (the release), or all of it", choices=ASCENTS
    )
    rebalancing: str = setting(
        "weights",
        "of the rebalanced loss: w * y, or CE(fc_cb(h) + log pi, y) with the training prior pi (Ren et al., NeurIPS "
        "2020), which the authors of GLMC report for ImageNet-LT, too",
        choices=REBALANCINGS,
        later=True,
    )

    name: ClassVar[str] = "glmc"
    summary: ClassVar[str] = "Global and local mixture consistency cumulative learning (Du et al. 2023)."
    origins: ClassVar[Mapping[str, str]] = {
        "beta": "authors' README, table of arguments: 0.5",
        "resample_weighting": "authors' README, CIFAR commands: 0; ImageNet-LT 0.2 (recipes/long_tail.py)",
        "label_weighting": "authors' README, CIFAR commands: 1.2; ImageNet-LT 1 (recipes/long_tail.py)",
        "contrast_weight": "authors' README, all published commands of FSGL: 4",
        "feature_scaling": "FSGL's README (Wang et al. 2024), its commands; none is GLMC",
        "cutmix_label": "ours: what the image shows; the authors' code keeps lambda",
        "ascent": "authors' code: SAM's first pass leaves the consistency out",
        "rebalancing": "paper, section 3: class weights",
    }
    search: ClassVar[Mapping[str, Search]] = {
        "beta": Range(0.2, 2, log=True),
        "label_weighting": Range(0.0, 1.5),
        "contrast_weight": Range(0.5, 10, log=True),
        "resample_weighting": Range(0.0, 1.0),
        "feature_scaling.gamma": Range(0.05, 2, log=True),
    }
    views: ClassVar[int] = 2
    assumed_prior: ClassVar[str] = "uniform"
    needs_two_streams: ClassVar[bool] = True
    passes: ClassVar[int] = 2

    @property
    def searched(self) -> Mapping[str, Search]:
        off = ["feature_scaling.gamma"] if self.feature_scaling.gamma == 0 else []  # with the FSM it is another method
        off += ["label_weighting"] if self.rebalancing == "balanced-softmax" else []
        return {name: search for name, search in self.search.items() if name not in off}

    def build(self, backbone: Backbone, class_counts: Tensor) -> nn.Module:
        balanced_softmax = self.rebalancing == "balanced-softmax"
        weights = power_class_weights(class_counts, 0.0 if balanced_softmax else self.label_weighting)
        model = build_four_heads(backbone, class_counts, self.feature_scaling, weights)
        if balanced_softmax:
            model.register_buffer("log_prior_K", log_prior(class_counts).to(torch.get_default_dtype()))
        return model

    def mix(self, batch: Batch, num_classes: int, generator: torch.Generator) -> Mixed:
        original, rebalanced = batch.original, batch.rebalanced
        if rebalanced is None:
            raise ValueError("GLMC mixes two streams, and this batch has only the original one")
        images, targets = global_local_mixture(
            original.views,
            original.labels,
            rebalanced.views,
            rebalanced.labels,
            num_classes,
            self.beta,
            generator,
            self.cutmix_label,
        )
        return Mixed(images, targets)

    def loss(self, model: Any, mixed: Mixed, progress: float) -> Losses:
        (images_g, images_l), (target_g, target_l) = mixed.images, mixed.targets
        losses = glmc_losses(
            model(images_g, target_g), model(images_l, target_l), target_g, target_l, model.class_weights_K,
            model.log_prior_K if self.rebalancing == "balanced-softmax" else 0.0,
        )  # fmt: skip
        classification = losses.classification(progress)
        return Losses(
            total=classification + self.contrast_weight * losses.consistency,
            ascent=classification if self.ascent == "classification" else None,
            terms={name: term.detach() for name, term in losses._asdict().items()},
        )

    def predict(self, model: FourHeadNet, images_BCHW: Tensor) -> Tensor:
        return model.predict(images_BCHW)
