"""Images that are the same, or look it.

Near duplicates: 64-bit difference hashes that differ in at most ``DISTANCE`` bits. Of two such hashes at least one of
DISTANCE + 1 bands of bits is equal, so only hashes that share a band are compared.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

DISTANCE = 3
BANDS = 4
LARGEST_BAND = 3000  # hashes that share one: beyond that they are of one kind of picture, and no finding
FLAT = 2.0  # standard deviation, in levels, below which an image looks like any other flat one


def pixel_hash(image: Image) -> str:
    """Of the size and the pixels."""
    return hashlib.sha256(repr(image.size).encode() + image.tobytes()).hexdigest()


def difference_hash(image: Image) -> int | None:
    """64 bits: in each of 8 rows of 9 grey blocks, whether a block is darker than the next. None for a flat image."""
    from PIL.Image import Resampling

    grey = np.asarray(image.convert("L").resize((9, 8), Resampling.BOX), dtype=np.float64)
    brighter = (grey[:, 1:] > grey[:, :-1]).ravel()
    return None if grey.std() < FLAT else int.from_bytes(np.packbits(brighter).tobytes(), "big")


def same(hashes: Sequence[str]) -> list[list[int]]:
    """Groups of two or more places with equal, non-empty hashes."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, value in enumerate(hashes):
        if value:
            places[value].append(place)
    return [group for group in places.values() if len(group) > 1]


def alike(looks: Sequence[int | None]) -> list[list[int]]:
    """Groups of two or more places whose hashes are near, directly or over others of the group. None is near none."""
    places: dict[int, list[int]] = defaultdict(list)
    for place, value in enumerate(looks):
        if value is not None:
            places[value].append(place)
    values = np.array(sorted(places), dtype=np.uint64)
    parent = list(range(len(values)))
    for one, other in _near(values):
        parent[_root(parent, one)] = _root(parent, other)
    groups: dict[int, list[int]] = defaultdict(list)
    for index, value in enumerate(values.tolist()):
        groups[_root(parent, index)] += places[value]
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)


def joined(groups: Iterable[Sequence[int]]) -> list[list[int]]:
    """The groups, those that share a place as one; ascending, in the order of their first places."""
    parent: dict[int, int] = {}
    for group in groups:
        first = _root(parent, parent.setdefault(group[0], group[0]))
        for place in group[1:]:
            parent[_root(parent, parent.setdefault(place, place))] = first
    whole: dict[int, list[int]] = defaultdict(list)
    for place in sorted(parent):
        whole[_root(parent, place)].append(place)
    return list(whole.values())


def _near(values: np.ndarray) -> Iterable[tuple[int, int]]:
    width = 64 // BANDS
    for band in range(BANDS):
        keys = (values >> np.uint64(band * width)) & np.uint64(2**width - 1)
        order = np.argsort(keys, kind="stable")
        for bucket in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
            if not 1 < len(bucket) <= LARGEST_BAND:
                continue
            for place, one in enumerate(bucket[:-1].tolist()):
                others = bucket[place + 1 :]
                differing = np.bitwise_count(values[others] ^ values[one])
                yield from ((one, other) for other in others[differing <= DISTANCE].tolist())


def _root(parent: list[int] | dict[int, int], index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = parent[index]
    return index
