"""Plain cross-entropy on one view of one stream: the baseline every long-tail paper starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from fsgl.losses.soft_target import soft_cross_entropy
from fsgl.methods.one_view import OneView


@dataclass(frozen=True)
class CrossEntropy(OneView):
    """No settings: the loss is -log softmax(o)_label, averaged over the batch."""

    name: ClassVar[str] = "cross-entropy"
    summary: ClassVar[str] = "Plain cross-entropy, with the same optimiser and epochs."
    origins: ClassVar[Mapping[str, str]] = {}

    def objective(self, model: Any, logits_BK: Tensor, target_BK: Tensor, progress: float) -> Tensor:
        return soft_cross_entropy(logits_BK, target_BK)
