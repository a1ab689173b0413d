"""What stays on one side of a split: copies of an image, and the groups that somebody named."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from fsgl.data.images.copies import same_content
from fsgl.data.images.sources import ImageArrays, Images, Source

COPIES = ("together", "apart")
_NAMES = {"train": "training", "val": "validation", "test": "test"}


def keep_together(source: Source, copies: str, carves: bool) -> tuple[Source, dict[str, Any]]:
    """The source with copies added to its groups of training images, and what was found, for the record.

    copies: one of ``COPIES``; "apart" looks for none, as versions before this did.  carves: whether a part is to be
    taken from the training images. Where two parts were given that share images or groups, the notes say so.
    The record: ``images`` in ``groups`` that are kept together (``copies`` of them in ``copy_groups``), and ``leaks``:
    by pair of parts, how many images of the second are in the first as well.
    """
    parts = {part: some for part in _NAMES if (some := getattr(source, part)) is not None}
    notes = _divided_groups(source)
    found: dict[str, Any] = {"kept": copies, "leaks": {}}
    if copies == "apart":
        return replace(source, notes=(*source.notes, *notes)), found
    if carves or len(parts) > 1:
        with _Shown() as shown:
            same = same_content(list(parts.values()), shown.show)
        found["leaks"], leaks = _leaks(parts, same)
        notes += leaks
    else:
        same = []
    if carves:
        count = len(source.train)
        alike = [within for group in same if len(within := [place for place in group if place < count]) > 1]
        named = source.groups.get("train", ())
        groups = _joined(count, [*alike, *_by_name(named)])
        found |= {"copies": sum(map(len, alike)), "copy_groups": len(alike)}
        found |= {"images": sum(map(len, groups)), "groups": len(groups)}
        if alike:
            notes.append(
                f"copies: {found['copies']:,} training images are {len(alike):,} (the same content); "
                "each stays on one side of a split"
            )
        if named:
            notes.append(f"groups: {found['images']:,} images in {len(groups):,}, each on one side of a split")
        names = [""] * count
        for number, group in enumerate(groups):
            for place in group:
                names[place] = str(number)
        if groups:
            source = replace(source, groups={**source.groups, "train": tuple(names)})
    return replace(source, notes=(*source.notes, *notes)), found


def _by_name(names: Iterable[str]) -> list[list[int]]:
    groups: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        if name:
            groups.setdefault(name, []).append(place)
    return [group for group in groups.values() if len(group) > 1]


def _joined(count: int, groups: list[list[int]]) -> list[list[int]]:
    """The groups, those that share an image as one; in the order of their first images."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not groups:
        return []
    first = [group[0] for group in groups for _ in group[1:]]
    other = [place for group in groups for place in group[1:]]
    graph = coo_array((np.ones(len(first), dtype=bool), (first, other)), shape=(count, count))
    _, numbers = connected_components(graph, directed=False)
    return _by_name(np.where(np.isin(np.arange(count), [*first, *other]), numbers.astype(str), "").tolist())


def _leaks(parts: dict[str, Images], same: list[list[int]]) -> tuple[dict[str, int], list[str]]:
    """Images of a part that are in an earlier one as well: numbers by "train-test", and sentences."""
    starts = dict(zip(parts, np.cumsum([0, *map(len, parts.values())]).tolist(), strict=False))
    numbers: dict[str, int] = {}
    first: dict[str, tuple[str, str]] = {}
    for group in same:
        of: dict[str, list[int]] = {}
        for place in group:
            part = max((name for name in starts if starts[name] <= place), key=lambda name: starts[name])
            of.setdefault(part, []).append(place - starts[part])
        names = list(of)
        for i, one in enumerate(names):
            for other in names[i + 1 :]:
                pair = f"{one}-{other}"
                numbers[pair] = numbers.get(pair, 0) + len(of[other])
                first.setdefault(pair, (_where(parts, one, of[one][0]), _where(parts, other, of[other][0])))
    said = []
    for pair, number in numbers.items():
        one, other = pair.split("-")
        said.append(
            f"LEAK: {number:,} of {len(parts[other]):,} {_NAMES[other]} images are {_NAMES[one]} images as well (the "
            f"same content), so figures on them flatter; the first: {' = '.join(first[pair])}"
        )
    return numbers, said


def _where(parts: dict[str, Images], part: str, position: int) -> str:
    images = parts[part]
    return f"{_NAMES[part]} image {position}" if isinstance(images, ImageArrays) else images.location(position)


def _divided_groups(source: Source) -> list[str]:
    """Groups that lie in two of the given parts."""
    said = []
    parts = [part for part in _NAMES if part in source.groups and getattr(source, part) is not None]
    for i, one in enumerate(parts):
        for other in parts[i + 1 :]:
            shared = sorted((set(source.groups[one]) & set(source.groups[other])) - {""})
            if shared:
                said.append(
                    f"LEAK: {len(shared):,} groups have {_NAMES[one]} and {_NAMES[other]} images, "
                    f"the first '{shared[0]}'"
                )
    return said


class _Shown:
    """On a terminal, how far the search is, where it takes long; and afterwards how long it took."""

    PATIENCE = 2.0  # seconds

    def __enter__(self) -> _Shown:
        self._began = self._last = time.monotonic()
        self._told = False
        return self

    def show(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last >= self.PATIENCE and sys.stderr.isatty():
            self._last, self._told = now, True
            print(f"\rlooking for copies: image {done:,} of {total:,} ", end="", file=sys.stderr, flush=True)

    def __exit__(self, *_: object) -> None:
        if self._told:
            took = time.monotonic() - self._began
            print(f"\rlooked for copies: {took:.0f} seconds{' ' * 30}", file=sys.stderr)
