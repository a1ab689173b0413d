"""Random crops and flips of a whole batch of small images, each image with its own draw.

The classic CIFAR augmentation (METHOD section 2): zero padding, a crop of the original size at a
uniform place, a horizontal flip with probability 1/2, normalisation. torchvision applies it to one
PIL image at a time (v2 on a batch draws once for all); here a batch is cut as slices of a padded uint8
array, which on a CPU costs less than a percent of the network's time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class CropFlip:
    """padding: zero pixels added on each side before the crop.  flip: mirror half of the images."""

    padding: int = 4
    flip: bool = True

    def draw(self, count: int, generator: torch.Generator) -> np.ndarray:
        """Rows (top, left, flipped) for ``count`` images, int64; top and left in [0, 2 padding]."""
        corners = torch.randint(2 * self.padding + 1, (count, 2), generator=generator)
        flips = torch.randint(2, (count, 1), generator=generator) if self.flip else torch.zeros(count, 1).long()
        return torch.cat([corners, flips], dim=1).numpy()

    def pad(self, images_NHWC: np.ndarray) -> np.ndarray:
        """The images with their zero border, once for a whole training."""
        border = (self.padding, self.padding)
        return np.pad(images_NHWC, ((0, 0), border, border, (0, 0)))

    def cut(self, padded_NHWC: np.ndarray, positions: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """The drawn crops of the images at ``positions``, uint8 ``B x H x W x C``."""
        height, width = (side - 2 * self.padding for side in padded_NHWC.shape[1:3])
        crops = np.empty((len(positions), height, width, padded_NHWC.shape[3]), padded_NHWC.dtype)
        for i, (position, (top, left, flipped)) in enumerate(zip(positions.tolist(), draws.tolist(), strict=True)):
            crop = padded_NHWC[position, top : top + height, left : left + width]
            crops[i] = crop[:, ::-1] if flipped else crop
        return crops


def normalise(
    images_NHWC: np.ndarray,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """uint8 ``B x H x W x C`` -> (x / 255 - mean) / std as ``B x C x H x W``, channels-last in memory."""
    images = torch.from_numpy(images_NHWC).to(device).permute(0, 3, 1, 2).to(dtype)  # a permuted NHWC is channels-last
    scale = 1 / (255 * torch.tensor(std, dtype=torch.float64))
    shift = -torch.tensor(mean, dtype=torch.float64) / torch.tensor(std, dtype=torch.float64)
    shape = (1, -1, 1, 1)
    return images.mul_(scale.to(device, dtype).view(shape)).add_(shift.to(device, dtype).view(shape))
