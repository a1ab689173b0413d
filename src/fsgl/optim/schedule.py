"""Learning rates, as pure functions (METHOD section 7). t is the epoch, 0-based, of T.

    cosine          lr/2 (1 + cos(pi t / T))
    warmup-cosine   lr (t + 1) / w                                t <= w;  w = 10, or T / 2 rounded down where T < 20
                    lr/2 (1 + cos(pi (t - w + 1) / (T - w + 1)))  t > w
    warmup-steps    lr (t + 1) / warmup                           t < warmup
                    lr, lr drop, lr drop^2                        up to 0.8 T, up to 0.9 T, after
    step-cosine     lr t / (share T)                              t < share T;  t at the middle of each step
                    lr/2 (1 + cos(pi (t - share T) / (T - share T)))

warmup-steps is the long-tail field's: warmup 5 and drop 0.01 in the code of LDAM-DRW (T = 200: 160 and 180; Cao et al.
2019), drop 0.1 in SADE's and BCL's, drop 0.1 and warmup 10 in PaCo's (T = 400: 320 and 360).

step-cosine is what fine-tuning uses everywhere: the rate changes with each step, so that a run of few epochs has a
warm-up too. (The warm-up of warmup-cosine ends at 1.1 lr in epoch 10; so says the release's formula, whose w is 10
whatever T is: in a run of 11 epochs or fewer that never ends.) Departure: the release sets the rate of warmup-cosine at
the end of each epoch for the next one, so its first epoch runs at the full rate and the rest lags by one epoch:
``first_epoch="full"``, with w = 10.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fsgl.errors import UserError
from fsgl.settings import check, setting

SCHEDULES = ("cosine", "warmup-cosine", "warmup-steps", "step-cosine")
STEPS = (0.8, 0.9)  # shares of the epochs after which the rate drops
FIRST_EPOCHS = ("warmup", "full")


@dataclass(frozen=True)
class Schedule:
    """The learning rate of each epoch."""

    lr: float = setting(0.01, "base learning rate", above=0)
    kind: str = setting("cosine", "how it falls", choices=SCHEDULES)
    first_epoch: str = setting("warmup", "of warmup-cosine: the warm-up's rate, or the full one", choices=FIRST_EPOCHS)
    warmup: int = setting(5, "epochs, of warmup-steps", at_least=0, later=True)
    drop: float = setting(0.01, "factor, of warmup-steps", above=0, at_most=1, later=True)
    warmup_share: float = setting(
        0.1, "share of all steps that the warm-up of step-cosine takes", at_least=0, below=1, later=True
    )

    def __post_init__(self) -> None:
        check(self, "schedule")
        if self.kind != "warmup-steps" and (self.warmup, self.drop) != (5, 0.01):
            raise UserError(f"schedule.warmup and schedule.drop belong to the kind warmup-steps, not to {self.kind}")
        if self.kind != "step-cosine" and self.warmup_share != 0.1:
            raise UserError(f"schedule.warmup_share belongs to the kind step-cosine, not to {self.kind}")

    @property
    def by_step(self) -> bool:
        """Whether the rate changes within an epoch."""
        return self.kind == "step-cosine"

    def rate(self, epoch: float, epochs: int) -> float:
        """The learning rate of one epoch (0-based); of a step, where it goes by steps: epoch + (step + 1/2) / steps."""
        if self.kind == "step-cosine":
            return step_cosine(self.lr, epoch, epochs, self.warmup_share)
        if self.kind == "cosine":
            return cosine(self.lr, epoch, epochs)
        if self.kind == "warmup-steps":
            return warmup_steps(self.lr, epoch, epochs, self.warmup, self.drop)
        if self.first_epoch == "full":
            return self.lr if epoch == 0 else warmup_cosine(self.lr, epoch - 1, epochs)
        return warmup_cosine(self.lr, epoch, epochs, max(1, min(10, epochs // 2)))


def cosine(lr: float, epoch: float, epochs: int) -> float:
    """From lr at epoch 0 towards 0 at epoch ``epochs`` (never run)."""
    return lr * 0.5 * (1 + math.cos(math.pi * epoch / epochs))


def warmup_cosine(lr: float, epoch: float, epochs: int, rise: int = 10) -> float:
    """A linear rise over epochs 0 to ``rise``, then the cosine."""
    if epoch <= rise:
        return lr * (epoch + 1) / rise
    return lr * 0.5 * (1 + math.cos(math.pi * (epoch - rise + 1) / (epochs - rise + 1)))


def step_cosine(lr: float, place: float, epochs: int, share: float) -> float:
    """A linear rise over a share of the training, then the cosine to 0. place: in [0, epochs)."""
    rise = share * epochs
    if place < rise:
        return lr * place / rise
    return lr * 0.5 * (1 + math.cos(math.pi * (place - rise) / (epochs - rise)))


def warmup_steps(lr: float, epoch: float, epochs: int, warmup: int, drop: float) -> float:
    """A linear rise over the first epochs, then constant but for a drop after 80 and after 90 % of the epochs."""
    if epoch < warmup:
        return lr * (epoch + 1) / warmup
    return lr * drop ** sum(epoch >= share * epochs for share in STEPS)
