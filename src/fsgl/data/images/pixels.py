"""From the bytes of an image file to what a network is shown: depth, rotation, transparency, resizing.

Pillow, NumPy and scale.py are all that it needs. fsgl decodes by it in training, evaluation and prediction, and ``fsgl
export`` writes it, as it stands, into the module beside an exported model (deploy/standalone.py): there is one way from
a file to pixels, and no second one that could differ.

    CMYK, grey, palette, bilevel, YCbCr, LAB   converted
    transparent                                laid on white
    rotated by its EXIF tag                    turned upright
    animated                                   its first frame
    more than 8 bits a channel                 from black to white by one scale for the whole set (scale.py)
"""

from __future__ import annotations

import contextlib
import math
import sys
import warnings
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageFile, ImageOps

from fsgl.data.images.scale import Extent, Scale, scale_of

MAX_PIXELS = 100_000_000  # 300 MB as RGB
# Only what Pillow decodes itself: its PostScript reader would start another program.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "TGA", "ICO", "HEIF")
TOO_BRIGHT = 0.01  # of an image's values: where more lie beyond a scale that was decided, it is of another one


class ImageProblem(ValueError):
    """A file that gives no image, and why."""


class Shape(NamedTuple):
    """What a network is shown.

    height, width: in pixels.  channels: 1 for grey, 3 for RGB.  photograph: the shorter side is resized to 8/7 of that
    of the network's before the middle is cut out, as photographs are evaluated; False resizes it to the network's own.
    whole: below a photograph's middle, its whole is shown as well, pressed into a square of the same side: height is
    then twice the width.
    """

    height: int
    width: int
    channels: int
    photograph: bool
    whole: bool = False

    @property
    def enough(self) -> int:
        """Pixels of an image's shorter side that are decoded at least, where it has them."""
        return 2 * max(self.width, 0 if self.whole else self.height)


def upright_rgb(file: Path | BinaryIO, scale: Scale | None = None, at_least: int | None = None) -> Image.Image:
    """The image in a file as 8-bit RGB.

    scale: for more than 8 bits a channel; None refuses such images.  at_least: pixels of the shorter side that are
    needed; a JPEG with many more is decoded at a half, a quarter or an eighth of its size, which is several times
    faster. Raises ImageProblem, or what Pillow raises for a damaged file.
    """
    with warnings.catch_warnings(), _opened(file) as image:
        warnings.simplefilter("ignore")  # Pillow's about odd metadata
        if (modes := _deep_modes(image)) is not None:
            if scale is None:
                raise ImageProblem("has more than 8 bits a channel, with no known white level; give --white-level")
            values, alpha = _values(file, image, modes)
            upright = Image.fromarray(to_8_bits(values, scale))
            if alpha is not None:
                upright.putalpha(Image.fromarray(alpha))
            upright = _turned(upright, image.getexif().get(0x0112, 1))
        else:
            if at_least is not None and image.format == "JPEG":
                image.draft(None, _at_scale(*image.size, at_least))
            image.load()
            upright = ImageOps.exif_transpose(image)
        if upright.has_transparency_data:
            upright = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
        return upright.convert("RGB")


def to_8_bits(values: np.ndarray, scale: Scale) -> np.ndarray:
    """uint8 of the same shape: black to white of the scale as 0 to 255, what lies beyond cut off.

    From 0 to a power of two less 1 the upper 8 bits are kept. Raises ImageProblem where much lies beyond a scale that
    was decided.
    """
    black, white, given = scale
    low, high = values.min(), values.max()
    if not given and (low < black or high > white):
        beyond = float(((values < black) | (values > white)).mean())
        if beyond > TOO_BRIGHT:
            raise ImageProblem(
                f"holds values from {low:,g} to {high:,g}, and those of its set are from {black:,g} (black) to "
                f"{white:,g} (white); give the white level (--white-level)"
            )
    bits = math.log2(white + 1)
    if black == 0 and bits >= 8 and bits.is_integer() and values.dtype.kind != "f":
        return np.asarray(values.clip(0, white).astype(np.int64) >> int(bits) - 8).astype(np.uint8)
    share = (values.clip(black, white).astype(np.float64) - black) / (white - black)
    return np.floor(255 * share + 0.5).astype(np.uint8)


def extent_of(file: Path | BinaryIO) -> Extent | None:
    """The smallest and the largest value of an image, None for one of 8 bits a channel. Raises as ``upright_rgb``."""
    with _opened(file) as image:
        if (modes := _deep_modes(image)) is None:
            return None
        values, _ = _values(file, image, modes)
    whole = values.dtype.kind != "f" or bool((values == np.rint(values)).all())
    return Extent(float(values.min()), float(values.max()), whole)


def own_scale(file: Path | BinaryIO) -> Scale | None:
    """The scale of an image that belongs to no set: by its own values. None where it has 8 bits a channel."""
    extent = extent_of(file)
    return None if extent is None else scale_of([extent])


def is_deep(file: Path | BinaryIO) -> bool:
    """Whether an image has more than 8 bits a channel, by its head alone. Raises as ``upright_rgb``."""
    with _opened(file) as image:
        return _deep_modes(image) is not None


def view(image: Image.Image, shape: Shape) -> np.ndarray:
    """What a network is shown of an RGB image: uint8 ``H x W x C``.

    The middle of it, resized (bilinear, antialiased); an image that has the network's size already is taken as it is,
    unless it is to be seen as a photograph.
    """
    if shape.photograph:
        return photograph_view(image, shape.width, shape.whole)
    width, height = image.size
    if (height, width) != (shape.height, shape.width):
        # The largest middle part of the wanted proportions, in whole pixels; a graph can do the same.
        inner_width = max(1, min(width, round_half_up(height * shape.width, shape.height)))
        inner_height = max(1, min(height, round_half_up(width * shape.height, shape.width)))
        left, top = (width - inner_width) // 2, (height - inner_height) // 2
        image = image.crop((left, top, left + inner_width, top + inner_height))
        image = image.resize((shape.width, shape.height), Image.Resampling.BILINEAR)
    pixels = np.asarray(image.convert("L") if shape.channels == 1 else image)
    return pixels.reshape(shape.height, shape.width, shape.channels)


