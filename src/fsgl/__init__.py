"""fsgl: long-tailed image recognition. Feature Scaling Guided Learning, its rivals, and honest comparison.

The building blocks work alone, on plain tensors, in anyone's own loop; they load on first use, so that
``import fsgl`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Comparison": "fsgl.api.comparison",
    "compare": "fsgl.api.comparison",
    "LongTailClassifier": "fsgl.api.estimator",
    "Run": "fsgl.api.run",
    "load": "fsgl.api.training",
    "train": "fsgl.api.training",
    "FeatureScaling": "fsgl.models.feature_scaling",
    "FourHeadNet": "fsgl.models.assemble",
    "FourHeads": "fsgl.models.heads",
    "build_backbone": "fsgl.models.backbones",
    "box_lambda": "fsgl.methods.mixtures",
    "cutmix": "fsgl.methods.mixtures",
    "cutmix_box": "fsgl.methods.mixtures",
    "draw_lambda": "fsgl.methods.mixtures",
    "global_local_mixture": "fsgl.methods.mixtures",
    "mixup": "fsgl.methods.mixtures",
    "soft_labels": "fsgl.methods.mixtures",
    "consistency": "fsgl.losses.consistency",
    "glmc_losses": "fsgl.losses.glmc",
    "power_class_weights": "fsgl.losses.class_weights",
    "soft_cross_entropy": "fsgl.losses.soft_target",
    "Sam": "fsgl.optim.sam",
    "frozen_batch_norm_statistics": "fsgl.optim.sam",
    "ClassPowerSampler": "fsgl.data.stream.samplers",
    "evaluate_predictions": "fsgl.evaluation.metrics",
}

__all__ = ["__version__", *_HOMES]

if TYPE_CHECKING:
    from fsgl.api.comparison import Comparison, compare
    from fsgl.api.estimator import LongTailClassifier
    from fsgl.api.run import Run
    from fsgl.api.training import load, train
    from fsgl.data.stream.samplers import ClassPowerSampler
    from fsgl.evaluation.metrics import evaluate_predictions
    from fsgl.losses.class_weights import power_class_weights
    from fsgl.losses.consistency import consistency
    from fsgl.losses.glmc import glmc_losses
    from fsgl.losses.soft_target import soft_cross_entropy
    from fsgl.methods.mixtures import (
        box_lambda,
        cutmix,
        cutmix_box,
        draw_lambda,
        global_local_mixture,
        mixup,
        soft_labels,
    )
    from fsgl.models.assemble import FourHeadNet
    from fsgl.models.backbones import build_backbone
    from fsgl.models.feature_scaling import FeatureScaling
    from fsgl.models.heads import FourHeads
    from fsgl.optim.sam import Sam, frozen_batch_norm_statistics


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fsgl' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
