"""MaxNorm on the classifier's rows (Alshammari et al., CVPR 2022, eq. 4 and section 4.3): see methods/two_stage.py.

    w_k <- min(1, radius / ||w_k||) w_k          after every step of the second stage

The second stage goes on with the classifier that it finds, on the frozen backbone. Departure: every class is drawn as
often, where the paper weighs the loss by the effective number of images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from fsgl.errors import UserError
from fsgl.methods.two_stage import TwoStage


@dataclass(frozen=True)
class MaxNorm(TwoStage):
    """radius: largest length of a row.  second: share of the epochs that train with it."""

    radius: float = 1.0
    second: float = 0.1

    name: ClassVar[str] = "max-norm"
    assumed_prior: ClassVar[str] = "uniform"

    def __post_init__(self) -> None:
        if not 0 < self.radius < float("inf"):
            raise UserError(f"radius must be positive, not {self.radius}")

    def enter_second_stage(self, model: Any, fresh: bool) -> None:
        model.freeze_backbone()

    def constrain(self, model: Any) -> None:
        if model.frozen:
            with torch.no_grad():
                model.fc.weight.renorm_(2, 0, self.radius)
