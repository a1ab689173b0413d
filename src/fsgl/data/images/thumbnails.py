"""Small pictures for pages."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


def thumbnail(image: Image, side: int) -> str:
    """A JPEG of at most ``side`` pixels as a data URI."""
    small = image.copy()
    small.thumbnail((side, side))
    small.save(buffer := io.BytesIO(), "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
