"""The contract of a training method.

A method is a frozen dataclass of its settings with four functions; the engine knows nothing else of
it. ``mix`` is apart from ``loss`` so that both passes of SAM see the same mixed batch.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from fsgl.models.backbone import Backbone
from fsgl.types import Batch, Losses, Mixed


class Method(Protocol):
    """What the engine asks of a method. See docs/add-a-method.md. The last three have an answer already."""

    name: ClassVar[str]
    views: ClassVar[int]
    """Augmented views of every drawn image."""
    assumed_prior: ClassVar[str]
    """Class frequencies that its probabilities hold for, about: "training", or "uniform" of a rebalanced classifier."""
    needs_two_streams: ClassVar[bool]
    """Whether batches carry a rebalanced sample beside the original one."""
    passes: ClassVar[int]
    """Forward (and backward) passes of the backbone a step, without SAM."""

    @property
    def resample_weighting(self) -> float:
        """q of the rebalanced stream: an image of class k is drawn in proportion to 1 / n_k^q."""
        ...

    def build(self, backbone: Backbone, class_counts: Tensor) -> nn.Module:
        """A network on this backbone, fresh on top of it, for classes with these training counts (``K`` int64)."""
        ...

    def mix(self, batch: Batch, num_classes: int, generator: torch.Generator) -> Mixed:
        """What the network is shown for this batch; all randomness from the generator."""
        ...

    def loss(self, model: Any, mixed: Mixed, progress: float) -> Losses:
        """The objectives; progress in [0, 1) is epoch / epochs."""
        ...

    def predict(self, model: Any, images_BCHW: Tensor) -> Tensor:
        """Logits ``B x K`` used at test."""
        ...

    def second_stage(self, epochs: int) -> int | None:
        """The epoch from which the network is trained otherwise: with every class drawn as often, and a cosine schedule
        of its own. None for training in one piece."""
        return None

    def enter_second_stage(self, model: Any, fresh: bool) -> None:
        """Freeze what the second stage leaves alone; fresh: it begins now (it is no resumption), so also initialise
        what it trains anew, from torch's global generator."""
        return

    def constrain(self, model: Any) -> None:
        """Called after every step, for weights that must stay within bounds."""
        return
