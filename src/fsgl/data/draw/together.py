"""What stays on one side of a split: copies of an image, and the groups that somebody named."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from fsgl.data.draw.remembered import WORTH_KEEPING, Found, recall, remember, sizes_and_key
from fsgl.data.images.alike import alike, difference_hash, joined, pixel_hash, same
from fsgl.data.images.copies import Progress, same_content
from fsgl.data.images.image_files import BadImage
from fsgl.data.images.sources import Images, Source
from fsgl.data.readers.paths import shorten
from fsgl.progress import progress

COPIES = ("together", "alike", "apart")
FEW = 5_000  # images, of which looks are compared unasked: that decodes every one
LEAST_SIDE = 32  # pixels of an image whose look says something: of 8 x 8 digits a third look alike
MOST_ALIKE = 20  # images of one look: beyond that, and a twentieth of all, they are of one kind and no copies
WORTH_SAYING = 2.0  # seconds
_KEPT = "each stays on one side of a split"
_SAME = "LEAK: {} images are {} images as well (the same content), so figures on them flatter"
_NEAR = "LEAK, perhaps: {} images look like {} images"
_NAMES = {"train": "training", "val": "validation", "test": "test"}


def keep_together(source: Source, copies: str, carves: bool) -> tuple[Source, dict[str, Any]]:
    """The source with copies added to its groups of training images, and what was found, for the record.

    copies: "together" compares contents, and of at most ``FEW`` images what they look like as well, as ``fsgl inspect``
    does; "alike" compares looks of any number; "apart" looks for none, as versions before this did.
    carves: whether a part is to be taken from the training images. Where two parts were given that share images or
    groups, the notes say so.
    Of what a given part has as well, nothing is carved: it stays in training (``Source.stays``).
    What is the same and yet labelled in two ways is said as well, and counted in the record (``contradictions``).
    The record: numbers of images and groups ``kept_together``, for which ``copies`` (by content) and ``alike`` (by
    looks) are reasons; ``leaks`` and ``alike_leaks``: by pair of parts, how many images of the second
    are in the first as well.
    """
    parts = {part: some for part in _NAMES if (some := getattr(source, part)) is not None}
    notes = _divided_groups(source)
    found: dict[str, Any] = {"kept": copies, "leaks": {}}
    stays = _of_divided_groups(source) if carves else set()
    source = replace(source, stays=frozenset(stays))
    if copies == "apart" or not (carves or len(parts) > 1):
        return replace(source, notes=(*source.notes, *notes, *_staying(stays, parts))), found
    total, count = sum(map(len, parts.values())), len(source.train)
    with_looks = copies == "alike" or total <= FEW
    searched = _search(list(parts.values()), with_looks)
    same_files, looks, many = searched.same, searched.looks, searched.many
    if with_looks:
        found["alike_and_many"] = many
        notes += [f"{many:,} images look alike, too many to be copies; they are not kept together"] if many else []
    found["contradictions"], more = _contradictions(source, parts, same_files)
    notes += more
    found["leaks"], leaks = _leaks(parts, same_files, _SAME)
    notes += leaks
    known = {place for group in same_files for place in group}
    near = [group for group in looks if not known.issuperset(group)]
    found["alike_leaks"], leaks = _leaks(parts, near, _NEAR)
    notes += leaks
    if not carves:
        return replace(source, notes=(*source.notes, *notes)), found
    copied, similar = (
        [within for group in groups if len(within := [place for place in group if place < count]) > 1]
        for groups in (same_files, near)
    )
    for group in (*same_files, *near):
        if max(group) >= count:
            stays.update(place for place in group if place < count)
    notes += _staying(stays, parts)
    named = source.groups.get("train", ())
    groups = joined([*copied, *similar, *_by_name(named)])
    for key, some in (("copies", copied), ("alike", similar), ("kept_together", groups)):
        found[key] = {"images": sum(map(len, some)), "groups": len(some)}
    if copied:
        notes.append(
            f"copies: {found['copies']['images']:,} training images are {len(copied):,} (the same content); {_KEPT}"
        )
    if similar:
        notes.append(f"near copies: {found['alike']['images']:,} training images look like {len(similar):,}; {_KEPT}")
    if named:
        notes.append(
            f"groups: {found['kept_together']['images']:,} images in {len(groups):,}, each on one side of a split"
        )
    names = [""] * count
    for number, group in enumerate(groups):
        for place in group:
            names[place] = str(number)
    kept = {"train": tuple(names)} if groups else {}
    groups_now = {**source.groups, **kept}
    return replace(source, groups=groups_now, notes=(*source.notes, *notes), stays=frozenset(stays)), found


def _search(parts: list[Images], looks: bool) -> Found:
    """What an earlier command found of these files, or what is found now."""
    files = sizes_and_key(parts, looks)
    sizes, kept = files or (None, None)
    if kept is not None and (known := recall(kept)) is not None:
        return known
    began = time.monotonic()
    with progress("looking for copies") as bar:
        same_files = same_content(parts, bar.at, sizes)
        similar, many = _same_looks(parts, bar.at) if looks else ([], 0)
    took = time.monotonic() - began
    if took > WORTH_SAYING and sys.stderr.isatty():
        print(f"looked for copies: {took:.0f} seconds", file=sys.stderr)
    found = Found(same_files, similar, many)
    if kept is not None and took > WORTH_KEEPING:
        remember(kept, found)
    return found


def _same_looks(parts: list[Images], progress: Progress) -> tuple[list[list[int]], int]:
    """Groups of places whose pixels are equal or whose looks are near, and how many look alike but are too many."""
    hashes: list[str] = []
    looks: list[int | None] = []
    total = sum(map(len, parts))
    for images in parts:
        for position in range(len(images)):
            if len(looks) % 50 == 0:
                progress(len(looks), total)
            try:
                image = images.open(position, 2 * LEAST_SIDE)
            except BadImage:
                image = None
            large = image is not None and min(image.size) >= LEAST_SIDE
            hashes.append(pixel_hash(image) if image is not None else "")
            looks.append(difference_hash(image) if image is not None and large else None)
    near = alike(looks)
    labels = np.concatenate([images.labels for images in parts])
    many = [group for group in near if _of_one_kind(labels, group)]
    groups = joined([*same(hashes), *(group for group in near if group not in many)])
    return groups, sum(map(len, many))


def _of_one_kind(labels: np.ndarray, group: list[int]) -> bool:
    """Whether so many images look alike that they are rather what a class, or the set, looks like."""
    if len(group) > max(MOST_ALIKE, len(labels) // 20):
        return True
    members, sizes = np.bincount(labels[group]), np.bincount(labels)
    return bool((members > np.maximum(2, sizes[: len(members)] // 4)).any())


def _by_name(names: Iterable[str]) -> list[list[int]]:
    groups: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        if name:
            groups.setdefault(name, []).append(place)
    return [group for group in groups.values() if len(group) > 1]


def _leaks(parts: dict[str, Images], same: list[list[int]], said_as: str) -> tuple[dict[str, int], list[str]]:
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
        what = said_as.format(f"{number:,} of {len(parts[other]):,} {_NAMES[other]}", _NAMES[one])
        said.append(f"{what}; the first: {' = '.join(first[pair])}")
    return numbers, said


def _contradictions(source: Source, parts: dict[str, Images], same: list[list[int]]) -> tuple[int, list[str]]:
    """Images of the same content in different classes: how many, and a sentence."""
    labels = np.concatenate([images.labels for images in parts.values()])
    torn = [group for group in same if len(set(labels[group].tolist())) > 1]
    if not torn:
        return 0, []
    count, told = sum(map(len, torn)), []
    places = [(part, position) for part, images in parts.items() for position in range(len(images))]
    other = next(place for place in torn[0] if labels[place] != labels[torn[0][0]])
    for place in (torn[0][0], other):
        told.append(f"{_where(parts, *places[place])} ('{shorten(source.class_names[labels[place]])}')")
    return count, [f"CONTRADICTION: {count:,} images of the same content are of different classes; the first: "
                   f"{' = '.join(told)}"]  # fmt: skip


def _where(parts: dict[str, Images], part: str, position: int) -> str:
    found = parts[part].location(position)
    return f"{_NAMES[part]} {found}" if parts[part].array_size else found


def _of_divided_groups(source: Source) -> set[int]:
    """Places of the training images whose group has images in a given part as well."""
    given = {name for part, names in source.groups.items() if part != "train" for name in names} - {""}
    return {place for place, name in enumerate(source.groups.get("train", ())) if name in given}


def _staying(stays: set[int], parts: Iterable[str]) -> list[str]:
    given = " and ".join(_NAMES[part] for part in parts if part != "train")
    what = "1 training image belongs" if len(stays) == 1 else f"{len(stays):,} training images belong"
    return [f"{what} with {given} images: never set aside for another part"] if stays else []


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
