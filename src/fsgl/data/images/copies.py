"""Images of the same content, whatever they are called and wherever they lie.

Files are compared by size, then by their last bytes, then by all of them, each only where the step before found two
alike: of a folder without copies little more is asked than the sizes. Images in memory are compared by their pixels.
"""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import accumulate, repeat
from typing import Any

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
    total, first = sum(map(len, parts)), 0
    of_each: list[Hashable | None] = []
    for part in parts:
        of_each += _sizes(part, None if sizes is None else sizes[first : first + len(part)])
        first += len(part)
        progress(first, total)
    # Only what shares its size with another is looked at any further: of 100,000 photographs about a third.
    counts = Counter(of_each)
    alike: dict[Hashable, list[int]] = defaultdict(list)
    for place, size in enumerate(of_each):
        if size is not None and counts[size] > 1:
            alike[size].append(place)
    starts = [0, *accumulate(map(len, parts))]
    places: dict[int, _Place] = {}
    for size, group in alike.items():
        for place in group:
            own = bisect_right(starts, place) - 1
            places[place] = _place(parts[own], place - starts[own], size)
    groups: list[list[int]] = list(alike.values())
    for step in ("tail", "content"):
        groups = _divided(groups, places, step, lambda done: progress(done, len(places)))
    return sorted(groups)


def _divided(
    groups: Iterable[list[int]], places: Mapping[int, _Place], step: str, progress: Callable[[int], None]
) -> list[list[int]]:
    """The groups of two or more that remain once one more thing is compared."""
    left, done = [], 0
    for group in groups:
        found: dict[Hashable, list[int]] = defaultdict(list)
        for place in group:
            if done % 1000 == 0:
                progress(done)
            done += 1
            key = getattr(places[place], step)()
            if key is not None:
                found[key].append(place)
        left += [some for some in found.values() if len(some) > 1]
    return left


def _sizes(part: Images, known: Sequence[int | None] | None) -> Iterable[Hashable | None]:
    """What two images of the same content share at the least; None where an image is gone or empty."""
    if isinstance(part, ImageArrays):
        return repeat(part.images.shape[1:], len(part))
    if isinstance(part, ImageFiles):
        root = os.path.join(part.root, "")
        found = map(_bytes_of, (root + path for path in part.paths)) if known is None else known
        return (size or None for size in found)
    rows = part.part.index[part.rows]
    return zip(*(rows[name].tolist() for name in ("bytes", "width", "height")), strict=True)


def _bytes_of(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):
        return None


def _place(part: Images, position: int, size: Any) -> _Place:
    if isinstance(part, ImageArrays):
        return _Pixels(part, position)
    if isinstance(part, ImageFiles):
        return _File(os.path.join(part.root, part.paths[position]), size)
    return _Stored(part, position)


class _Place:
    """An image.  Each step gives something to compare, or None where the image cannot be read."""

    __slots__ = ()

    def tail(self) -> Hashable | None:
        raise NotImplementedError

    def content(self) -> Hashable | None:
        raise NotImplementedError


class _File(_Place):
    __slots__ = ("bytes", "path")

    def __init__(self, path: str, size: int) -> None:
        self.path, self.bytes = path, size

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

    def tail(self) -> Hashable | None:
        return self._bytes()[-TAIL:].tobytes()

    def content(self) -> Hashable | None:
        return hashlib.blake2b(self._bytes()).digest()


class _Pixels(_Place):
    __slots__ = ("images", "position")

    def __init__(self, images: ImageArrays, position: int) -> None:
        self.images, self.position = images.images, position

    def tail(self) -> Hashable | None:
        return self.images[self.position, -1].tobytes()

    def content(self) -> Hashable | None:
        return hashlib.blake2b(self.images[self.position].tobytes()).digest()
