"""AutoAugment's CIFAR-10 policy and Cutout, for batches of small images, each image with its own draw.

Sources: AutoAugment (Cubuk et al., CVPR 2019; the policy's table is torchvision's), Cutout (DeVries and Taylor, 2017).
After crop and flip, as the contrastive long-tail methods have it (PaCo, BCL): one of 25 pairs of operations, each with
its probability and size, then a black square of half the side, its centre anywhere, cut off at the border.

torchvision applies it to one image, or draws once for a whole batch. Here each operation works on many images at once,
in 8 bits and rounded as torchvision's functional operations: on a CPU on those that drew it, on a GPU on all of them,
with the result kept where it was drawn, so that nobody waits for the device. Pixels from outside the image are grey,
128, as in those methods' code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from fsgl.data.stream.transforms import CropFlip

LEVELS = 9  # sizes are whole numbers up to here
GREY = 128
GEOMETRIC = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")


@dataclass(frozen=True)
class AutoAugmentCutout(CropFlip):
    """Crop and flip, then the policy and the square."""

    columns: ClassVar[int] = 3 + 6

    def draw(self, count: int, generator: torch.Generator) -> np.ndarray:
        """Rows (top, left, flipped, operation, size, operation, size, row, column), int64.

        operation: an index into ``OPERATIONS`` from 1, 0 is none.  size: from -9 to 9.  row, column: of the square's
        centre, in 2^16ths of the side.
        """
        crops = super().draw(count, generator)
        table = _policy()
        pair = torch.randint(len(table), (count,), generator=generator).numpy()
        chances = torch.rand(count, 2, generator=generator).numpy()
        signs = 2 * torch.randint(2, (count, 2), generator=generator).numpy() - 1
        centre = torch.randint(2**16, (count, 2), generator=generator).numpy()
        operation, chance, size, signed = np.moveaxis(table[pair], 2, 0)  # each ``count x 2``
        operation = np.where(chances < chance, operation, 0)
        size = np.where(signed > 0, signs * size, size)
        drawn = np.stack([operation, size], axis=2).reshape(count, 4)
        return np.concatenate([crops, drawn.astype(np.int64), centre], axis=1)

    def finish(self, crops_BHWC: np.ndarray | Tensor, draws: Tensor) -> Tensor:
        """The views of uint8 crops, uint8 ``B x H x W x C``."""
        crops = torch.from_numpy(crops_BHWC) if isinstance(crops_BHWC, np.ndarray) else crops_BHWC
        images = crops.permute(0, 3, 1, 2)
        for first in (3, 5):
            images = apply(images, draws[:, first], draws[:, first + 1])
        return cutout(images, draws[:, 7:9]).permute(0, 2, 3, 1)


@cache
def _policy() -> np.ndarray:
    """25 x 2 x (operation, probability, size, whether its sign is drawn)."""
    from torchvision.transforms.autoaugment import AutoAugment, AutoAugmentPolicy

    pairs = AutoAugment(AutoAugmentPolicy.CIFAR10).policies
    signed = {*GEOMETRIC, "Brightness", "Color", "Contrast", "Sharpness"}
    names = [*OPERATIONS]
    return np.array([[[names.index(name) + 1, p, m or 0, name in signed] for name, p, m in pair] for pair in pairs])


def apply(images_BCHW: Tensor, operation_B: Tensor, size_B: Tensor, everywhere: bool | None = None) -> Tensor:
    """To each image its operation (an index into ``OPERATIONS`` from 1, 0 is none) of its size, -9 to 9; uint8.

    everywhere: work on the whole batch, and keep the result where it was drawn; None is on GPUs only.
    """
    images = images_BCHW.clone()
    everywhere = images.device.type != "cpu" if everywhere is None else everywhere
    for number, function in enumerate(OPERATIONS.values(), start=1):
        chosen = operation_B == number
        if everywhere:
            images = torch.where(chosen[:, None, None, None], function(images, size_B), images)
        elif (rows := chosen.nonzero()[:, 0]).numel():
            images[rows] = function(images[rows], size_B[rows])
    return images


def cutout(images_BCHW: Tensor, centre_B2: Tensor) -> Tensor:
    """A black square of half the side in each image; centre: row and column in 2^16ths of the side."""
    inside = []
    for side, place in zip(images_BCHW.shape[2:], centre_B2.unbind(dim=1), strict=True):
        start = place * side // 2**16 - side // 4
        across = torch.arange(side, device=place.device)
        inside.append((across >= start[:, None]) & (across < start[:, None] + side // 2))
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return images_BCHW.masked_fill(hole, 0)


def _column(values_B: Tensor) -> Tensor:
    return values_B[:, None, None, None]


def _blend(images: Tensor, other: Tensor, size_B: Tensor) -> Tensor:
    tenths = _column(size_B).to(torch.float32)  # 0.9 / 9 of the factor each
    return ((10 + tenths) / 10 * images + -tenths / 10 * other).clamp(0, 255).to(torch.uint8)


def _luma(images: Tensor) -> Tensor:
    """``B x 1 x H x W``, whole numbers as float; grey images are their own."""
    if images.shape[1] == 1:
        return images.to(torch.float32)
    red, green, blue = images.to(torch.float32).unbind(dim=1)
    return (0.2989 * red + 0.587 * green + 0.114 * blue).floor()[:, None]


def _contrast(images: Tensor, size_B: Tensor) -> Tensor:
    return _blend(images, _luma(images).mean(dim=(1, 2, 3), keepdim=True), size_B)


def _sharpness(images: Tensor, size_B: Tensor) -> Tensor:
    batch, channels, height, width = images.shape
    kernel = torch.ones(1, 1, 3, 3, device=images.device) / 13
    kernel[..., 1, 1] = 5 / 13
    blurred = images.to(torch.float32)
    inner = conv2d(blurred.reshape(batch * channels, 1, height, width), kernel).round()
    blurred[..., 1:-1, 1:-1] = inner.view(batch, channels, height - 2, width - 2)
    return _blend(images, blurred, size_B)


def _posterize(images: Tensor, size_B: Tensor) -> Tensor:
    dropped = torch.round(size_B.to(torch.float32) / (LEVELS / 4)).to(torch.int32)
    step = _column(2**dropped)
    return (images.to(torch.int32) // step * step).to(torch.uint8)


def _solarize(images: Tensor, size_B: Tensor) -> Tensor:
    threshold = _column(255 - 255 * size_B.to(torch.float32) / LEVELS)
    return torch.where(images >= threshold, 255 - images, images)


def _autocontrast(images: Tensor, size_B: Tensor) -> Tensor:
    values = images.to(torch.float32)
    low, high = values.amin(dim=(2, 3), keepdim=True), values.amax(dim=(2, 3), keepdim=True)
    flat = high == low
    low, scale = low.masked_fill(flat, 0), (255 / (high - low)).masked_fill(flat, 1)
    return ((values - low) * scale).clamp(0, 255).to(torch.uint8)


def _equalize(images: Tensor, size_B: Tensor) -> Tensor:
    """By the histogram of each channel: what lies in the largest value's bin does not count, as in Pillow."""
    batch, channels, height, width = images.shape
    flat = images.reshape(batch * channels, height * width).long()
    histogram = torch.zeros(batch * channels, 256, dtype=torch.int64, device=images.device)
    histogram.scatter_add_(1, flat, torch.ones_like(flat))
    step = (height * width - histogram.gather(1, flat.amax(dim=1, keepdim=True))) // 255
    below = histogram.cumsum(dim=1) - histogram
    table = ((below + step // 2) // step.clamp(min=1)).clamp(0, 255)
    equal = torch.where(step > 0, table.gather(1, flat), flat)
    return equal.to(torch.uint8).view_as(images)


def _geometric(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    def moved(images: Tensor, size_B: Tensor) -> Tensor:
        batch, channels, height, width = images.shape
        size = size_B.to(torch.float32)[:, None, None] / LEVELS
        y = torch.arange(height, device=images.device, dtype=torch.float32)[None, :, None]
        x = torch.arange(width, device=images.device, dtype=torch.float32)[None, None, :]
        if name == "ShearX":  # about the upper left corner
            row, column = y + 0 * size + 0 * x, x + 0.3 * size * (y + 0.5)
        elif name == "ShearY":
            row, column = y + 0.3 * size * (x + 0.5), x + 0 * size + 0 * y
        elif name.startswith("Translate"):
            shift = torch.trunc(150 / 331 * (width if name.endswith("X") else height) * size)
            along = name.endswith("X")
            row, column = y - shift * (not along) + 0 * x, x - shift * along + 0 * y
        else:  # about the middle, counter-clockwise
            angle = torch.deg2rad(30 * size)
            from_left, from_top = x - (width - 1) / 2, y - (height - 1) / 2
            column = torch.cos(angle) * from_left - torch.sin(angle) * from_top + (width - 1) / 2
            row = torch.sin(angle) * from_left + torch.cos(angle) * from_top + (height - 1) / 2
        row, column = row.round().long(), column.round().long()
        outside = (row < 0) | (row >= height) | (column < 0) | (column >= width)
        place = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
        found = images.flatten(2).gather(2, place.view(batch, 1, -1).expand(-1, channels, -1)).view_as(images)
        return found.masked_fill(outside[:, None], GREY)

    return moved


OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    **{name: _geometric(name) for name in GEOMETRIC},
    "Brightness": lambda images, size_B: _blend(images, torch.zeros_like(images), size_B),
    "Color": lambda images, size_B: images if images.shape[1] == 1 else _blend(images, _luma(images), size_B),
    "Contrast": _contrast,
    "Sharpness": _sharpness,
    "Posterize": _posterize,
    "Solarize": _solarize,
    "AutoContrast": _autocontrast,
    "Equalize": _equalize,
    "Invert": lambda images, size_B: 255 - images,
}
