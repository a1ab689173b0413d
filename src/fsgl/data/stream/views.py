"""Random views of photographs: crop, colours, blur, flip (METHOD section 2), each view with its own draw.

The draws have the distributions of torchvision's RandomResizedCrop, ColorJitter, RandomGrayscale, GaussianBlur and
RandomHorizontalFlip. What is done with them is arranged for speed: brightness, contrast, saturation and greyscale are
each an affine map of a pixel's three channels (contrast needs the mean colour, and the mean of a mapped image is the
map of its mean), so that all four are one matrix, applied once. Values are therefore clipped to [0, 255] once, not
after every operation; docs/decoding.md states by how much the pixels differ.

``view_of`` is for a decoding process: 8-bit arithmetic, one image. ``finish_on_device`` is for a GPU: a batch at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow's "L"
ORDERS = tuple(permutations(("brightness", "contrast", "saturation")))
REACH = 3  # standard deviations that a blur reaches to


class Draw(NamedTuple):
    """What was drawn for one view.

    top, left, height, width: the crop, in pixels of the image.  brightness, contrast, saturation: factors, 1 changes
    nothing.  order: of these three, an index into ``ORDERS``.  grey, flip: 0 or 1.  sigma: of the blur, in pixels of
    the view; 0 is none.
    """

    top: int
    left: int
    height: int
    width: int
    brightness: float
    contrast: float
    saturation: float
    order: int
    grey: int
    sigma: float
    flip: int


@dataclass(frozen=True)
class ViewSpec:
    """The distributions; the defaults are the field's for ImageNet-LT.

    size: side of a view in pixels.  scale: share of the image's area that is cropped.  ratio: width over height of the
    crop.  jitter: factors are uniform in [1 - jitter, 1 + jitter].  grey, blur, flip: probabilities.  sigma: of a blur.
    """

    size: int = 224
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    jitter: float = 0.4
    grey: float = 0.2
    blur: float = 0.5
    sigma: tuple[float, float] = (0.1, 2.0)
    flip: float = 0.5

    @property
    def enough(self) -> int:
        """Shorter side, in pixels, of an image of which even the smallest crop needs no enlarging."""
        return math.ceil(self.size / math.sqrt(self.scale[0] * self.ratio[0]))

    def draw(self, width: int, height: int, random: np.random.Generator) -> Draw:
        """Numbers for one view of an image of ``width x height`` pixels."""
        crop = self._crop(width, height, random)
        factors = 1 + self.jitter * (2 * random.random(3) - 1)
        order = int(random.integers(len(ORDERS)))
        grey, blur, flip = (random.random(3) < (self.grey, self.blur, self.flip)).tolist()
        sigma = float(random.uniform(*self.sigma)) if blur else 0.0
        brightness, contrast, saturation = factors.tolist()
        return Draw(*crop, brightness, contrast, saturation, order, int(grey), sigma, int(flip))

    def _crop(self, width: int, height: int, random: np.random.Generator) -> tuple[int, int, int, int]:
        low, high = (math.log(ratio) for ratio in self.ratio)
        for _ in range(10):
            area = width * height * random.uniform(*self.scale)
            ratio = math.exp(random.uniform(low, high))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                return int(random.integers(height - h + 1)), int(random.integers(width - w + 1)), h, w
        # Very wide or very high: the middle, with the nearest permitted ratio.
        ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
        w, h = min(width, max(1, round(height * ratio))), min(height, max(1, round(width / ratio)))
        return (height - h) // 2, (width - w) // 2, h, w


def cut(pixels_HWC: np.ndarray, draw: Draw, size: int) -> np.ndarray:
    """The drawn crop of a uint8 RGB image, resized to ``size x size`` (bilinear, antialiased).

    By torch: three times as fast as Pillow, and within one level of it.
    """
    crop = pixels_HWC[draw.top : draw.top + draw.height, draw.left : draw.left + draw.width].copy()
    if crop.shape[:2] == (size, size):
        return crop
    planes = torch.from_numpy(crop).permute(2, 0, 1)[None]
    resized = F.interpolate(planes, (size, size), mode="bilinear", antialias=True)
    return resized[0].permute(1, 2, 0).numpy()


def view_of(pixels_HWC: np.ndarray, draw: Draw, size: int) -> np.ndarray:
    """The whole view of a uint8 RGB image, uint8 ``size x size x 3``."""
    view = cut(pixels_HWC, draw, size)
    if draw.grey or (draw.brightness, draw.contrast, draw.saturation) != (1.0, 1.0, 1.0):
        view = _recoloured(view, draw)
    if draw.sigma:
        view = blurred(view, draw.sigma)
    return view[:, ::-1] if draw.flip else view


def _recoloured(view: np.ndarray, draw: Draw) -> np.ndarray:
    from PIL import Image

    image = Image.fromarray(view)
    counts = np.array(image.histogram(), dtype=np.float64).reshape(3, 256)
    mean = counts @ np.arange(256) / (image.width * image.height)
    return np.asarray(image.convert("RGB", _colour_map(draw, mean)))


def _colour_map(draw: Draw, mean: np.ndarray) -> tuple[float, ...]:
    """The colour operations as three rows of (red, green, blue, offset), for values in [0, 255]."""
    luma = np.array(LUMA)
    matrix, offset = np.eye(3), np.zeros(3)
    for operation in ORDERS[draw.order]:
        factor = getattr(draw, operation)
        if operation == "saturation":
            mix = factor * np.eye(3) + (1 - factor) * luma  # every row the same grey
            matrix, offset = mix @ matrix, mix @ offset
        else:
            grey = luma @ (matrix @ mean + offset) if operation == "contrast" else 0.0
            matrix, offset = factor * matrix, factor * offset + (1 - factor) * grey
    if draw.grey:
        matrix, offset = np.tile(luma @ matrix, (3, 1)), np.tile(luma @ offset, 3)
    return tuple(np.column_stack([matrix, offset]).ravel().tolist())


def gaussian_taps(sigma: float) -> np.ndarray:
    """Weights, in 256ths, of the pixel itself and of those 1, 2, ... away on either side; all add up to 256."""
    reach = max(1, math.ceil(REACH * sigma))
    curve = np.exp(-0.5 * (np.arange(reach + 1) / sigma) ** 2)
    sides = np.rint(256 * curve[1:] / (curve[0] + 2 * curve[1:].sum())).astype(int)
    sides = np.trim_zeros(sides, "b")
    return np.array([256 - 2 * int(sides.sum()), *sides])


def blurred(pixels_HWC: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of an uint8 image, its borders reflected; in 16-bit integers, several times faster than floats."""
    taps = gaussian_taps(sigma).astype(np.uint16)
    height, width, channels = pixels_HWC.shape
    if len(taps) > min(height, width):
        return pixels_HWC  # smaller than what would be mixed
    rows = _filtered(pixels_HWC.reshape(height, width * channels), taps, 1, 0)
    return _filtered(rows, taps, channels, 1).reshape(height, width, channels)


