"""Vector-scaling loss (Kini et al., NeurIPS 2021, eq. 2): logits scaled and shifted by class frequency.

    L = CE(Delta o + iota, y)          Delta_k = (n_k / n_max)^gamma          iota_k = tau log pi_k

gamma = 0 is logit adjustment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from fsgl.losses.margins import log_prior, relative_frequency
from fsgl.losses.soft_target import soft_cross_entropy
from fsgl.methods.one_view import OneView
from fsgl.methods.search import Range, Search
from fsgl.settings import setting


@dataclass(frozen=True)
class VectorScaling(OneView):
    """gamma, tau: as the paper tuned them for CIFAR-10-LT (the defaults) and CIFAR-100-LT, both IF 100.

    For other data it publishes none. Sets with hundreds of classes have CIFAR-100-LT's here: that choice is ours.
    """

    gamma: float = setting(0.15, "power of the relative class frequency that scales the logits")
    tau: float = setting(1.25, "weight of the log prior that is added to them")

    name: ClassVar[str] = "vector-scaling"
    summary: ClassVar[str] = "Vector-scaling loss (Kini et al. 2021)."
    origins: ClassVar[Mapping[str, str]] = {
        "gamma": "paper, experiments on CIFAR-10-LT and CIFAR-100-LT, IF 100; which of the two other sets have is ours",
        "tau": "paper, experiments on CIFAR-10-LT and CIFAR-100-LT, IF 100; which of the two other sets have is ours",
    }
    search: ClassVar[Mapping[str, Search]] = {
        "gamma": Range(0.0, 0.4),
        "tau": Range(0.25, 2.5),
    }
    published: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        name: {"gamma": 0.05, "tau": 0.75} for name in ("cifar100", "imagenet-lt", "inaturalist2018", "places-lt")
    }
    assumed_prior: ClassVar[str] = "uniform"

    def statistics(self, class_counts: Tensor) -> Mapping[str, Tensor]:
        return {
            "scale_K": relative_frequency(class_counts, self.gamma),
            "shift_K": self.tau * log_prior(class_counts),
        }

    def objective(self, model: Any, logits_BK: Tensor, target_BK: Tensor, progress: float) -> Tensor:
        return soft_cross_entropy(model.scale_K * logits_BK + model.shift_K, target_BK)
