"""One image file as an 8-bit RGB image, whatever it turns out to be.

How it becomes one is in pixels.py. Here is what real folders hold besides, and all of it is a BadImage:

    empty, truncated, damaged, not an image, pixels that are no numbers, a folder, a pipe, more than
    ``pixels.MAX_PIXELS``, not under the root (by "..", by a link), a loop of links
"""

from __future__ import annotations

import os
import stat
import warnings
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from fsgl.data.images.pixels import (
    MAX_PIXELS,
    ImageProblem,
    extent_of,
    formats,
    is_deep,
    own_scale,
    upright_rgb,
)
from fsgl.data.images.scale import Scale, scale_of
from fsgl.errors import UserError, first_line

if TYPE_CHECKING:
    from PIL.Image import Image

# What the names of the files that are read end with, in lower case.
SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif", ".tga", ".ico",
})  # fmt: skip
DEEP_SUFFIXES = frozenset({".png", ".apng", ".tif", ".tiff", ".pgm", ".ppm", ".pnm", ".jp2", ".j2k"})  # or 8 bits
_BESIDE = 64  # files beside a lone one that say what its scale is
# Those that a Pillow may have been built without, by the name of the feature.
_FEATURES = {"webp": {".webp"}, "jpg_2000": {".jp2", ".j2k"}, "avif": {".avif"}}
_HEIF = frozenset({".heic", ".heif", ".hif"})  # read where pillow-heif is installed


@lru_cache
def readable_suffixes() -> frozenset[str]:
    """What the names of files end with that can be read here, with this Pillow and what is installed beside it."""
    import importlib.util

    from PIL import features

    lacking = [suffixes for name, suffixes in _FEATURES.items() if not features.check(name)]
    more = _HEIF if importlib.util.find_spec("pillow_heif") else frozenset()
    return SUFFIXES.difference(*lacking) | more


class BadImage(UserError):
    """A file that gives no image.  path: as it was asked for.  reason: in words, without the path."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type[BadImage], tuple[str, str]]:  # it comes back from decoding processes
        return BadImage, (self.path, self.reason)


def open_rgb(
    root: Path, relative: str, at_least: int | None = None, scale: Scale | None = None, follow: bool = False
) -> Image:
    """The image ``root / relative`` as RGB. Raises BadImage.

    follow: whether a link may lead out of the root.
    at_least: pixels of the shorter side that are needed; a JPEG with many more is decoded at a half, a quarter or an
    eighth of its size, which is several times faster. None is the full size.  scale: of the set that the image belongs
    to, where it has more than 8 bits a channel; None takes that of the files beside it.
    """
    _check_place(root, root / relative, follow)
    if scale is None:
        scale = scale_beside(root / relative)
    return rgb_of(root / relative, str(root / relative), at_least, scale)


def open_in_set(root: Path, relative: str, at_least: int | None, scale: Scale | None, follow: bool = False) -> Image:
    """As ``open_rgb``, of a set whose scale is known: where that is None an image of more than 8 bits is a BadImage."""
    _check_place(root, root / relative, follow)
    return rgb_of(root / relative, str(root / relative), at_least, scale)


def rgb_of(file: Path | BinaryIO, path: str, at_least: int | None = None, scale: Scale | None = None) -> Image:
    """As ``open_rgb``, from a file whose place is known to be right, or from bytes. path: its name, for messages.

    Without a scale an image of more than 8 bits a channel is a BadImage.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        return upright_rgb(file, scale, at_least)
    except ImageProblem as error:
        raise BadImage(path, str(error)) from None
    except UnidentifiedImageError:
        raise BadImage(path, "not an image (or of a format that is not read)") from None
    except Image.DecompressionBombError:
        raise BadImage(path, f"too large (at most {MAX_PIXELS / 1e6:.0f} million pixels)") from None
    except MemoryError:
        raise BadImage(path, "too large for this machine's memory") from None
    except Exception as error:  # from arbitrary bytes a decoder raises anything: SyntaxError for a torn PNG
        reason = first_line(error)
        raise BadImage(path, f"damaged or truncated ({reason})") from None


def scale_alone(file: BinaryIO) -> Scale | None:
    """The scale of an image that belongs to no set; None for one of 8 bits a channel, or one that cannot be read."""
    try:
        return own_scale(file)
    except Exception:  # whoever opens it will say
        return None


def scale_beside(path: Path) -> Scale | None:
    """The scale of an image that is no part of a set whose scale is known: that of the files beside it.

    None for one of 8 bits a channel, or one that cannot be read. Raises BadImage where they have no common one.
    """
    try:
        if path.suffix.lower() not in DEEP_SUFFIXES or not is_deep(path):
            return None
    except Exception:  # whoever opens it will say
        return None
    scale = _scale_in(path.parent, path.suffix.lower())
    if scale is None:
        try:
            extent_of(path)
        except ImageProblem as error:
            raise BadImage(path, str(error)) from None
        raise BadImage(path, "is of another scale than the files beside it; give the white level")
    return scale


@lru_cache(maxsize=64)
def _scale_in(folder: Path, suffix: str) -> Scale | None:
    names = sorted(entry.name for entry in os.scandir(folder) if entry.name.lower().endswith(suffix))
    step = max(1, len(names) // _BESIDE)
    extents = []
    for name in names[::step]:
        try:
            extent = extent_of(folder / name)
        except Exception:  # a file that gives no image says nothing of the others
            continue
        if extent is not None:
            extents.append(extent)
    try:
        return scale_of(extents)
    except ValueError:
        return None


def stored_mode(root: Path, relative: str) -> str:
    """How a readable file stores its image, such as "JPEG RGB" or "PNG P"."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(root / relative, formats=formats()) as image:
            return f"{image.format} {image.mode}"


def _check_place(root: Path, path: Path, follow: bool = False) -> None:
    try:
        if not follow and not path.resolve().is_relative_to(root.resolve()):
            raise BadImage(path, f"leads out of {root}; nothing outside it is read without --follow-links")
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
