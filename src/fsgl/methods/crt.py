"""cRT, classifier re-training (Kang et al., ICLR 2020, section 4.1): see methods/two_stage.py.

The second stage trains a new linear classifier, freshly initialised, on the frozen backbone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from fsgl.errors import unknown
from fsgl.methods.two_stage import SECOND, TwoStage

BATCH_NORMS = ("frozen", "batch")


@dataclass(frozen=True)
class Crt(TwoStage):
    """second: share of the epochs that re-train the classifier.

    batch_norm: of the backbone in the second stage: "frozen", by the first stage's statistics; "batch", by the batches
    of the second, which its statistics follow, as in the authors' code.
    """

    second: float = 0.1
    batch_norm: str = field(default="frozen", metadata={"later": True})

    name: ClassVar[str] = "crt"
    summary: ClassVar[str] = "Classifier re-training, two stages (Kang et al. 2020)."
    origins: ClassVar[Mapping[str, str]] = {
        "second": SECOND,
        "batch_norm": "paper, section 4.1: the representation is fixed; the authors' code leaves it in training mode",
    }
    assumed_prior: ClassVar[str] = "uniform"

    def __post_init__(self) -> None:
        if self.batch_norm not in BATCH_NORMS:
            raise unknown("batch_norm", self.batch_norm, BATCH_NORMS)

    def enter_second_stage(self, model: Any, fresh: bool) -> None:
        model.freeze_backbone(statistics=self.batch_norm == "frozen")
        if fresh:
            model.fc.reset_parameters()
