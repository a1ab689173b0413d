"""What the decoupled methods share (Kang et al., ICLR 2020): a representation first, then a classifier on it, frozen.

The first stage is plain cross-entropy. The second takes the last tenth of the epochs (as the paper's 10 of 100), draws
every class as often and has a cosine schedule of its own, so that the whole costs what one stage would: fsgl's rows
have equal epochs.

The frozen backbone's BatchNorm keeps the first stage's statistics in the second, in training too. (In the code of Kang
et al. the weights are frozen, but BatchNorm goes on in training mode: it normalises by the batches of the second stage
and its statistics follow them. ``Crt.batch_norm`` chooses.)
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fsgl.errors import UserError
from fsgl.losses.soft_target import soft_cross_entropy
from fsgl.methods.one_view import OneView

SECOND = "paper (Kang et al. 2020), section 5.1 and appendix: 10 epochs after 90 to 200"


class TwoStage(OneView):
    """Not a method: the part of the contract that is the same for them.

    second: share of the epochs, in (0, 1), that the second stage takes.
    """

    second: float

    def second_stage(self, epochs: int) -> int:
        if epochs < 2:
            raise UserError(f"{self.name} trains in two stages and needs 2 epochs or more, not {epochs}")
        return epochs - min(max(1, round(self.second * epochs)), epochs - 1)

    def objective(self, model: Any, logits_BK: Tensor, target_BK: Tensor, progress: float) -> Tensor:
        return soft_cross_entropy(logits_BK, target_BK)
