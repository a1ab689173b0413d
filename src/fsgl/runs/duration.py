"""How long a published CIFAR recipe takes on a CPU, said before it begins, with what is faster."""

from __future__ import annotations

import time

import torch

from fsgl.data.draw.imbalance import exponential_counts
from fsgl.models.backbones import build_backbone, check_backbone
from fsgl.models.cost import multiply_adds
from fsgl.models.timm_backbones import is_timm
from fsgl.recipes.experiment import Experiment

CIFAR = {"cifar10": (5000, 10), "cifar100": (500, 100)}  # images of the largest class, classes
FAST, LONG_HOURS = "resnet8-lite", 6.0


def training_flops(experiment: Experiment, backbone: str) -> float:
    """Floating-point operations of a CIFAR experiment with this backbone: 6 a multiply-add, image, pass and epoch.

    Raises KeyError for other data sets: their images have not been counted before they are read.
    """
    check_backbone(backbone)
    largest, classes = CIFAR[experiment.data.name]
    images = int(exponential_counts(largest, classes, experiment.data.imbalance_factor or 100.0).sum())
    with torch.device("meta"):
        adds = multiply_adds(build_backbone(backbone), (3, 32, 32))
    return 6.0 * adds * images * experiment.passes_per_step * experiment.optim.epochs


def matrix_rate(seconds: float = 0.15, side: int = 768) -> float:
    """Floating-point operations a second of this CPU in matrix products, with the threads that torch now has."""
    factor, best = torch.ones(side, side), float("inf")
    until = time.perf_counter() + seconds
    while (begun := time.perf_counter()) < until or best == float("inf"):
        factor @ factor
        best = min(best, time.perf_counter() - begun)
    return 2.0 * side**3 / best


def cpu_note(experiment: Experiment, device: torch.device) -> str | None:
    """What to say before a CIFAR run that takes a CPU more than six hours; None for all others."""
    if device.type != "cpu" or experiment.data.name not in CIFAR or is_timm(experiment.backbone):
        return None
    rate = matrix_rate()
    hours, fast = (training_flops(experiment, name) / rate / 3600 for name in (experiment.backbone, FAST))
    if hours < LONG_HOURS or not hours > fast:
        return None
    return (
        f"note: on this CPU about {_words(hours)} or more ({experiment.backbone}, {experiment.optim.epochs} epochs, "
        f"{experiment.passes_per_step} passes a step); --backbone {FAST} takes about {_words(fast)}"
    )


def _words(hours: float) -> str:
    if hours < 1:
        return f"{max(1, round(60 * hours))} min"
    return f"{hours:.0f} h" if hours < 48 else f"{hours / 24:.0f} days"