def _filtered(values: np.ndarray, taps: np.ndarray, stride: int, axis: int) -> np.ndarray:
    """One direction: along ``axis``, neighbours ``stride`` apart."""
    reach, count = len(taps) - 1, values.shape[axis] // stride
    order = np.pad(np.arange(count), reach, mode="reflect") if reach else np.arange(count)
    if axis == 0:
        padded = values[order].astype(np.uint16)
    else:
        pixels = values.reshape(len(values), count, stride)
        padded = np.concatenate([pixels[:, order[:reach]], pixels, pixels[:, order[reach + count :]]], axis=1)
        padded = padded.reshape(len(values), -1).astype(np.uint16)
    length = values.shape[axis]

    def shifted(places: int) -> np.ndarray:
        part = slice((reach + places) * stride, (reach + places) * stride + length)
        return padded[part] if axis == 0 else padded[:, part]

    total = shifted(0) * taps[0]
    total += np.uint16(128)
    pair = np.empty_like(total)
    for places in range(1, reach + 1):
        np.add(shifted(-places), shifted(places), out=pair)
        pair *= taps[places]
        total += pair
    return (total >> np.uint16(8)).astype(np.uint8)


def finish_on_device(crops_BHWC: Tensor, draws_B11: Tensor) -> Tensor:
    """Colours, blur and flip of a batch of crops: uint8 ``B x H x W x 3`` -> float32 of that shape, in [0, 255].

    draws: float32, a row a ``Draw``, on the crops' device, which is never waited for.
    """
    batch, height, width, channels = crops_BHWC.shape
    pixels = crops_BHWC.float().view(batch, height * width, channels)
    matrix, offset = _colour_maps(draws_B11, pixels.mean(dim=1))
    pixels = torch.baddbmm(offset[:, None], pixels, matrix.transpose(1, 2)).clamp_(0, 255)
    images = pixels.view(batch, height, width, channels).permute(0, 3, 1, 2)
    images = _blurred_batch(images, draws_B11[:, Draw._fields.index("sigma")])
    flip = draws_B11[:, Draw._fields.index("flip"), None, None, None] > 0
    return torch.where(flip, images.flip(3), images).permute(0, 2, 3, 1)


