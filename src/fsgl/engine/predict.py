"""Logits, or features, of a whole set of images."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn

from fsgl.methods.base import Method
from fsgl.models.assemble import RecognitionNet

# Of a pass without gradients on a CPU: 16 images of 128 pixels, 5 of 224. Their activations fit its caches and the
# blocks that malloc uses again: a batch of a hundred photographs in one pass takes twice as long.
PIXELS = 2**18


def portions(images: Tensor, side: int) -> tuple[Tensor, ...]:
    """The images of a batch in as many passes as are fastest on their device. side: as the backbone sees them."""
    if images.device.type != "cpu" or images.ndim != 4:  # features are light
        return (images,)
    return images.split(max(1, PIXELS // side**2))


def predict_logits(
    model: nn.Module, method: Method, batches: Iterable[Tensor], mirror: bool = False, side: int | None = None
) -> np.ndarray:
    """Logits ``N x K`` float32 of the images in ``batches``, in evaluation mode; the model's mode is put back.

    mirror: the mean of those of each image and of its mirror image, left and right changed.
    side: in pixels, where the network resizes images; None is their own.
    """

    def answer(images: Tensor) -> Tensor:
        logits = method.predict(model, images)
        return (logits + method.predict(model, images.flip(-1))) / 2 if mirror else logits

    return _collected(model, answer, batches, side)


def predict_features(model: RecognitionNet, batches: Iterable[Tensor], side: int | None = None) -> np.ndarray:
    """The same for the (unscaled) features ``N x D`` of its backbone."""
    return _collected(model, model.features, batches, side)


def _collected(
    model: nn.Module, answer: Callable[[Tensor], Tensor], batches: Iterable[Tensor], side: int | None
) -> np.ndarray:
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            rows = [answer(images).float() for batch in batches for images in portions(batch, side or batch.shape[-1])]
            return torch.cat(rows).cpu().numpy()  # one transfer, when all is computed
    finally:
        model.train(was_training)
