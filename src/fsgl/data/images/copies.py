"""Images of the same content, whatever they are called and wherever they lie.

Files are compared by size, then by their last bytes, then by all of them, each only where the step before found two
alike: of a folder without copies little more is asked than the sizes. Images in memory are compared by their pixels.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence

from fsgl.data.images.shards import PreparedImages
from fsgl.data.images.sources import ImageArrays, ImageFiles, Images

TAIL = 256  # bytes; the first ones are a camera's or a program's own and much alike
Progress = Callable[[int, int], None]  # told of how many of how many images have been looked at


def same_content(
    parts: Sequence[Images], progress: Progress = lambda done, total: None, sizes: Sequence[int | None] | None = None
) -> list[list[int]]:
    """Groups of two or more places of the same content. Places count through all parts, one after the other.

    sizes: bytes of each, where all are files and they are known already; None for one that is gone.
    What cannot be read, or is empty, is the same as nothing else.
    """
    places: list[_Place] = []
    for part in parts:
        if isinstance(part, ImageArrays):
            places += [_Pixels(part, position) for position in range(len(part))]
        elif isinstance(part, ImageFiles):
            root = os.path.join(part.root, "")
            known = [None] * len(part) if sizes is None else sizes[len(places) : len(places) + len(part)]
            places += [
                _File(root + path, size, sizes is not None) for path, size in zip(part.paths, known, strict=True)
            ]
        else:
            places += [_Stored(part, position) for position in range(len(part))]
    groups: Iterable[list[int]] = [list(range(len(places)))]
    for step in ("size", "tail", "content"):
        groups = _divided(groups, places, step, progress)
    return sorted(groups)


def _divided(groups: Iterable[list[int]], places: Sequence[_Place], step: str, progress: Progress) -> list[list[int]]:
    """The groups of two or more that remain once one more thing is compared."""
    left = []
    for group in groups:
        found: dict[Hashable, list[int]] = defaultdict(list)
        for done, place in enumerate(group):
            if done % 1000 == 0:
                progress(place, len(places))
            key = getattr(places[place], step)()
            if key is not None:
                found[key].append(place)
        left += [some for some in found.values() if len(some) > 1]
    return left


class _Place:
    """An image.  Each step gives something to compare, or None where the image cannot be read."""

    __slots__ = ()

    def size(self) -> Hashable | None:
        raise NotImplementedError

    def tail(self) -> Hashable | None:
        raise NotImplementedError

    def content(self) -> Hashable | None:
        raise NotImplementedError


class _File(_Place):
    __slots__ = ("asked", "bytes", "path")

    def __init__(self, path: str, size: int | None, asked: bool) -> None:
        self.path, self.bytes, self.asked = path, size or 0, asked

    def size(self) -> Hashable | None:
        if not self.asked:
            try:
                self.bytes = os.stat(self.path).st_size
            except (OSError, ValueError):
                return None
        return self.bytes or None

    def tail(self) -> Hashable | None:
        try:
            file = os.open(self.path, os.O_RDONLY)
            try:
                return os.pread(file, TAIL, max(0, self.bytes - TAIL))
            finally:
                os.close(file)
        except OSError:
            return None

    def content(self) -> Hashable | None:
        if self.bytes <= TAIL:
            return True  # compared already
        try:
            with open(self.path, "rb") as file:
                return hashlib.file_digest(file, "blake2b").digest()
        except OSError:
            return None


class _Stored(_Place):
    """Of a prepared set."""

    __slots__ = ("images", "position")

    def __init__(self, images: PreparedImages, position: int) -> None:
        self.images, self.position = images, position

    def _bytes(self) -> memoryview:
        return self.images.part.read(int(self.images.rows[self.position]))[0].data

    def size(self) -> Hashable | None:
        row = self.images.part.index[int(self.images.rows[self.position])]
        return int(row["bytes"]), int(row["width"]), int(row["height"])

    def tail(self) -> Hashable | None:
        return self._bytes()[-TAIL:].tobytes()

    def content(self) -> Hashable | None:
        return hashlib.blake2b(self._bytes()).digest()


class _Pixels(_Place):
    __slots__ = ("images", "position")

    def __init__(self, images: ImageArrays, position: int) -> None:
        self.images, self.position = images.images, position

    def size(self) -> Hashable | None:
        return self.images.shape[1:]

    def tail(self) -> Hashable | None:
        return self.images[self.position, -1].tobytes()

    def content(self) -> Hashable | None:
        return hashlib.blake2b(self.images[self.position].tobytes()).digest()
