"""cRT, classifier re-training (Kang et al., ICLR 2020, section 4.1): see methods/two_stage.py.

The second stage trains a new linear classifier, freshly initialised, on the frozen backbone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from fsgl.methods.two_stage import TwoStage


@dataclass(frozen=True)
class Crt(TwoStage):
    """second: share of the epochs that re-train the classifier."""

    second: float = 0.1

    name: ClassVar[str] = "crt"
    assumed_prior: ClassVar[str] = "uniform"

    def enter_second_stage(self, model: Any, fresh: bool) -> None:
        model.freeze_backbone()
        if fresh:
            model.fc.reset_parameters()
