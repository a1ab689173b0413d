"""Focal loss (Lin et al., ICCV 2017); the formula: losses/focal.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from fsgl.losses.focal import focal_loss
from fsgl.methods.one_view import OneView
from fsgl.methods.search import Range, Search
from fsgl.settings import setting


@dataclass(frozen=True)
class Focal(OneView):
    """Settings of the focal loss."""

    gamma: float = setting(
        1.0, "how much less a well-classified image counts; 0 is cross-entropy, long-tail papers use 1 to 2", at_least=0
    )

    name: ClassVar[str] = "focal"
    summary: ClassVar[str] = "Focal loss (Lin et al. 2017)."
    origins: ClassVar[Mapping[str, str]] = {
        "gamma": "code of LDAM-DRW (Cao et al. 2019), the field's focal row; the paper has 2 for detection"
    }
    search: ClassVar[Mapping[str, Search]] = {"gamma": Range(0.25, 4, log=True)}

    def objective(self, model: Any, logits_BK: Tensor, target_BK: Tensor, progress: float) -> Tensor:
        return focal_loss(logits_BK, target_BK, self.gamma)
