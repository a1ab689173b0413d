"""Learning rates by epoch, as pure functions (METHOD section 7). t is the epoch, 0-based, of T.

    cosine          lr/2 (1 + cos(pi t / T))
    warmup-cosine   lr (t + 1) / 10                               t <= 10
                    lr/2 (1 + cos(pi (t - 9) / (T - 9)))          t > 10

(The warm-up ends at 1.1 lr in epoch 10; so says the release's formula.) Departure: the release sets the rate of
warmup-cosine at the end of each epoch for the next one, so its first epoch runs at the full rate and the rest lags by
one epoch: ``first_epoch="full"``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fsgl.errors import UserError, unknown

SCHEDULES = ("cosine", "warmup-cosine")
FIRST_EPOCHS = ("warmup", "full")


@dataclass(frozen=True)
class Schedule:
    """lr: the base rate.  kind: "cosine" or "warmup-cosine".  first_epoch: of warmup-cosine; see above."""

    lr: float = 0.01
    kind: str = "cosine"
    first_epoch: str = "warmup"

    def __post_init__(self) -> None:
        if self.kind not in SCHEDULES:
            raise unknown("schedule", self.kind, SCHEDULES)
        if self.first_epoch not in FIRST_EPOCHS:
            raise unknown("first_epoch", self.first_epoch, FIRST_EPOCHS)
        if not 0 < self.lr < float("inf"):
            raise UserError(f"the learning rate must be positive, not {self.lr}")

    def rate(self, epoch: int, epochs: int) -> float:
        """The learning rate of one epoch (0-based)."""
        if self.kind == "cosine":
            return cosine(self.lr, epoch, epochs)
        if self.first_epoch == "full":
            return self.lr if epoch == 0 else warmup_cosine(self.lr, epoch - 1, epochs)
        return warmup_cosine(self.lr, epoch, epochs)


def cosine(lr: float, epoch: int, epochs: int) -> float:
    """From lr at epoch 0 towards 0 at epoch ``epochs`` (never run)."""
    return lr * 0.5 * (1 + math.cos(math.pi * epoch / epochs))


def warmup_cosine(lr: float, epoch: int, epochs: int) -> float:
    """A linear rise over epochs 0 to 10, then the cosine."""
    if epoch <= 10:
        return lr * (epoch + 1) / 10
    return lr * 0.5 * (1 + math.cos(math.pi * (epoch - 9) / (epochs - 9)))
