"""Class-balanced loss by the effective number of images (Cui et al., CVPR 2019, eq. 2 and 5).

    L = mean_i w_y CE(o_i, y_i)          w_k ~ (1 - beta) / (1 - beta^n_k), with mean 1 over the classes

(the weights: losses/class_weights.py)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from fsgl.losses.class_weights import effective_number_weights
from fsgl.losses.soft_target import soft_cross_entropy
from fsgl.methods.one_view import OneView
from fsgl.methods.search import Choice, Search
from fsgl.settings import setting


@dataclass(frozen=True)
class ClassBalanced(OneView):
    """Settings of class-balanced weights."""

    beta: float = setting(0.9999, "0 is cross-entropy, towards 1 the weights go as 1 / n_k", at_least=0, below=1)

    name: ClassVar[str] = "class-balanced"
    summary: ClassVar[str] = "Weights by the effective number of images (Cui et al. 2019)."
    origins: ClassVar[Mapping[str, str]] = {
        "beta": "code of LDAM-DRW (Cao et al. 2019), its re-weighting; within the paper's 0.9 to 0.9999"
    }
    search: ClassVar[Mapping[str, Search]] = {"beta": Choice((0.9, 0.99, 0.999, 0.9999))}
    assumed_prior: ClassVar[str] = "uniform"

    def statistics(self, class_counts: Tensor) -> Mapping[str, Tensor]:
        return {"class_weights_K": effective_number_weights(class_counts, self.beta)}

    def objective(self, model: Any, logits_BK: Tensor, target_BK: Tensor, progress: float) -> Tensor:
        return soft_cross_entropy(logits_BK, model.class_weights_K * target_BK)
