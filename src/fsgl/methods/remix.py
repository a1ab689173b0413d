"""Remix (Chou et al., ECCV 2020 workshops, eq. 5 and 6): MixUp whose label leans to the rarer of two classes.

    x~ = lambda x_i + (1 - lambda) x_j        y~ = lambda_y y_i + (1 - lambda_y) y_j        lambda ~ Beta(beta, beta)

    lambda_y = 0        where n_i / n_j >= kappa    and  lambda < tau
             = 1        where n_i / n_j <= 1/kappa  and  1 - lambda < tau
             = lambda   else

One lambda and one permutation a batch, as MixUp here. tau = 0 is MixUp.
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
from fsgl.methods.search import Choice, Range, Search
from fsgl.settings import setting
from fsgl.types import Batch, Losses, Mixed


@dataclass(frozen=True)
class Remix(OneView):
    """Settings of Remix."""

    beta: float = setting(1.0, "of lambda ~ Beta(beta, beta); 1 is uniform", above=0)
    kappa: float = setting(3.0, "times as many images as the other class has make a class the frequent one", at_least=1)
    tau: float = setting(
        0.5, "share of the frequent class's image below which the label is the rarer one's alone", at_least=0, at_most=1
    )

    name: ClassVar[str] = "remix"
    summary: ClassVar[str] = "Remix (Chou et al. 2020)."
    origins: ClassVar[Mapping[str, str]] = {
        "beta": "paper, implementation: lambda uniform",
        "kappa": "paper, implementation: 3 on all data sets",
        "tau": "paper, implementation: 0.5 on all data sets",
    }
    search: ClassVar[Mapping[str, Search]] = {
        "beta": Range(0.1, 2, log=True), "kappa": Choice((1.5, 3.0, 10.0)), "tau": Range(0.1, 1),
    }  # fmt: skip

    def statistics(self, class_counts: Tensor) -> Mapping[str, Tensor]:
        return {"class_counts_K": class_counts}

    def mix(self, batch: Batch, num_classes: int, generator: torch.Generator) -> Mixed:
        """Targets: of the first image, of the second, and of both as MixUp has them."""
        plain = super().mix(batch, num_classes, generator)
        lam = draw_lambda(self.beta, generator)
        (images,), (target,) = plain.images, plain.targets
        others = to_device(torch.randperm(len(images), generator=generator), images.device)
        second = target[others]
        return Mixed((mixup(images, images[others], lam),), (target, second, mixup(target, second, lam)))

    def loss(self, model: Any, mixed: Mixed, progress: float) -> Losses:
        return super().loss(model, Mixed(mixed.images, (self._label(model.class_counts_K, *mixed.targets),)), progress)

    def objective(self, model: Any, logits_BK: Tensor, target_BK: Tensor, progress: float) -> Tensor:
        return soft_cross_entropy(logits_BK, target_BK)

    def _label(self, counts_K: Tensor, first_BK: Tensor, second_BK: Tensor, both_BK: Tensor) -> Tensor:
        lam_B1 = (both_BK * first_BK).sum(dim=1, keepdim=True)  # 1 where both are of one class, which changes nothing
        first_B1, second_B1 = ((each * counts_K).sum(dim=1, keepdim=True) for each in (first_BK, second_BK))
        to_second = (first_B1 >= self.kappa * second_B1) & (lam_B1 < self.tau)
        to_first = (self.kappa * first_B1 <= second_B1) & (1 - lam_B1 < self.tau)
        return torch.where(to_second, second_BK, torch.where(to_first, first_BK, both_BK))