def _colour_maps(draws: Tensor, mean_B3: Tensor) -> tuple[Tensor, Tensor]:
    """``_colour_map`` of a batch: matrices ``B x 3 x 3`` and offsets ``B x 3``."""
    numbers = dict(zip(Draw._fields, draws.unbind(dim=1), strict=True))
    luma, eye, table = _constants(draws.device)
    matrix = eye.expand(len(draws), 3, 3)
    offset = torch.zeros_like(mean_B3)
    which = table[numbers["order"].long()]
    for place in range(3):
        operation = which[:, place, None]
        factor = torch.stack([numbers[name] for name in Draw._fields[4:7]], dim=1).gather(1, operation)
        mix = factor[..., None] * eye + (1 - factor[..., None]) * luma
        saturated = (mix @ matrix, (mix @ offset[..., None])[..., 0])
        grey = ((matrix @ mean_B3[..., None])[..., 0] + offset) @ luma
        blended = factor * offset + (operation == 1) * (1 - factor) * grey[:, None]
        is_saturation = operation == 2
        matrix = torch.where(is_saturation[..., None], saturated[0], factor[..., None] * matrix)
        offset = torch.where(is_saturation, saturated[1], blended)
    grey_matrix = (luma @ matrix)[:, None].expand(-1, 3, 3)
    grey_offset = (offset @ luma)[:, None].expand(-1, 3)
    made_grey = numbers["grey"][:, None] > 0
    return torch.where(made_grey[..., None], grey_matrix, matrix), torch.where(made_grey, grey_offset, offset)


@lru_cache
def _constants(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """LUMA, the identity, and ORDERS as places in a Draw; kept, as moving them to a GPU would wait for it."""
    orders = [[Draw._fields[4:7].index(name) for name in order] for order in ORDERS]
    with torch.inference_mode(False):
        return torch.tensor(LUMA, device=device), torch.eye(3, device=device), torch.tensor(orders, device=device)


def _blurred_batch(images_BCHW: Tensor, sigma_B: Tensor) -> Tensor:
    batch, channels, height, width = images_BCHW.shape
    reach = min(math.ceil(REACH * 2.0), height - 1, width - 1)  # of the largest sigma: the shapes stay the same
    away = torch.arange(-reach, reach + 1, device=sigma_B.device).abs()
    curve = torch.exp(-0.5 * (away / sigma_B[:, None].clamp(min=1e-3)) ** 2)
    taps = (curve / curve.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)
    planes = images_BCHW.reshape(1, batch * channels, height, width)
    planes = F.pad(planes, (0, 0, reach, reach), mode="reflect")
    planes = F.conv2d(planes, taps[:, None, :, None], groups=batch * channels)
    planes = F.pad(planes, (reach, reach, 0, 0), mode="reflect")
    return F.conv2d(planes, taps[:, None, None, :], groups=batch * channels).view(images_BCHW.shape)
