"""Training methods, one small file each, in one explicit dict."""

from __future__ import annotations

from fsgl.methods.balanced_softmax import BalancedSoftmax
from fsgl.methods.base import Method
from fsgl.methods.class_balanced import ClassBalanced
from fsgl.methods.cross_entropy import CrossEntropy
from fsgl.methods.crt import Crt
from fsgl.methods.cutmix import CutMix
from fsgl.methods.focal import Focal
from fsgl.methods.glmc import Glmc
from fsgl.methods.ldam_drw import LdamDrw
from fsgl.methods.logit_adjustment import LogitAdjustment
from fsgl.methods.lws import Lws
from fsgl.methods.max_norm import MaxNorm
from fsgl.methods.mixup import MixUp
from fsgl.methods.vector_scaling import VectorScaling

METHODS: dict[str, type] = {
    method.name: method
    for method in (
        Glmc, CrossEntropy, MixUp, CutMix, Focal, ClassBalanced, LdamDrw, BalancedSoftmax, LogitAdjustment,
        VectorScaling, Crt, Lws, MaxNorm,
    )
}  # fmt: skip

__all__ = [
    "METHODS", "BalancedSoftmax", "ClassBalanced", "CrossEntropy", "Crt", "CutMix", "Focal", "Glmc", "LdamDrw",
    "LogitAdjustment", "Lws", "MaxNorm", "Method", "MixUp", "VectorScaling",
]  # fmt: skip
