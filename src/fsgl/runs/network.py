"""An experiment's network with its data: built from the seed, asked for logits, measured, counted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fsgl.collector import without_collector
from fsgl.data.images.sources import Images
from fsgl.data.load import BOTH, MIDDLE, LoadedData
from fsgl.data.stream.features import ImageFeatures
from fsgl.engine.environment import seeded
from fsgl.engine.predict import predict_features, predict_logits
from fsgl.engine.tally import NonFiniteLoss
from fsgl.errors import UserError
from fsgl.evaluation.metrics import evaluate_predictions
from fsgl.models.assemble import RecognitionNet, with_cosine_classifier
from fsgl.models.backbone import Backbone
from fsgl.models.backbones import build_backbone
from fsgl.models.cost import count_parameters, multiply_adds
from fsgl.models.light import add_lora, train_biases
from fsgl.models.timm_backbones import is_timm, model_input
from fsgl.models.weights import Origin, load_weights
from fsgl.recipes.experiment import Experiment


@dataclass(frozen=True)
class ModelWithData:
    """A built model and what it is made of.

    data: as this model is shown them.  origin: of the weights that its backbone began with; None from scratch, and
    where they were not loaded.
    """

    model: nn.Module
    experiment: Experiment
    data: LoadedData
    origin: Origin | None = None

    def logits(self, part: Images | ImageFeatures, device: torch.device, workers: int = 0) -> np.ndarray:
        """Logits ``N x K`` of the validation or test images, in their order; NaN for those that cannot be read.

        Raises NonFiniteLoss where the network itself gives a logit that is no number.
        """
        batches = self.data.evaluation_batches(part, device, workers)
        mirror, side = self.experiment.evaluation.mirror, self.data.image_size
        logits = predict_logits(self.model, self.experiment.method, batches, mirror, side)
        unreadable = self.data.unreadable(part)
        if not np.isfinite(logits[~unreadable]).all():
            raise NonFiniteLoss({"logits": float("nan")})
        logits[unreadable] = np.nan
        return logits

    def features(self, part: Images | ImageFeatures, device: torch.device, workers: int = 0) -> np.ndarray:
        """Features ``N x D`` of the same; NaN for those that cannot be read."""
        assert isinstance(self.model, RecognitionNet)
        batches = self.data.evaluation_batches(part, device, workers)
        features = predict_features(self.model, batches, self.data.image_size)
        features[self.data.unreadable(part)] = np.nan
        return features

    def measure(self, part: Images | ImageFeatures, logits: np.ndarray) -> dict[str, Any]:
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


@without_collector()
def build_network(
    experiment: Experiment, data: LoadedData, device: torch.device, pretrained: bool = True
) -> ModelWithData:
    """A network before training; what is fresh in it follows from the experiment's seed.

    pretrained: False leaves out the weights that ``experiment.transfer`` names, for one whose own will be loaded.
    """
    shown = as_shown(experiment, data)
    model, origin = build_model(experiment, len(shown.mean), torch.from_numpy(data.counts), pretrained)
    model = model.to(memory_format=torch.channels_last).to(device)  # the faster layout, on CPUs too
    return ModelWithData(model, experiment, shown, origin)


def build_model(
    experiment: Experiment, in_channels: int, class_counts: Tensor, pretrained: bool = True,
    backbone: Backbone | None = None,
) -> tuple[nn.Module, Origin | None]:  # fmt: skip
    """As ``build_network``, for images of so many channels and classes of such training counts, without the images.

    backbone: one that is built already; None builds the experiment's.
    """
    transfer, origin = experiment.transfer, None
    with seeded(experiment.seed, "weights"):
        backbone = backbone or build_backbone(experiment.backbone, in_channels, transfer.image_size)
        model = experiment.method.build(backbone, class_counts)
        if transfer.classifier == "cosine":
            try:
                with_cosine_classifier(model, transfer.cosine_scale)
            except TypeError:
                raise UserError(
                    f"{experiment.method.name} has other heads than one linear classifier: leave "
                    "transfer.classifier=cosine off"
                ) from None
    if experiment.data.view == BOTH:
        if not isinstance(model, RecognitionNet):
            raise UserError(f"{experiment.method.name} is shown one view of an image at test: data.view={MIDDLE}")
        model.stacked = True
    if transfer.weights is not None and pretrained:
        origin = load_weights(backbone, experiment.backbone, transfer.weights)
    experiment.method.begin(model, origin is not None)
    if transfer.train == "bias":
        train_biases(backbone)
    if transfer.train == "lora":
        with seeded(experiment.seed, "adapters"):
            add_lora(backbone, experiment.backbone, transfer.lora_rank)
    if transfer.train != "all" or transfer.batch_norm == "frozen":
        if not isinstance(model, RecognitionNet):
            raise TypeError(f"{experiment.method.name} builds no RecognitionNet, whose backbone could be frozen")
        model.frozen_batch_norm = transfer.light or transfer.batch_norm == "frozen"
        if transfer.train == "heads":
            model.freeze_backbone()
    return model, origin


def as_shown(experiment: Experiment, data: LoadedData) -> LoadedData:
    """The data as the backbone wants them: the size of what it is shown, and a pretrained model's own normalisation.

    Images in memory keep their size and are resized by the network, on its device.
    """
    side = experiment.transfer.image_size
    if not is_timm(experiment.backbone):
        if side is not None and data.in_memory:
            raise UserError(
                f"transfer.image_size: {experiment.backbone} takes the images of {data.spec.name} as they are; "
                "only timm:NAME resizes images in memory"
            )
        return data if side is None else replace(data, image_size=side)
    wants = model_input(experiment.backbone)
    data = replace(data, image_size=side or wants.size)
    if experiment.transfer.weights is None:
        return data
    mean, std = wants.statistics(len(data.mean))
    return replace(data, mean=mean, std=std)


def cost(experiment: Experiment, data: LoadedData, model: nn.Module) -> dict[str, int]:
    """Parameters, multiply-adds of one image's forward pass through the backbone, and passes a step."""
    backbone: nn.Module = model.get_submodule("backbone")
    return {
        "parameters": count_parameters(model),
        "backbone_parameters": count_parameters(backbone),
        "multiply_adds_per_image": multiply_adds(backbone, (len(data.mean), data.image_size, data.image_size)),
        "passes_per_step": experiment.passes_per_step,
    }
