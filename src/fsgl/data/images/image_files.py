"""One image file as an 8-bit RGB image, whatever it turns out to be.

What real folders hold, and how it is read:

    CMYK, grey, palette, bilevel, YCbCr, LAB   converted
    16 bits a channel                          the upper 8 of them
    transparent                                laid on white
    rotated by its EXIF tag                    turned upright
    animated                                   its first frame
    one pixel; very wide or very high          taken as it is
    empty, truncated, damaged, not an image, floating-point pixels, a folder, a pipe,
    more than MAX_PIXELS, not under the root (by "..", by a link), a loop of links     BadImage

Only formats that Pillow decodes itself are read: its PostScript reader would start another program.
"""

from __future__ import annotations

import stat
import warnings
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from fsgl.errors import UserError, first_line

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 100_000_000  # 300 MB as RGB
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "TGA", "ICO")
# What the names of such files end with, in lower case.
SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif", ".tga", ".ico",
})  # fmt: skip


class BadImage(UserError):
    """A file that gives no image.  path: as it was asked for.  reason: in words, without the path."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type[BadImage], tuple[str, str]]:  # it comes back from decoding processes
        return BadImage, (self.path, self.reason)


def open_rgb(root: Path, relative: str, at_least: int | None = None) -> Image:
    """The image ``root / relative`` as RGB. Raises BadImage.

    at_least: pixels of the shorter side that are needed; a JPEG with many more is decoded at a half, a quarter or an
    eighth of its size, which is several times faster. None is the full size.
    """
    path = root / relative
    _check_place(root, path)
    return rgb_of(path, str(path), at_least)


def rgb_of(file: Path | BinaryIO, path: str, at_least: int | None = None) -> Image:
    """As ``open_rgb``, from a file whose place is known to be right, or from bytes. path: its name, for messages."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's about size, which is judged below, and about odd metadata
            with Image.open(file, formats=_formats()) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    most = f"at most {MAX_PIXELS / 1e6:.0f} million"
                    raise BadImage(path, f"too large ({width} x {height} pixels; {most})")
                if at_least is not None and image.format == "JPEG":
                    image.draft(None, _at_scale(width, height, at_least))
                return _upright_rgb(image, path)
    except BadImage:
        raise
    except UnidentifiedImageError:
        raise BadImage(path, "not an image (or of a format that is not read)") from None
    except Image.DecompressionBombError:
        raise BadImage(path, f"too large (at most {MAX_PIXELS / 1e6:.0f} million pixels)") from None
    except MemoryError:
        raise BadImage(path, "too large for this machine's memory") from None
    except Exception as error:  # from arbitrary bytes a decoder raises anything: SyntaxError for a torn PNG
        reason = first_line(error)
        raise BadImage(path, f"damaged or truncated ({reason})") from None


def stored_mode(root: Path, relative: str) -> str:
    """How a readable file stores its image, such as "JPEG RGB" or "PNG P"."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(root / relative, formats=_formats()) as image:
            return f"{image.format} {image.mode}"


@lru_cache
def _formats() -> tuple[str, ...]:
    """Those of FORMATS that this Pillow can read."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _check_place(root: Path, path: Path) -> None:
    try:
        if not path.resolve().is_relative_to(root.resolve()):
            raise BadImage(path, f"leads out of {root}; nothing outside it is read")
        status = path.stat()
    except FileNotFoundError:
        raise BadImage(path, "no such file") from None
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop of links, on Python below 3.13
        reason = getattr(error, "strerror", None) or "a loop of links, or no path at all"
        raise BadImage(path, f"cannot be read ({reason})") from None
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        raise BadImage(path, "not a file")
    if status.st_size == 0:
        raise BadImage(path, "empty")


def _at_scale(width: int, height: int, at_least: int) -> tuple[int, int]:
    """What to ask of a JPEG decoder, which takes the smallest of its scales that is no smaller than this."""
    shorter = min(width, height)
    scale = min(1.0, at_least / shorter)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _upright_rgb(image: Image, path: str) -> Image:
    from PIL import Image, ImageOps

    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise BadImage(path, "has floating-point pixels; save it with 8 or 16 bits a channel")
    if image.mode.startswith("I"):  # 16-bit grey; "I" is what some readers make of it
        return _upper_bits(image).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _upper_bits(image: Image) -> Image:
    """16-bit grey (which some readers call "I") as 8-bit grey."""
    from PIL import Image

    pixels = np.asarray(image).astype(np.int64)
    deep = image.mode.startswith("I;16") or pixels.max() > 255
    return Image.fromarray((pixels >> 8 if deep else pixels).clip(0, 255).astype(np.uint8))
