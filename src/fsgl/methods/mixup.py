"""MixUp (Zhang et al., ICLR 2018, eq. 1): every image blended with another of its batch, and their labels alike.

    x~ = lambda x_i + (1 - lambda) x_j        y~ = lambda y_i + (1 - lambda) y_j        lambda ~ Beta(beta, beta)

One lambda and one permutation a batch, as in the authors' code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from fsgl.data.stream.transfer import to_device
from fsgl.losses.soft_target import soft_cross_entropy
from fsgl.methods.mixtures import draw_lambda, mixup
from fsgl.methods.one_view import OneView
from fsgl.methods.search import Range, Search
from fsgl.settings import setting
from fsgl.types import Batch, Mixed


@dataclass(frozen=True)
class MixUp(OneView):
    """Settings of MixUp."""

    beta: float = setting(1.0, "of lambda ~ Beta(beta, beta); 1 is uniform, as for CIFAR; for ImageNet 0.2", above=0)

    name: ClassVar[str] = "mixup"
    summary: ClassVar[str] = "MixUp (Zhang et al. 2018)."
    origins: ClassVar[Mapping[str, str]] = {"beta": "paper, section 3.2: alpha = 1 for CIFAR"}
    search: ClassVar[Mapping[str, Search]] = {"beta": Range(0.1, 2, log=True)}
    published: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        name: {"beta": 0.2} for name in ("imagenet-lt", "inaturalist2018", "places-lt")
    }

    def mix(self, batch: Batch, num_classes: int, generator: torch.Generator) -> Mixed:
        plain = super().mix(batch, num_classes, generator)
        lam = draw_lambda(self.beta, generator)
        (images,), (target,) = plain.images, plain.targets
        others = to_device(torch.randperm(len(images), generator=generator), images.device)
        return Mixed((mixup(images, images[others], lam),), (mixup(target, target[others], lam),))

    def objective(self, model: Any, logits_BK: Tensor, target_BK: Tensor, progress: float) -> Tensor:
        return soft_cross_entropy(logits_BK, target_BK)
