"""The former place of ``open_rgb``, from which scripts import it that are older than the folder ``images``."""

from __future__ import annotations

from fsgl.data.images.image_files import open_rgb

__all__ = ["open_rgb"]
