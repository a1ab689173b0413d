"""Images of any kind of source as people look at them."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np

from fsgl.data.images.sources import ImageArrays, Images

if TYPE_CHECKING:
    from PIL.Image import Image


def open_image(images: Images, position: int) -> Image:
    """As RGB, from memory or file. Raises BadImage."""
    from PIL.Image import fromarray

    if isinstance(images, ImageArrays):
        return fromarray(np.broadcast_to(images.images[position], (*images.images.shape[1:3], 3)).copy())
    return images.open(position)


def thumbnail(image: Image, side: int) -> str:
    """A JPEG of at most ``side`` pixels as a data URI."""
    small = image.copy()
    small.thumbnail((side, side))
    small.save(buffer := io.BytesIO(), "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
