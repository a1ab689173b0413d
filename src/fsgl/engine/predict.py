"""Logits, or features, of a whole set of images."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn

from fsgl.methods.base import Method
from fsgl.models.assemble import RecognitionNet


def predict_logits(model: nn.Module, method: Method, batches: Iterable[Tensor], mirror: bool = False) -> np.ndarray:
    """Logits ``N x K`` float32 of the images in ``batches``, in evaluation mode; the model's mode is put back.

    mirror: the mean of those of each image and of its mirror image, left and right changed.
    """

    def answer(images: Tensor) -> Tensor:
        logits = method.predict(model, images)
        return (logits + method.predict(model, images.flip(-1))) / 2 if mirror else logits

    return _collected(model, answer, batches)


def predict_features(model: RecognitionNet, batches: Iterable[Tensor]) -> np.ndarray:
    """The same for the (unscaled) features ``N x D`` of its backbone."""
    return _collected(model, model.features, batches)


def _collected(model: nn.Module, answer: Callable[[Tensor], Tensor], batches: Iterable[Tensor]) -> np.ndarray:
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            rows = [answer(images).float() for images in batches]
            return torch.cat(rows).cpu().numpy()  # one transfer, when all is computed
    finally:
        model.train(was_training)
