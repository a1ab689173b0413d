"""fsgl: long-tailed image recognition. Feature Scaling Guided Learning, its rivals, and honest comparison.

The building blocks work alone, on plain tensors, in anyone's own loop; they load on first use, so that
``import fsgl`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    # the front door
    "auto": "fsgl.api.automatic",
    "train": "fsgl.api.training",
    "load": "fsgl.api.training",
    "compare": "fsgl.api.comparison",
    "LongTailClassifier": "fsgl.api.estimator",
    "Run": "fsgl.api.run",
    "Comparison": "fsgl.api.comparison",
    "Runtime": "fsgl.engine.runtime",
    "UserError": "fsgl.errors",
    "RunDiverged": "fsgl.engine.runtime",
    "RunInterrupted": "fsgl.engine.runtime",
    # losses and class statistics
    "effective_number_weights": "fsgl.losses.class_weights",
    "power_class_weights": "fsgl.losses.class_weights",
    "consistency": "fsgl.losses.consistency",
    "balanced_contrastive": "fsgl.losses.contrastive",
    "parametric_contrastive": "fsgl.losses.contrastive",
    "focal_loss": "fsgl.losses.focal",
    "glmc_losses": "fsgl.losses.glmc",
    "GlmcLosses": "fsgl.losses.glmc",
    "inverse_log_prior": "fsgl.losses.margins",
    "ldam_margins": "fsgl.losses.margins",
    "log_prior": "fsgl.losses.margins",
    "relative_frequency": "fsgl.losses.margins",
    "soft_cross_entropy": "fsgl.losses.soft_target",
    # mixtures
    "box_lambda": "fsgl.methods.mixtures",
    "cutmix": "fsgl.methods.mixtures",
    "cutmix_box": "fsgl.methods.mixtures",
    "draw_lambda": "fsgl.methods.mixtures",
    "global_local_mixture": "fsgl.methods.mixtures",
    "mixup": "fsgl.methods.mixtures",
    "one_hot": "fsgl.methods.mixtures",
    "soft_labels": "fsgl.methods.mixtures",
    # models
    "FourHeadNet": "fsgl.models.assemble",
    "build_backbone": "fsgl.models.backbones",
    "class_scales": "fsgl.models.feature_scaling",
    "FeatureScaling": "fsgl.models.feature_scaling",
    "frequency_ranks": "fsgl.models.feature_scaling",
    "CosineLinear": "fsgl.models.heads",
    "FourHeads": "fsgl.models.heads",
    "ScaledLinear": "fsgl.models.heads",
    # optimisation
    "WeightAverage": "fsgl.optim.averaging",
    "frozen_batch_norm_statistics": "fsgl.optim.sam",
    "Sam": "fsgl.optim.sam",
    # data and samplers
    "draw_long_tail": "fsgl.data.draw.imbalance",
    "exponential_counts": "fsgl.data.draw.imbalance",
    "carve_validation": "fsgl.data.draw.split",
    "validation_folds": "fsgl.data.draw.folds",
    "class_power_probabilities": "fsgl.data.stream.samplers",
    "ClassPowerSampler": "fsgl.data.stream.samplers",
    # metrics, statistics, post-hoc
    "over_data_sets": "fsgl.evaluation.across",
    "ranks": "fsgl.evaluation.across",
    "wilcoxon_against": "fsgl.evaluation.across",
    "learn_aggregation": "fsgl.evaluation.aggregation",
    "stability": "fsgl.evaluation.aggregation",
    "bias_corrected": "fsgl.evaluation.choice",
    "Choice": "fsgl.evaluation.choice",
    "macro_accuracies": "fsgl.evaluation.choice",
    "macro_interval": "fsgl.evaluation.choice",
    "one_standard_error": "fsgl.evaluation.choice",
    "conformal_quantile": "fsgl.evaluation.conformal",
    "conformal_scores": "fsgl.evaluation.conformal",
    "conformal_thresholds": "fsgl.evaluation.conformal",
    "fewest_images": "fsgl.evaluation.conformal",
    "set_figures": "fsgl.evaluation.conformal",
    "Thresholds": "fsgl.evaluation.conformal",
    "confusion_matrix": "fsgl.evaluation.metrics",
    "evaluate_predictions": "fsgl.evaluation.metrics",
    "expected_calibration_error": "fsgl.evaluation.metrics",
    "per_class_accuracy": "fsgl.evaluation.metrics",
    "shot_groups": "fsgl.evaluation.metrics",
    "top_k_accuracy": "fsgl.evaluation.metrics",
    "estimate_prior_bbse": "fsgl.evaluation.posthoc",
    "estimate_prior_em": "fsgl.evaluation.posthoc",
    "fit_group_temperatures": "fsgl.evaluation.posthoc",
    "fit_temperature": "fsgl.evaluation.posthoc",
    "max_normed": "fsgl.evaluation.posthoc",
    "negative_log_likelihood": "fsgl.evaluation.posthoc",
    "probabilities": "fsgl.evaluation.posthoc",
    "tau_normalised": "fsgl.evaluation.posthoc",
    "detectable_difference": "fsgl.evaluation.power",
    "level_of_look": "fsgl.evaluation.power",
    "paired_power": "fsgl.evaluation.power",
    "seeds_needed": "fsgl.evaluation.power",
    "accuracy_under_priors": "fsgl.evaluation.reliability",
    "beyond_accuracy": "fsgl.evaluation.reliability",
    "reliability_curve": "fsgl.evaluation.reliability",
    "risk_coverage": "fsgl.evaluation.reliability",
    "Difference": "fsgl.evaluation.statistics",
    "holm": "fsgl.evaluation.statistics",
    "Interval": "fsgl.evaluation.statistics",
    "mean_interval": "fsgl.evaluation.statistics",
    "paired_bootstrap": "fsgl.evaluation.statistics",
    "paired_difference": "fsgl.evaluation.statistics",
    "wilson": "fsgl.evaluation.statistics",
    "Growth": "fsgl.evaluation.wanted",
    "growth": "fsgl.evaluation.wanted",
}

__all__ = ["__version__", *_HOMES]

if TYPE_CHECKING:
    from fsgl.api.automatic import auto
    from fsgl.api.comparison import Comparison, compare
    from fsgl.api.estimator import LongTailClassifier
    from fsgl.api.run import Run
    from fsgl.api.training import load, train
    from fsgl.data.draw.folds import validation_folds
    from fsgl.data.draw.imbalance import draw_long_tail, exponential_counts
    from fsgl.data.draw.split import carve_validation
    from fsgl.data.stream.samplers import ClassPowerSampler, class_power_probabilities
    from fsgl.engine.runtime import RunDiverged, RunInterrupted, Runtime
    from fsgl.errors import UserError
    from fsgl.evaluation.across import over_data_sets, ranks, wilcoxon_against
    from fsgl.evaluation.aggregation import learn_aggregation, stability
    from fsgl.evaluation.choice import Choice, bias_corrected, macro_accuracies, macro_interval, one_standard_error
    from fsgl.evaluation.conformal import (
        Thresholds,
        conformal_quantile,
        conformal_scores,
        conformal_thresholds,
        fewest_images,
        set_figures,
    )
    from fsgl.evaluation.metrics import (
        confusion_matrix,
        evaluate_predictions,
        expected_calibration_error,
        per_class_accuracy,
        shot_groups,
        top_k_accuracy,
    )
    from fsgl.evaluation.posthoc import (
        estimate_prior_bbse,
        estimate_prior_em,
        fit_group_temperatures,
        fit_temperature,
        max_normed,
        negative_log_likelihood,
        probabilities,
        tau_normalised,
    )
    from fsgl.evaluation.power import detectable_difference, level_of_look, paired_power, seeds_needed
    from fsgl.evaluation.reliability import accuracy_under_priors, beyond_accuracy, reliability_curve, risk_coverage
    from fsgl.evaluation.statistics import (
        Difference,
        Interval,
        holm,
        mean_interval,
        paired_bootstrap,
        paired_difference,
        wilson,
    )
    from fsgl.evaluation.wanted import Growth, growth
    from fsgl.losses.class_weights import effective_number_weights, power_class_weights
    from fsgl.losses.consistency import consistency
    from fsgl.losses.contrastive import balanced_contrastive, parametric_contrastive
    from fsgl.losses.focal import focal_loss
    from fsgl.losses.glmc import GlmcLosses, glmc_losses
    from fsgl.losses.margins import inverse_log_prior, ldam_margins, log_prior, relative_frequency
    from fsgl.losses.soft_target import soft_cross_entropy
    from fsgl.methods.mixtures import (
        box_lambda,
        cutmix,
        cutmix_box,
        draw_lambda,
        global_local_mixture,
        mixup,
        one_hot,
        soft_labels,
    )
    from fsgl.models.assemble import FourHeadNet
    from fsgl.models.backbones import build_backbone
    from fsgl.models.feature_scaling import FeatureScaling, class_scales, frequency_ranks
    from fsgl.models.heads import CosineLinear, FourHeads, ScaledLinear
    from fsgl.optim.averaging import WeightAverage
    from fsgl.optim.sam import Sam, frozen_batch_norm_statistics


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fsgl' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
