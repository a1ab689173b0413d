"""Logits of a whole set of images."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from fsgl.methods.base import Method


def predict_logits(model: nn.Module, method: Method, batches: Iterable[Tensor]) -> np.ndarray:
    """Logits ``N x K`` float32 of the images in ``batches``, in evaluation mode; the model's mode is put back."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            logits = [method.predict(model, images).float() for images in batches]
            return torch.cat(logits).cpu().numpy()  # one transfer, when all is computed
    finally:
        model.train(was_training)
