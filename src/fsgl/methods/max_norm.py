"""MaxNorm on the classifier's rows (Alshammari et al., CVPR 2022, eq. 4 and section 4.3): see methods/two_stage.py.

    L   = mean_ik w_y BCE(softmax(o_i)_k, [k = y_i])        w: effective-number weights, beta 0.9999
    w_k <- min(1, radius / ||w_k||) w_k                     after every step of the second stage
    radius = shortest + threshold (longest - shortest)      of the rows ||w_k|| found when it begins

The second stage goes on with the classifier that it finds, on the frozen backbone, over the images as they are; it
rebalances by the loss, not by the draw, and has a rate and a weight decay of its own. The loss is what the authors'
code calls the class-balanced softmax loss: binary cross-entropy of the softmax's probabilities, a mean over images and
classes.

Departures: the projection comes after every step, as in the paper's section 4.3 (the authors' code projects after every
epoch); their first stage has a weight decay tuned for it (5e-3), ours the data set's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fsgl.losses.class_weights import effective_number_weights
from fsgl.losses.soft_target import soft_cross_entropy
from fsgl.methods.search import Range, Search
from fsgl.methods.two_stage import TwoStage
from fsgl.models.backbone import Backbone
from fsgl.settings import setting


@dataclass(frozen=True)
class MaxNorm(TwoStage):
    """Settings of MaxNorm. lr and weight_decay belong together, as SGD decays by their product."""

    threshold: float = setting(
        0.1, "where the radius lies between the shortest row found (0) and the longest (1)", at_least=0, at_most=1
    )
    lr: float = setting(0.01, "learning rate of the second stage", above=0)
    weight_decay: float = setting(0.1, "weight decay of the second stage", at_least=0)
    beta: float = setting(0.9999, "of the class weights", at_least=0, below=1)
    second: float = setting(0.1, "share of the epochs that train with it", above=0, below=1)

    name: ClassVar[str] = "max-norm"
    summary: ClassVar[str] = "MaxNorm and weight decay on the classifier, two stages (Alshammari et al. 2022)."
    origins: ClassVar[Mapping[str, str]] = {
        "threshold": "authors' code, demo of the second stage on CIFAR-100-LT, IF 100: thresh = 0.1",
        "lr": "authors' code, the same demo: base_lr = 0.01",
        "weight_decay": "authors' code, the same demo: 0.1",
        "beta": "authors' code, the same demo: 0.9999",
        "second": "ours: a tenth, as the other two-stage methods; the authors' code has 10 epochs after 200",
    }
    search: ClassVar[Mapping[str, Search]] = {
        "threshold": Range(0.0, 1.0),
        "weight_decay": Range(1e-3, 1.0, log=True),
        "second": Range(0.05, 0.5),
    }
    assumed_prior: ClassVar[str] = "uniform"
    balanced_second_stage: ClassVar[bool] = False

    def statistics(self, class_counts: Tensor) -> Mapping[str, Tensor]:
        return {"class_weights_K": effective_number_weights(class_counts, self.beta)}

    def build(self, backbone: Backbone, class_counts: Tensor) -> nn.Module:
        model: Any = super().build(backbone, class_counts)
        model.register_buffer("radius", torch.tensor(0.0))  # of the rows, once the second stage has begun
        model.in_second_stage = False
        return model

    def objective(self, model: Any, logits_BK: Tensor, target_BK: Tensor, progress: float) -> Tensor:
        if not model.in_second_stage:
            return soft_cross_entropy(logits_BK, target_BK)
        return class_balanced_binary_loss(logits_BK, target_BK, model.class_weights_K)

    def second_optim(self) -> tuple[float, float]:
        return self.lr, self.weight_decay

    def enter_second_stage(self, model: Any, fresh: bool) -> None:
        model.freeze_backbone()
        model.in_second_stage = True
        if fresh:
            lengths = torch.linalg.vector_norm(model.fc.weight.detach(), dim=1)
            model.radius.copy_(lengths.min() + self.threshold * (lengths.max() - lengths.min()))

    def constrain(self, model: Any) -> None:
        if model.in_second_stage:
            with torch.no_grad():
                lengths = torch.linalg.vector_norm(model.fc.weight, dim=1, keepdim=True)
                model.fc.weight.mul_((model.radius / lengths).clamp(max=1))


def class_balanced_binary_loss(logits_BK: Tensor, target_BK: Tensor, class_weights_K: Tensor) -> Tensor:
    """mean_ik w_{y_i} BCE(softmax(o_i)_k, y_ik): a scalar, in nats; target: rows summing to 1."""
    log_p = torch.log_softmax(logits_BK, dim=1)
    # log(1 - p) by expm1; no less than -100, as torch's own binary cross-entropy of probabilities has it.
    log_rest = torch.log((-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)).clamp_min(-100)
    losses_BK = -(target_BK * log_p.clamp_min(-100) + (1 - target_BK) * log_rest)
    return ((target_BK @ class_weights_K)[:, None] * losses_BK).mean()
