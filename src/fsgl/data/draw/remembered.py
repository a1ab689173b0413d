"""What a search for copies found, kept in the user's cache: between two commands a folder's files seldom change.

A folder of 100,000 files is searched in seconds, 5,000 photographs whose looks are compared in a minute, and every
``--resume``, ``evaluate`` and ``serve`` needs the same answer. It is known by the files' paths, sizes and times of
change: asking for these is what remains.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fsgl.data.images.sources import ImageFiles, Images
from fsgl.errors import UserError
from fsgl.files import write_atomically

VERSION = 1  # of how copies are found: another one finds anew
WORTH_KEEPING = 1.0  # seconds of a search


@dataclass(frozen=True)
class Found:
    """Groups of places, counted through all parts: of the same content, and of the same looks; ``many`` look alike."""

    same: list[list[int]]
    looks: list[list[int]]
    many: int


def sizes_and_key(parts: Sequence[Images], looks: bool) -> tuple[np.ndarray, Path] | None:
    """Bytes of each file, 0 where it is gone, and where the answer is kept; None where not all images are files.

    looks: whether looks are compared as well.
    """
    known = hashlib.blake2b(f"{VERSION} {looks}".encode(), digest_size=16)
    files = [part for part in parts if isinstance(part, ImageFiles)]
    if len(files) < len(parts):
        return None
    sizes, times = list[int](), list[int]()
    for part in files:
        root = os.path.join(os.path.abspath(part.root), "")
        for path in part.paths:
            try:
                found = os.stat(root + path)
            except (OSError, ValueError):
                sizes.append(0)
                times.append(0)
                continue
            sizes.append(found.st_size)
            times.append(found.st_mtime_ns)
        known.update("\0".join([root, *part.paths, ""]).encode("utf-8", "surrogateescape"))
        known.update(part.labels.tobytes())
    known.update(np.array([sizes, times], dtype=np.int64).tobytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return np.array(sizes, dtype=np.int64), cache / "fsgl" / "copies" / f"{known.hexdigest()}.json"


def recall(path: Path) -> Found | None:
    """What was found before; None where nothing was, or what is kept is damaged."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Found(**json.loads(path.read_bytes()))
    return None


def remember(path: Path, found: Found) -> None:
    """For the next time; where the cache cannot be written, the next search finds it again."""
    with contextlib.suppress(UserError):
        write_atomically(path, json.dumps(vars(found)).encode())
