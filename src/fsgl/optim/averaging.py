"""Averaging the weights of late epochs (SWA, Izmailov et al., UAI 2018, eq. 1 and algorithm 1).

    w_mean <- w_mean + (w - w_mean) / n             at the end of each cycle from ``start`` on; n counts them
    rate(t) = lr                                    t <= s/2            s = start * T, the budget of plain training
              from lr down to high lr, linearly     s/2 < t <= 0.9 s
              high lr                               0.9 s < t < s
              (1 - u) high lr + u low lr            from s on; u = ((t - s) mod c + 1) / c, the paper's section 3.1

The mean is what is evaluated and saved; training goes on from w. Its BatchNorm statistics are computed anew, in a pass
over the training images. A cycle of one epoch (c = 1) has the constant rate ``high``: with low = high, the default.

The rates are the paper's: from the budget's last quarter on they no longer fall, so that w moves on among good weights
and the mean is of weights that differ. Departures: within a cycle the rate changes by epochs, the paper's by steps; and
BatchNorm's pass is over the images as augmented in the last epoch, each batch weighing the same.

``ema`` is another average: of the weights after every step, later steps weighing more, at the schedule's own rates, as
TensorFlow's models and timm's have it. Its BatchNorm statistics are averaged, too.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from fsgl.errors import UserError
from fsgl.settings import check, setting
from fsgl.types import Batch


@dataclass(frozen=True)
class AveragingSpec:
    """When weights begin to count, and the cycles of the rate from then on; or an average of all steps' weights."""

    start: float = setting(
        1.0, "share of the epochs before the first that counts; 1 is no averaging", at_least=0, at_most=1
    )
    high: float = setting(
        0.5, "rate at the beginning of a cycle, as a share of schedule.lr; 0.5 is the authors' on CIFAR", above=0
    )
    low: float = setting(0.5, "rate at the end of a cycle", above=0)
    cycle: int = setting(1, "epochs of a cycle; 1 averages every epoch, at the rate low", at_least=1)

    ema: float = setting(
        0.0, "decay a step of an exponential moving average of the weights, which is what is scored; 0 is none",
        at_least=0, below=1, later=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        check(self, "averaging")
        if self.ema and self.on:
            raise UserError("averaging.ema and averaging.start are two ways to average; name one")
        if self.low > self.high:
            raise UserError(f"averaging.low ({self.low}) must be at most averaging.high ({self.high})")

    @property
    def on(self) -> bool:
        return self.start < 1

    def counts(self, epoch: int, epochs: int) -> bool:
        """Whether the weights at the end of this epoch (0-based) are counted in."""
        place = epoch - self._first(epochs)
        return self.on and place >= 0 and (place + 1) % self.cycle == 0

    def rate(self, lr: float, epoch: int, epochs: int) -> float:
        """The learning rate of one epoch (0-based)."""
        first = self._first(epochs)
        if epoch >= first:
            passed = ((epoch - first) % self.cycle + 1) / self.cycle
            return lr * ((1 - passed) * self.high + passed * self.low)
        fallen = min(max((epoch / first - 0.5) / 0.4, 0.0), 1.0)
        return lr * (1 - fallen * (1 - self.high))

    def _first(self, epochs: int) -> int:
        return min(round(self.start * epochs), epochs - 1)


class WeightAverage:
    """The mean of a network's weights at several times.  model: a copy that holds it; before the first, as copied.

    >>> import fsgl, torch
    >>> net = torch.nn.Linear(1, 1, bias=False)
    >>> average = fsgl.WeightAverage(net)
    >>> for value in (1.0, 3.0):
    ...     _ = torch.nn.init.constant_(net.weight, value)
    ...     average.add(net)
    >>> average.model.weight.item()
    2.0
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = copy.deepcopy(model)
        self.count = 0

    @torch.no_grad()
    def add(self, model: nn.Module) -> None:
        """Count the model's present weights in. Buffers are taken over as they are."""
        self.count += 1
        averaged = dict(self.model.named_parameters())
        for name, present in model.named_parameters():
            averaged[name].lerp_(present, 1 / self.count)
        kept = dict(self.model.named_buffers())
        for name, buffer in model.named_buffers():
            kept[name].copy_(buffer)

    @torch.no_grad()
    def blend(self, model: nn.Module, decay: float) -> None:
        """mean <- d mean + (1 - d) w, of weights and statistics alike; d = min(decay, (1 + n) / (10 + n)) in step n."""
        self.count += 1
        share = 1 - min(decay, (1 + self.count) / (10 + self.count))
        for kept, present in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if kept.is_floating_point():
                kept.lerp_(present, share)
            else:
                kept.copy_(present)

    @torch.no_grad()
    def renew_statistics(self, batches: Iterable[Batch]) -> None:
        """BatchNorm's running statistics, of what the mean weights make of these batches' original images: their mean
        over batches. Those of layers whose weights are frozen stay."""
        found = [layer for layer in self.model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
        frozen = [layer for layer in found if not all(weight.requires_grad for weight in layer.parameters())]
        was_training = self.model.training
        self.model.train()
        # Those that normalise by kept statistics in training, too, keep them here.
        layers = [each for each in found if each not in frozen and each.training and each.track_running_stats]
        if not layers:
            self.model.train(was_training)
            return
        momenta = [layer.momentum for layer in layers]
        for layer in frozen:
            layer.eval()
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # a cumulative mean
        for batch in batches:
            self.model.predict(batch.original.views[0])  # type: ignore[operator]
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        self.model.train(was_training)

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.count = int(state["count"])
