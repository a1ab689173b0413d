"""Images of the same content, whatever they are called and wherever they lie.

Files are compared by size, then by their last bytes, then by all of them, each only where the step before found two
alike: of a folder without copies little more is asked than the sizes. Images in memory are compared by their pixels.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import accumulate, repeat
from typing import Any

import numpy as np

from fsgl.data.images.shards import PreparedImages
from fsgl.data.images.sources import ImageArrays, ImageFiles, Images

TAIL = 256  # bytes; the first ones are a camera's or a program's own and much alike
_CHUNK = 2**18  # bytes that are read at once where two files are compared
Progress = Callable[[int, int], None]  # told of how many of how many images have been looked at


def same_content(
    parts: Sequence[Images], progress: Progress = lambda done, total: None, sizes: np.ndarray | None = None
) -> list[list[int]]:
    """Groups of two or more places of the same content. Places count through all parts, one after the other.

    sizes: bytes of each, where all are files and they are known already; 0 for one that is gone.
    What cannot be read, or is empty, is the same as nothing else.
    """
    alike = _alike_in_size(parts, progress) if sizes is None else _groups_of(sizes)
    places = _places(parts, sorted((place, size) for size, group in alike.items() for place in group))
    groups: list[list[int]] = list(alike.values())
    for step in (_tails, _contents):
        groups = _divided(groups, places, step, lambda done: progress(done, len(places)))
    return sorted(groups)


def _alike_in_size(parts: Sequence[Images], progress: Progress) -> dict[Hashable, list[int]]:
    """By size, the places of two or more images that share it."""
    total = sum(map(len, parts))
    of_each: list[Hashable | None] = []
    for part in parts:
        of_each += _sizes(part)
        progress(len(of_each), total)
    counts = Counter(of_each)
    alike: dict[Hashable, list[int]] = defaultdict(list)
    for place, size in enumerate(of_each):
        if size is not None and counts[size] > 1:
            alike[size].append(place)
    return alike


def _groups_of(sizes: np.ndarray) -> dict[Hashable, list[int]]:
    """The same, of known sizes. Of 100,000 photographs about a third is looked at any further."""
    _, number, counts = np.unique(sizes, return_inverse=True, return_counts=True)
    alike: dict[Hashable, list[int]] = defaultdict(list)
    shared = np.flatnonzero((counts[number] > 1) & (sizes > 0))
    for place, size in zip(shared.tolist(), sizes[shared].tolist(), strict=True):
        alike[size].append(place)
    return alike


def _divided(
    groups: Iterable[list[int]], places: Mapping[int, _Place], step: _Step, progress: Callable[[int], None]
) -> list[list[int]]:
    """The groups of two or more that remain once one more thing is compared."""
    left, done, told = [], 0, 0
    for group in groups:
        if done >= told:
            progress(done)
            told = done + 1000
        done += len(group)
        left += step(group, places)
    return left


def _tails(group: list[int], places: Mapping[int, _Place]) -> list[list[int]]:
    return _by({place: places[place].tail() for place in group})


def _contents(group: list[int], places: Mapping[int, _Place]) -> list[list[int]]:
    one, other = places[group[0]], places[group[-1]]
    if len(group) == 2 and isinstance(one, _File) and isinstance(other, _File):
        return [group] if one.equals(other) else []  # several times faster than to hash both
    return _by({place: places[place].content() for place in group})


_Step = Callable[[list[int], Mapping[int, "_Place"]], list[list[int]]]


def _by(found: Mapping[int, Hashable | None]) -> list[list[int]]:
    """Groups of two or more for which the same was found."""
    of: dict[Hashable, list[int]] = defaultdict(list)
    for place, key in found.items():
        if key is not None:
            of[key].append(place)
    return [some for some in of.values() if len(some) > 1]


def _sizes(part: Images) -> Iterable[Hashable | None]:
    """What two images of the same content share at the least; None where an image is gone or empty."""
    if isinstance(part, ImageArrays):
        return repeat(part.images.shape[1:], len(part))
    if isinstance(part, ImageFiles):
        root = os.path.join(part.root, "")
        return (_bytes_of(root + path) or None for path in part.paths)
    rows = part.part.index[part.rows]
    return zip(*(rows[name].tolist() for name in ("bytes", "width", "height")), strict=True)


def _bytes_of(path: str) -> int:
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):
        return 0


def _places(parts: Sequence[Images], wanted: Iterable[tuple[int, Any]]) -> dict[int, _Place]:
    """The images at ascending places, of these sizes."""
    ends = list(accumulate(map(len, parts)))
    found, own = {}, 0
    make, first = _maker(parts[0]), 0
    for place, size in wanted:
        while place >= ends[own]:
            first, own = ends[own], own + 1
            make = _maker(parts[own])
        found[place] = make(place - first, size)
    return found


def _maker(part: Images) -> Callable[[int, Any], _Place]:
    if isinstance(part, ImageArrays):
        return lambda position, size: _Pixels(part, position)
    if isinstance(part, ImageFiles):
        root, paths = os.path.join(part.root, ""), part.paths
        return lambda position, size: _File(root + paths[position], size)
    return lambda position, size: _Stored(part, position)


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

    def equals(self, other: _File) -> bool:
        """Whether all bytes are the same."""
        if self.bytes <= TAIL:
            return True
        try:
            with open(self.path, "rb", buffering=0) as one, open(other.path, "rb", buffering=0) as two:
                while (some := one.read(_CHUNK)) == two.read(_CHUNK):
                    if not some:
                        return True
        except OSError:
            pass
        return False


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
