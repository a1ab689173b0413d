"""Averaging the weights of late epochs (SWA, Izmailov et al., UAI 2018, eq. 1 and algorithm 1).

    w_mean <- w_mean + (w - w_mean) / n          after each epoch from ``start`` on; n counts them

The mean is what is evaluated and saved; training goes on from w. Departures: the learning rate keeps its schedule (the
paper holds or cycles it), and BatchNorm's running statistics are averaged with the weights (the paper takes a pass over
the training images for them).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from fsgl.errors import UserError


@dataclass(frozen=True)
class AveragingSpec:
    """start: share of the epochs before the first that counts; 1 is no averaging."""

    start: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.start <= 1:
            raise UserError(f"averaging.start must be from 0 to 1, a share of the epochs, not {self.start}")


class WeightAverage:
    """The mean of a network's weights at several times.  model: a copy that holds it; before the first, as copied."""

    def __init__(self, model: nn.Module) -> None:
        self.model = copy.deepcopy(model)
        self.count = 0

    @torch.no_grad()
    def add(self, model: nn.Module) -> None:
        """Count the model's present weights and buffers in; whole numbers are taken over as they are."""
        self.count += 1
        present = model.state_dict()
        for name, mean in self.model.state_dict().items():
            if mean.is_floating_point():
                mean.lerp_(present[name], 1 / self.count)
            else:
                mean.copy_(present[name])

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.count = int(state["count"])
