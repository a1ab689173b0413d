"""One training step, whole.

    mixed = method.mix(batch)                      what the network is shown, the same in both passes
    method.prepare(model, mixed)                   where a method keeps state
    ascend:   forward, backward, exchange          with SAM: to w + rho g / ||g||
    descend:  forward, backward, exchange          the gradient there
    optimizer.step()                               from w
    method.constrain(model)                        where weights must stay within bounds
    method.remember(model, mixed)                  where a method keeps state

Nothing in it waits for the device, and nothing in it asks for the configuration. ``exchange`` sums the gradients of
several processes and does nothing in one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from fsgl.engine.processes import ALONE, Processes
from fsgl.engine.tally import Tally
from fsgl.methods.base import Method
from fsgl.optim.sam import Ascent
from fsgl.types import Batch, Losses, Mixed, Share


@dataclass(frozen=True)
class Update:
    """How a mixed batch changes the weights.

    tally: where the losses are summed and watched. A fused optimizer (``fused=True``) leaves the weights as they are
    from the first loss that is no number on; others write NaN until somebody reads the tally.
    processes: that share the step.  ascending: those whose gradients SAM's ascent follows, all or just this one.
    """

    model: nn.Module
    method: Method
    optimizer: torch.optim.Optimizer
    ascend: Ascent
    tally: Tally = field(default_factory=Tally)
    processes: Processes = ALONE
    ascending: Processes = ALONE

    def __post_init__(self) -> None:
        if self.optimizer.defaults.get("fused"):
            self.optimizer.found_inf = self.tally.bad  # type: ignore[attr-defined]

    def __call__(self, mixed: Mixed, progress: float, share: Share) -> Losses:
        """Ascend (with SAM), descend. Returns the losses that were descended; progress: epoch / epochs."""

        def gradient(objective: Callable[[Losses], Tensor], processes: Processes) -> tuple[Losses, Tensor]:
            losses = self.method.loss(self.model, mixed, progress)
            objective(losses).backward()
            values = processes.exchange(self.model.parameters(), self.tally.values(losses), share.weight)
            self.tally.check(values)
            return losses, values

        with torch.no_grad():
            mixed = self.method.prepare(self.model, mixed)
        self.optimizer.zero_grad(set_to_none=True)
        with self.ascend(lambda: gradient(lambda losses: losses.ascended, self.ascending)):
            descended, values = gradient(lambda losses: losses.total, self.processes)
        self.optimizer.step()
        self.method.constrain(self.model)
        with torch.no_grad():
            self.method.remember(self.model, mixed, lambda rows: self.processes.join(rows, share))
        self.tally.add(values, share.total)
        # Detached: the graph behind it would keep the memory of this step, and its streams, alive into the next.
        return Losses(descended.total.detach(), terms=descended.terms)


# Update itself, or engine/graphs.py's replay of it.
Updates = Callable[[Mixed, float, Share], Losses]


def training_step(
    update: Updates, method: Method, batch: Batch, num_classes: int, progress: float, generator: torch.Generator
) -> Losses:
    """Mix, ascend (with SAM), descend. Returns the losses that were descended.

    progress: epoch / epochs.  generator: of the mixture's random numbers.
    """
    share = batch.share or Share(batch.images, batch.images)
    return update(method.mix(batch, num_classes, generator), progress, share)
