"""Balanced Softmax (Ren et al., NeurIPS 2020, eq. 4): the training prior added to the logits that are trained.

    L = CE(o + log pi, y)          pi_k = n_k / N

Logit adjustment with tau = 1, its default (methods/logit_adjustment.py), is the same loss under another name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from fsgl.losses.margins import log_prior
from fsgl.losses.soft_target import soft_cross_entropy
from fsgl.methods.one_view import OneView


@dataclass(frozen=True)
class BalancedSoftmax(OneView):
    """No settings."""

    name: ClassVar[str] = "balanced-softmax"
    summary: ClassVar[str] = "Balanced Softmax (Ren et al. 2020)."
    origins: ClassVar[Mapping[str, str]] = {}
    assumed_prior: ClassVar[str] = "uniform"

    def statistics(self, class_counts: Tensor) -> Mapping[str, Tensor]:
        return {"log_prior_K": log_prior(class_counts)}

    def objective(self, model: Any, logits_BK: Tensor, target_BK: Tensor, progress: float) -> Tensor:
        return soft_cross_entropy(logits_BK + model.log_prior_K, target_BK)
