"""An experiment's network with its data: built from the seed, asked for logits, measured, counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from fsgl.data.load import LoadedData
from fsgl.data.sources import ImageArrays, Images
from fsgl.engine.predict import predict_logits
from fsgl.engine.reproducible import seeded
from fsgl.engine.tally import NonFiniteLoss
from fsgl.errors import UserError
from fsgl.experiment import Experiment
from fsgl.metrics import evaluate_predictions
from fsgl.models.backbones import BACKBONES
from fsgl.models.cost import count_parameters, multiply_adds


@dataclass(frozen=True)
class Network:
    """A built model and what it is made of."""

    model: nn.Module
    experiment: Experiment
    data: LoadedData

    def logits(self, part: Images, device: torch.device, workers: int = 0) -> np.ndarray:
        """Logits ``N x K`` of the validation or test images, in their order; NaN for those that cannot be read.

        Raises NonFiniteLoss where the network itself gives a logit that is no number.
        """
        batches = self.data.evaluation_batches(part, device, workers)
        logits = predict_logits(self.model, self.experiment.method, batches)
        unreadable = self.data.unreadable(part)
        if not np.isfinite(logits[~unreadable]).all():
            raise NonFiniteLoss({"logits": float("nan")})
        logits[unreadable] = np.nan
        return logits

    def measure(self, part: Images, logits: np.ndarray) -> dict[str, Any]:
        """All metrics of these logits, with this experiment's group boundaries."""
        boundaries = self.experiment.evaluation
        logits, labels = readable(logits, part.labels)
        return evaluate_predictions(logits, labels, self.data.counts, many=boundaries.many, few=boundaries.few)


def readable(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels without the rows of unreadable images. Raises UserError where none is left."""
    kept = ~np.isnan(logits).any(axis=1)
    if not kept.any() and len(kept):
        raise UserError("none of the images to be scored can be read")
    return logits[kept], labels[kept]


def build_network(experiment: Experiment, data: LoadedData, device: torch.device) -> Network:
    """A freshly initialised network; the weights follow from the experiment's seed."""
    with seeded(experiment.seed, "weights"):
        counts = torch.from_numpy(data.counts)
        model = experiment.method.build(experiment.backbone, len(data.mean), counts)
    model = model.to(memory_format=torch.channels_last).to(device)  # the faster layout, on CPUs too
    return Network(model, experiment, data)


def cost(experiment: Experiment, data: LoadedData, model: nn.Module) -> dict[str, int]:
    """Parameters, multiply-adds of one image's forward pass through the backbone, and passes a step."""
    train = data.train
    side = train.images.shape[1] if isinstance(train, ImageArrays) else BACKBONES[experiment.backbone].image_size
    backbone: nn.Module = model.get_submodule("backbone")
    return {
        "parameters": count_parameters(model),
        "backbone_parameters": count_parameters(backbone),
        "multiply_adds_per_image": multiply_adds(backbone, (len(data.mean), side, side)),
        "passes_per_step": experiment.passes_per_step,
    }