def photograph_view(image: Image.Image, size: int, whole: bool = False) -> np.ndarray:
    """uint8 ``size x size x 3`` of an RGB image: short side to 8/7 of the size (bilinear, antialiased), middle.

    whole: below it all of the image, pressed into the same square; ``2 size x size x 3``.
    """
    short = size * 8 // 7
    scale = short / min(image.size)
    width, height = (short if side == min(image.size) else int(side * scale) for side in image.size)
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    middle = np.asarray(resized.crop((left, top, left + size, top + size)))
    if not whole:
        return middle
    return np.concatenate([middle, np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))])


def round_half_up(numerator: int, denominator: int) -> int:
    """The quotient of two positive whole numbers, rounded."""
    return (2 * numerator + denominator) // (2 * denominator)


@lru_cache
def formats() -> tuple[str, ...]:
    """Those of FORMATS that this Pillow can read."""
    Image.init()
    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _opened(file: Path | BinaryIO) -> ImageFile.ImageFile:
    if not isinstance(file, Path):
        file.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's about size, which is judged below
        image: ImageFile.ImageFile = Image.open(file, formats=formats())
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise ImageProblem(f"too large ({width} x {height} pixels; at most {MAX_PIXELS / 1e6:.0f} million)")
    return image


def _at_scale(width: int, height: int, at_least: int) -> tuple[int, int]:
    """What to ask of a JPEG decoder, which takes the smallest of its scales that is no smaller than this."""
    scale = min(1.0, at_least / min(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    way = Image.Transpose
    ways = {
        2: way.FLIP_LEFT_RIGHT, 3: way.ROTATE_180, 4: way.FLIP_TOP_BOTTOM, 5: way.TRANSPOSE,
        6: way.ROTATE_270, 7: way.TRANSVERSE, 8: way.ROTATE_90,
    }  # fmt: skip
    return image.transpose(ways[orientation]) if orientation in ways else image


def _deep_modes(image: ImageFile.ImageFile) -> tuple[str, ...] | None:
    """How to decode an image of more than 8 bits; None where there are 8 at most.

    Of grey ones Pillow has the values, ("values",). Of colours it keeps the upper half of each value; read as if their
    bytes were in the other order, it keeps the lower half: the raw modes of the two halves. Grey with alpha is decoded
    by the four bytes of each pixel: one raw mode.
    """
    if image.mode[0] in "IF":
        return ("values",)
    if not image.tile:
        return None
    (codec, _, _, arguments), *_ = image.tile
    raw = arguments[0] if isinstance(arguments, tuple) else arguments
    if codec == "ppm" and arguments == ("RGB", 65535):
        return "RGB;16B", "RGB;16L"
    if raw == "LA;16B":
        return ("RGBA",)
    if not isinstance(raw, str) or raw[:-1] not in ("RGB;16", "RGBA;16", "RGBX;16"):
        return None
    if raw[-1] == "N":
        raw = raw[:-1] + ("L" if sys.byteorder == "little" else "B")
    return raw, raw[:-1] + ("B" if raw[-1] == "L" else "L")


def _values(
    file: Path | BinaryIO, image: ImageFile.ImageFile, modes: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray | None]:
    """The values of an image of more than 8 bits, ``H x W`` or ``H x W x 3``, and its alpha as uint8, if it has one."""
    if modes == ("values",):
        values = np.asarray(image)
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ImageProblem("has pixels that are no numbers (NaN or infinite)")
        if image.format == "TIFF":
            tags = image.tag_v2  # type: ignore[attr-defined]
            if values.dtype == np.uint16 and tags.get(262) == 0:  # white is 0, which Pillow turns over for 8 bits only
                values = 65535 - values
            if values.dtype == np.int32 and tags.get(258) == (32,) and tags.get(339, (1,)) == (1,):
                values = values.view(np.uint32)  # unsigned, for which Pillow has no mode
        clear = image.info.get("transparency")
        return values, np.where(values == clear, 0, 255).astype(np.uint8) if isinstance(clear, int) else None
    if len(modes) == 1:
        grey_alpha = _decoded(file, modes[0])
        return grey_alpha[..., 0].astype(np.uint16) << 8 | grey_alpha[..., 1], grey_alpha[..., 2]
    upper, lower = (_decoded(file, mode) for mode in modes)
    colours = upper[..., :3].astype(np.uint16) << 8 | lower[..., :3]
    clear = image.info.get("transparency")
    if isinstance(clear, tuple):  # one colour of a PNG
        return colours, np.where((colours == clear).all(axis=-1), 0, 255).astype(np.uint8)
    return colours, upper[..., 3] if upper.shape[-1] == 4 else None


def _decoded(file: Path | BinaryIO, raw: str) -> np.ndarray:
    """The bytes of a file of several channels, taken for this raw mode."""
    with _opened(file) as image:
        tiles = []
        for tile in image.tile:
            if tile.codec_name == "ppm":
                tile = tile._replace(codec_name="raw", args=(raw, 0, 1))
            else:
                rest = tile.args[1:] if isinstance(tile.args, tuple) else None
                tile = tile._replace(args=raw if rest is None else (raw, *rest))
            tiles.append(tile)
        image.tile = tiles
        return np.asarray(image)
