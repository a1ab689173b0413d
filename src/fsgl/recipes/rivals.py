"""The rivals: one network, one view, and a data set's own optimiser, schedule and epochs, so that rows can be compared.

What a method has of settings of its own is at its paper's value, or at one that its paper tunes around; nothing here is
tuned for a data set.
"""

from __future__ import annotations

from fsgl.data.load import DataSpec
from fsgl.methods import (
    BalancedSoftmax,
    ClassBalanced,
    CrossEntropy,
    Crt,
    CutMix,
    Focal,
    LdamDrw,
    LogitAdjustment,
    Lws,
    MaxNorm,
    Method,
    MixUp,
    VectorScaling,
)
from fsgl.optim.averaging import AveragingSpec
from fsgl.optim.sam import SamSpec
from fsgl.optim.schedule import Schedule
from fsgl.recipes.experiment import Experiment, OptimSpec

RIVALS: dict[str, tuple[Method, str]] = {
    "cross-entropy": (CrossEntropy(), "Plain cross-entropy, with the same optimiser and epochs."),
    "mixup": (MixUp(), "MixUp (Zhang et al. 2018)."),
    "cutmix": (CutMix(), "CutMix (Yun et al. 2019)."),
    "focal": (Focal(), "Focal loss (Lin et al. 2017)."),
    "class-balanced": (ClassBalanced(), "Weights by the effective number of images (Cui et al. 2019)."),
    "ldam-drw": (LdamDrw(), "Label-distribution-aware margins, deferred re-weighting (Cao et al. 2019)."),
    "balanced-softmax": (BalancedSoftmax(), "Balanced Softmax (Ren et al. 2020)."),
    "logit-adjustment": (LogitAdjustment(), "Logit-adjusted loss (Menon et al. 2021)."),
    "vector-scaling": (VectorScaling(), "Vector-scaling loss (Kini et al. 2021)."),
    "crt": (Crt(), "Classifier re-training, two stages (Kang et al. 2020)."),
    "lws": (Lws(), "Learnable weight scaling, two stages (Kang et al. 2020)."),
    "max-norm": (MaxNorm(), "MaxNorm on the classifier, two stages (Alshammari et al. 2022)."),
    "weight-averaging": (CrossEntropy(), "Cross-entropy, weights averaged over late epochs (Izmailov et al. 2018)."),
}
AVERAGED_FROM = 0.75  # share of the epochs, as the paper's CIFAR runs


def rival(recipe: str, data: DataSpec, backbone: str, optim: OptimSpec, schedule: Schedule) -> Experiment:
    """The experiment of a rival, with a data set's shared settings."""
    averaging = AveragingSpec(AVERAGED_FROM) if recipe == "weight-averaging" else AveragingSpec()
    method, _ = RIVALS[recipe]
    return Experiment(recipe, data, backbone, method, optim, schedule, SamSpec(0.0), averaging=averaging)
