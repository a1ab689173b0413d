"""One training step, whole."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fsgl.methods.base import Method
from fsgl.optim.sam import Ascent
from fsgl.types import Batch, Losses


class NonFiniteLoss(ArithmeticError):
    """A loss term became NaN or infinite. ``terms`` names which, with their values."""

    def __init__(self, terms: dict[str, float]) -> None:
        self.terms = terms
        super().__init__(", ".join(f"{name} is {value}" for name, value in terms.items()))


def training_step(
    model: nn.Module,
    method: Method,
    optimizer: torch.optim.Optimizer,
    ascend: Ascent,
    batch: Batch,
    num_classes: int,
    progress: float,
    generator: torch.Generator,
) -> Losses:
    """Mix, climb (with SAM), descend. Returns the losses that were descended, detached from nothing.

    progress: epoch / epochs.  generator: of the mixture's random numbers.
    Raises NonFiniteLoss before the weights are changed.
    """
    mixed = method.mix(batch, num_classes, generator)

    def losses() -> Losses:
        return require_finite(method.loss(model, mixed, progress))

    optimizer.zero_grad(set_to_none=True)
    with ascend(lambda: losses().climbed):
        descended = losses()
        descended.total.backward()
    optimizer.step()
    return descended


def require_finite(losses: Losses) -> Losses:
    """The losses, if their total is a number. On a GPU this waits for the forward pass."""
    if not bool(torch.isfinite(losses.total)):
        values: dict[str, Tensor] = {**losses.terms, "total": losses.total.detach()}
        bad = {name: float(value) for name, value in values.items() if not bool(torch.isfinite(value))}
        raise NonFiniteLoss(bad if len(bad) == 1 else {name: value for name, value in bad.items() if name != "total"})
    return losses
