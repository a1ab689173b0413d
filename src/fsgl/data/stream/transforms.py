"""Random crops and flips of a whole batch of small images, each image with its own draw.

The classic CIFAR augmentation (METHOD section 2): zero padding, a crop of the original size at a
uniform place, a horizontal flip with probability 1/2, normalisation. torchvision applies it to one
PIL image at a time (v2 on a batch draws once for all). Here the same draws are cut in one of two ways:
``cut`` copies rows of padded uint8 arrays, the fastest on a CPU (benchmarks/augmentation.py);
``gather`` is one indexing kernel for the whole batch, for arrays that live on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from fsgl.data.stream.transfer import to_device

MIRRORED_BYTES = 2**30  # of padded images and their mirror images in a CPU's memory; CIFAR takes 480 MB


@dataclass(frozen=True)
class CropFlip:
    """padding: zero pixels added on each side before the crop.  flip: mirror half of the images."""

    padding: int = 4
    flip: bool = True

    columns: ClassVar[int] = 3  # of a draw

    def draw(self, count: int, generator: torch.Generator) -> np.ndarray:
        """Rows (top, left, flipped) for ``count`` images, int64; top and left in [0, 2 padding]."""
        corners = torch.randint(2 * self.padding + 1, (count, 2), generator=generator)
        flips = torch.randint(2, (count, 1), generator=generator) if self.flip else torch.zeros(count, 1).long()
        return torch.cat([corners, flips], dim=1).numpy()

    def finish(self, crops_BHWC: np.ndarray | Tensor, draws: Tensor) -> np.ndarray | Tensor:
        """What is done to the crops, uint8, before they are normalised: nothing."""
        return crops_BHWC

    def pad(self, images_NHWC: np.ndarray) -> np.ndarray:
        """The images with their zero border, once for a whole training."""
        border = (self.padding, self.padding)
        return np.pad(images_NHWC, ((0, 0), border, border, (0, 0)))

    def windows(self, images_NHWC: np.ndarray) -> np.ndarray:
        """Every crop of every image, for ``cut``: a view ``N x S x (2 padding + 1) x (2 padding + 1) x H x W x C``.

        It looks into padded copies of the images and, where flips are drawn, of their mirror images (S = 2): copying a
        row of a mirror image takes a fifth of the time of reversing one. Beyond MIRRORED_BYTES S is 1.
        """
        padded = self.pad(images_NHWC)[:, None]
        if self.flip and 2 * padded.nbytes <= MIRRORED_BYTES:
            padded = np.concatenate([padded, padded[:, :, :, ::-1]], axis=1)
        count, sides, *_ = padded.shape
        places, (_, height, width, channels) = 2 * self.padding + 1, images_NHWC.shape
        image, side, row, column, channel = padded.strides
        return np.lib.stride_tricks.as_strided(
            padded,
            (count, sides, places, places, height, width, channels),
            (image, side, row, column, row, column, channel),
            writeable=False,
        )

    def cut(self, windows: np.ndarray, positions: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """The drawn crops of the images at ``positions``, uint8 ``B x H x W x C``."""
        top, left, flipped = draws.T
        if windows.shape[1] == 2:
            return windows[positions, flipped, top, np.where(flipped, 2 * self.padding - left, left)]
        crops = windows[positions, 0, top, left]
        mirrored = np.flatnonzero(flipped)
        crops[mirrored] = crops[mirrored][:, :, ::-1]
        return crops

    def gather(self, padded_NHWC: Tensor, positions_B: Tensor, draws: Tensor) -> Tensor:
        """As ``cut``, from tensors on one device: ``positions`` int64 ``B``, ``draws`` int64 ``B x 3``."""
        height, width = (side - 2 * self.padding for side in padded_NHWC.shape[1:3])
        top, left, flipped = draws.unbind(dim=1)
        rows = top[:, None] + torch.arange(height, device=draws.device)
        across = torch.arange(width, device=draws.device)
        columns = left[:, None] + torch.where(flipped[:, None] > 0, width - 1 - across, across)
        return padded_NHWC[positions_B[:, None, None], rows[:, :, None], columns[:, None, :]]


def normalise(
    images_NHWC: np.ndarray | Tensor,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """uint8 ``B x H x W x C`` -> (x / 255 - mean) / std as ``B x C x H x W``, channels-last in memory."""
    device = torch.device(device)
    images = torch.from_numpy(images_NHWC) if isinstance(images_NHWC, np.ndarray) else images_NHWC
    count, height, width, channels = images.shape
    scale, shift = _affine_rows(mean, std, width, device, dtype)
    # As rows of W * C values: an inner dimension of 3 would keep the CPU from using its vector units.
    rows = to_device(images, device).reshape(count, height, width * channels).to(dtype).mul_(scale).add_(shift)
    return rows.view(count, height, width, channels).permute(0, 3, 1, 2)  # a permuted NHWC is channels-last


@lru_cache(maxsize=64)
def _affine_rows(
    mean: tuple[float, ...], std: tuple[float, ...], width: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Scale and shift of every value in a row of ``width`` pixels; kept, as moving them to a GPU would wait for it."""
    with torch.inference_mode(False):  # what an evaluation leaves here serves the next training too
        deviation = torch.tensor(std, dtype=torch.float64)
        scale, shift = 1 / (255 * deviation), -torch.tensor(mean, dtype=torch.float64) / deviation
        return scale.repeat(width).to(device, dtype), shift.repeat(width).to(device, dtype)
