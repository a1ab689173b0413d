"""The contract of a training method.

A method is a frozen dataclass of its settings with a few functions; the engine knows nothing else of it. ``mix`` is
apart from ``loss`` so that both passes of SAM see the same mixed batch.

State. A frozen dataclass holds none: what a method keeps from step to step (a queue, a momentum encoder) is buffers and
modules of the network that it builds. So it is saved in checkpoints, moved between devices and given to every process
as weights are. It changes in ``prepare`` and ``remember`` alone, once a step, never in ``loss``, which SAM calls twice.
With several processes ``remember`` is given the way to see the rows of all of them, so that their states stay alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor, nn

from fsgl.methods.search import Search
from fsgl.models.backbone import Backbone
from fsgl.settings import check
from fsgl.types import Batch, Losses, Mixed

# From this process's rows of a step to those of all processes, in the order of the step.
Join = Callable[[Tensor], Tensor]


class Method(Protocol):
    """What the engine asks of a method. See docs/add-a-method.md. What has a value or a body need not be stated."""

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line, for ``fsgl recipes``."""
    origins: ClassVar[Mapping[str, str]]
    """Where the default of each setting comes from: the paper and its place, the authors' code, or that it is ours."""
    published: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Data set to the settings that the paper has for it, where they are not the defaults."""
    search: ClassVar[Mapping[str, Search]] = {}
    """What ``fsgl tune`` may try for its settings; a setting of a setting by its dotted name."""
    views: ClassVar[int]
    """Augmented views of every drawn image."""
    assumed_prior: ClassVar[str]
    """Class frequencies that its probabilities hold for, about: "training", or "uniform" of a rebalanced classifier."""
    needs_two_streams: ClassVar[bool]
    """Whether batches carry a rebalanced sample beside the original one."""
    mixes_pixels: ClassVar[bool] = False
    """Whether it needs images, so that cached features cannot stand in for them."""
    passes: ClassVar[int]
    """Forward (and backward) passes of the backbone a step, without SAM."""
    stateful: ClassVar[bool] = False
    """Whether ``prepare`` or ``remember`` do anything."""
    balanced_second_stage: ClassVar[bool] = True
    """Whether a second stage draws every class as often; otherwise it goes on with passes over the data."""

    def __post_init__(self) -> None:
        check(self, "method")

    @classmethod
    def on(cls, data: str) -> Self:
        """The method as published for a data set; with its defaults where nothing is published for that one."""
        return cls(**cls.published.get(data, {}))

    @property
    def searched(self) -> Mapping[str, Search]:
        """Of ``search``, what changes the training as the other settings are."""
        return self.search

    @property
    def resample_weighting(self) -> float:
        """q of the rebalanced stream: an image of class k is drawn in proportion to 1 / n_k^q."""
        ...

    def build(self, backbone: Backbone, class_counts: Tensor) -> nn.Module:
        """A network on this backbone, fresh on top of it, for classes with these training counts (``K`` int64)."""
        ...

    def widened(self, backbone: Backbone) -> nn.Module:
        """The backbone as its network has it: of several experts, more of it. What a pass costs goes by this."""
        return backbone

    def begin(self, model: Any, pretrained: bool) -> None:
        """Called once the weights that training begins with are in place: copies of them are made here. pretrained:
        whether the backbone's are."""
        return

    def mix(self, batch: Batch, num_classes: int, generator: torch.Generator) -> Mixed:
        """What the network is shown for this batch; all randomness from the generator."""
        ...

    def prepare(self, model: Any, mixed: Mixed) -> Mixed:
        """Called once a step, before its one or two passes, without gradients; what it adds to ``mixed.extras`` is the
        same in both."""
        return mixed

    def loss(self, model: Any, mixed: Mixed, progress: float) -> Losses:
        """The objectives; progress in [0, 1) is epoch / epochs."""
        ...

    def remember(self, model: Any, mixed: Mixed, join: Join) -> None:
        """Called once after every step, without gradients, with what ``prepare`` returned: to fill a queue, say."""
        return

    def predict(self, model: Any, images_BCHW: Tensor) -> Tensor:
        """Logits ``B x K`` used at test."""
        ...

    def second_stage(self, epochs: int) -> int | None:
        """The epoch from which the network is trained otherwise, with a cosine schedule of its own. None for training
        in one piece."""
        return None

    def second_optim(self) -> tuple[float | None, float | None]:
        """Base learning rate and weight decay of the second stage; None is that of the first."""
        return None, None

    def enter_second_stage(self, model: Any, fresh: bool) -> None:
        """Freeze what the second stage leaves alone; fresh: it begins now (it is no resumption), so also initialise
        what it trains anew, from torch's global generator."""
        return

    def constrain(self, model: Any) -> None:
        """Called after every step, for weights that must stay within bounds."""
        return
