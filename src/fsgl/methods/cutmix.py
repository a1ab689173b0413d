"""CutMix (Yun et al., ICCV 2019, eq. 1 and 2): a box of another image of the batch pasted in, labels by area.

    x~ = M x_i + (1 - M) x_j        y~ = lambda y_i + (1 - lambda) y_j

lambda ~ Beta(beta, beta) gives the box (fsgl.methods.mixtures.cutmix_box); in the label it is the share of the
image that the clipped box leaves, as in the authors' code. One box and one permutation a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from fsgl.data.stream.transfer import to_device
from fsgl.losses.soft_target import soft_cross_entropy
from fsgl.methods.mixtures import box_lambda, cutmix, cutmix_box, draw_lambda, mixup
from fsgl.methods.one_view import OneView
from fsgl.methods.search import Range, Search
from fsgl.settings import setting
from fsgl.types import Batch, Mixed


@dataclass(frozen=True)
class CutMix(OneView):
    """Settings of CutMix."""

    beta: float = setting(1.0, "of lambda ~ Beta(beta, beta)", above=0)
    probability: float = setting(
        0.5, "of mixing a batch; 0.5 is the paper's for CIFAR, 1 for ImageNet", at_least=0, at_most=1
    )

    name: ClassVar[str] = "cutmix"
    mixes_pixels: ClassVar[bool] = True
    summary: ClassVar[str] = "CutMix (Yun et al. 2019)."
    origins: ClassVar[Mapping[str, str]] = {
        "beta": "paper, section 3.1: alpha = 1",
        "probability": "authors' code, README: cutmix_prob 0.5 for CIFAR, 1 for ImageNet",
    }
    search: ClassVar[Mapping[str, Search]] = {
        "beta": Range(0.1, 2, log=True),
        "probability": Range(0.25, 1),
    }
    published: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        name: {"probability": 1.0} for name in ("imagenet-lt", "inaturalist2018", "places-lt")
    }

    def mix(self, batch: Batch, num_classes: int, generator: torch.Generator) -> Mixed:
        plain = super().mix(batch, num_classes, generator)
        if float(torch.rand((), generator=generator)) >= self.probability:
            return plain
        (images,), (target,) = plain.images, plain.targets
        height, width = images.shape[2:]
        box = cutmix_box(height, width, draw_lambda(self.beta, generator), generator)
        others = to_device(torch.randperm(len(images), generator=generator), images.device)
        kept = box_lambda(box, height, width)
        return Mixed((cutmix(images, images[others], box),), (mixup(target, target[others], kept),))

    def objective(self, model: Any, logits_BK: Tensor, target_BK: Tensor, progress: float) -> Tensor:
        return soft_cross_entropy(logits_BK, target_BK)
