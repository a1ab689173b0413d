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
from typing import Any, Protocol

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
    readers = [_reader(part) for part in parts]
    alike = _alike_in_size(readers, sum(map(len, parts)), progress) if sizes is None else _groups_of(sizes)
    starts = [0, *accumulate(map(len, parts))]
    places: _Places = {}
    for group in alike.values():
        for place in group:
            own = bisect_right(starts, place) - 1
            places[place] = readers[own], place - starts[own]
    groups = list(alike.items())
    for step in (_tails, _contents):
        groups = _divided(groups, places, step, lambda done: progress(done, len(places)))
    return sorted(group for _, group in groups)


def _alike_in_size(readers: Sequence[_Reader], total: int, progress: Progress) -> dict[Hashable, list[int]]:
    """By size, the places of two or more images that share it."""
    of_each: list[Hashable | None] = []
    for reader in readers:
        of_each += reader.sizes()
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
    groups: Iterable[_Group], places: _Places, step: _Step, progress: Callable[[int], None]
) -> list[_Group]:
    """The groups of two or more that remain once one more thing is compared."""
    left, done, told = [], 0, 0
    for size, group in groups:
        if done >= told:
            progress(done)
            told = done + 1000
        done += len(group)
        left += [(size, some) for some in step(size, group, places)]
    return left


def _tails(size: Any, group: list[int], places: _Places) -> list[list[int]]:
    return _by({place: places[place][0].tail(places[place][1], size) for place in group})


def _contents(size: Any, group: list[int], places: _Places) -> list[list[int]]:
    (one, first), (other, last) = places[group[0]], places[group[-1]]
    if len(group) == 2 and isinstance(one, _Files) and isinstance(other, _Files):
        # Several times faster than to hash both.
        return [group] if size <= TAIL or _equal(one.path(first), other.path(last)) else []
    return _by({place: places[place][0].content(places[place][1], size) for place in group})


def _by(found: Mapping[int, Hashable | None]) -> list[list[int]]:
    """Groups of two or more for which the same was found."""
    of: dict[Hashable, list[int]] = defaultdict(list)
    for place, key in found.items():
        if key is not None:
            of[key].append(place)
    return [some for some in of.values() if len(some) > 1]


def _bytes_of(path: str) -> int:
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):
        return 0


def _equal(one: str, other: str) -> bool:
    """Whether two files hold the same bytes."""
    try:
        with open(one, "rb", buffering=0) as first, open(other, "rb", buffering=0) as second:
            while (some := first.read(_CHUNK)) == second.read(_CHUNK):
                if not some:
                    return True
    except OSError:
        pass
    return False


class _Reader(Protocol):
    """Of a part.  Each step gives something of an image to compare, or None where it cannot be read.

    sizes: what two images of the same content share at the least; None where an image is gone or empty.
    """

    def sizes(self) -> Iterable[Hashable | None]: ...

    def tail(self, position: int, size: Any) -> Hashable | None: ...

    def content(self, position: int, size: Any) -> Hashable | None: ...


_Group = tuple[Hashable, list[int]]  # what they share of sizes, and their places
_Places = dict[int, tuple[_Reader, int]]
_Step = Callable[[Any, list[int], _Places], list[list[int]]]


def _reader(part: Images) -> _Reader:
    if isinstance(part, ImageArrays):
        return _Pixels(part)
    return _Files(part) if isinstance(part, ImageFiles) else _Stored(part)


class _Files:
    def __init__(self, images: ImageFiles) -> None:
        self._root, self._paths = os.path.join(images.root, ""), images.paths

    def sizes(self) -> Iterable[Hashable | None]:
        return (_bytes_of(self._root + path) or None for path in self._paths)

    def path(self, position: int) -> str:
        return self._root + self._paths[position]

    def tail(self, position: int, size: int) -> Hashable | None:
        try:
            file = os.open(self._root + self._paths[position], os.O_RDONLY)
            try:
                return os.pread(file, TAIL, max(0, size - TAIL))
            finally:
                os.close(file)
        except OSError:
            return None

    def content(self, position: int, size: int) -> Hashable | None:
        if size <= TAIL:
            return True  # compared already
        try:
            with open(self.path(position), "rb") as file:
                return hashlib.file_digest(file, "blake2b").digest()
        except OSError:
            return None


class _Stored:
    """Of a prepared set."""

    def __init__(self, images: PreparedImages) -> None:
        self._images = images

    def sizes(self) -> Iterable[Hashable | None]:
        rows = self._images.part.index[self._images.rows]
        return zip(*(rows[name].tolist() for name in ("bytes", "width", "height")), strict=True)

    def _bytes(self, position: int) -> memoryview:
        return self._images.part.read(int(self._images.rows[position]))[0].data

    def tail(self, position: int, size: Any) -> Hashable | None:
        return self._bytes(position)[-TAIL:].tobytes()

    def content(self, position: int, size: Any) -> Hashable | None:
        return hashlib.blake2b(self._bytes(position)).digest()


class _Pixels:
    def __init__(self, images: ImageArrays) -> None:
        self._images = images.images

    def sizes(self) -> Iterable[Hashable | None]:
        return repeat(self._images.shape[1:], len(self._images))

    def tail(self, position: int, size: Any) -> Hashable | None:
        return self._images[position, -1].tobytes()

    def content(self, position: int, size: Any) -> Hashable | None:
        return hashlib.blake2b(self._images[position].tobytes()).digest()
