"""Logit-adjusted loss (Menon et al., ICLR 2021, eq. 10); its post-hoc twin: evaluation/posthoc.py.

    L = CE(o + tau log pi, y)          pi_k = n_k / N

With tau = 1, the paper's own value and the default, it coincides with Balanced Softmax (methods/balanced_softmax.py):
the same runs, to the last bit, under another name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from fsgl.losses.margins import log_prior
from fsgl.losses.soft_target import soft_cross_entropy
from fsgl.methods.one_view import OneView
from fsgl.methods.search import Range, Search
from fsgl.settings import setting


@dataclass(frozen=True)
class LogitAdjustment(OneView):
    """Settings of logit adjustment."""

    tau: float = setting(1.0, "0 is cross-entropy, 1 is Balanced Softmax; the paper's figure 3 tries others around it")

    name: ClassVar[str] = "logit-adjustment"
    summary: ClassVar[str] = "Logit-adjusted loss (Menon et al. 2021); with tau = 1 it is Balanced Softmax."
    origins: ClassVar[Mapping[str, str]] = {"tau": "paper, experiments: tau = 1 wherever it is not said to be tuned"}
    search: ClassVar[Mapping[str, Search]] = {"tau": Range(0.25, 2.5)}
    assumed_prior: ClassVar[str] = "uniform"

    def statistics(self, class_counts: Tensor) -> Mapping[str, Tensor]:
        return {"adjustment_K": self.tau * log_prior(class_counts)}

    def objective(self, model: Any, logits_BK: Tensor, target_BK: Tensor, progress: float) -> Tensor:
        return soft_cross_entropy(logits_BK + model.adjustment_K, target_BK)
