"""Every image opened once: its size and mode, a hash of its pixels, a hash of how it looks, or why it gives none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fsgl.data.images.alike import difference_hash, pixel_hash
from fsgl.data.images.image_files import BadImage
from fsgl.data.images.sources import Images
from fsgl.data.images.worker_processes import in_processes

if TYPE_CHECKING:
    from PIL.Image import Image

CHUNK = 64
QUICK_SIDE = 16  # of the pixels that label errors are looked for in


@dataclass(frozen=True)
class Seen:
    """One image.  pixels: hash of size and pixels.  looks: 64-bit difference hash, None for a flat image.
    small: uint8 ``16 x 16 x 3``.  mode: as it is stored.  error: why it gives no image; the rest is then empty."""

    width: int = 0
    height: int = 0
    pixels: str = ""
    looks: int | None = None
    small: np.ndarray | None = None
    mode: str = ""
    error: str = ""


def scan(images: Images, workers: int = 2, progress: Callable[[int], None] = lambda count: None) -> list[Seen]:
    """All images, in order. workers: processes. progress: told of every so many done. Raises UserError."""
    chunks = [np.arange(i, min(i + CHUNK, len(images))) for i in range(0, len(images), CHUNK)]
    found: list[Seen] = []
    workers = 0 if images.array_size or len(chunks) < 3 else workers
    for part in in_processes(_examine_images, (images.take(chunk) for chunk in chunks), workers, "inspecting images"):
        found += part
        progress(len(part))
    return found


def _examine_images(images: Images) -> list[Seen]:
    found = []
    for position in range(len(images)):
        try:
            found.append(replace(examine_image(images.open(position)), mode=images.stored_mode(position)))
        except BadImage as error:
            found.append(Seen(error=error.reason))
    return found


def examine_image(image: Image) -> Seen:
    """What is kept of an RGB image."""
    from PIL.Image import Resampling

    small = np.asarray(image.resize((QUICK_SIDE, QUICK_SIDE), Resampling.BOX))
    return Seen(image.width, image.height, pixel_hash(image), difference_hash(image), small)
