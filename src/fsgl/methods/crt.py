"""cRT, classifier re-training (Kang et al., ICLR 2020, section 4.1): see methods/two_stage.py.

The second stage trains a new linear classifier, freshly initialised, on the frozen backbone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from fsgl.methods.search import Range, Search
from fsgl.methods.two_stage import SECOND, TwoStage
from fsgl.settings import setting

BATCH_NORMS = ("frozen", "batch")


@dataclass(frozen=True)
class Crt(TwoStage):
    """Settings of cRT."""

    second: float = setting(0.1, "share of the epochs that re-train the classifier", above=0, below=1)
    batch_norm: str = setting(
        "frozen",
        "of the backbone in the second stage: by the first stage's statistics, or by the batches of the second, which "
        "its statistics follow (the authors' code)",
        choices=BATCH_NORMS,
        later=True,
    )

    name: ClassVar[str] = "crt"
    summary: ClassVar[str] = "Classifier re-training, two stages (Kang et al. 2020)."
    origins: ClassVar[Mapping[str, str]] = {
        "second": SECOND,
        "batch_norm": "paper, section 4.1: the representation is fixed; the authors' code leaves it in training mode",
    }
    search: ClassVar[Mapping[str, Search]] = {"second": Range(0.05, 0.5)}
    assumed_prior: ClassVar[str] = "uniform"

    def enter_second_stage(self, model: Any, fresh: bool) -> None:
        model.freeze_backbone(statistics=self.batch_norm == "frozen")
        if fresh:
            model.fc.reset_parameters()
