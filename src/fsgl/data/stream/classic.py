"""The classic torchvision pipeline for photographs, the reference that views.py is tested against: random resized
crop, colour jitter, greyscale, Gaussian blur, flip, normalise (METHOD section 2), one PIL image at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def train_transform(mean: tuple[float, ...], std: tuple[float, ...], size: int = 224) -> Callable[[Any], Tensor]:
    """PIL image -> float32 ``C x size x size``, augmented with torch's global generator (seeded for each view)."""
    from torchvision.transforms import v2

    return v2.Compose(
        [
            v2.RandomResizedCrop(size),
            v2.ColorJitter(0.4, 0.4, 0.4, 0.0),
            v2.RandomGrayscale(0.2),
            # PIL's blur, which the field uses, reaches about three sigma; an odd kernel of 0.1 side does too.
            v2.RandomApply([v2.GaussianBlur(size // 10 // 2 * 2 + 1, (0.1, 2.0))], p=0.5),
            v2.RandomHorizontalFlip(),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean, std),
        ]
    )
