"""Layouts that have two meanings: a UserError each, which says what was seen and how to say what is meant."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from fsgl.data.readers.part_names import part_name
from fsgl.data.readers.paths import shorten
from fsgl.data.readers.tree import Node, alike
from fsgl.data.readers.walk import some_of
from fsgl.errors import UserError

# What lies beside pictures and is none of their class.
_BESIDE = frozenset({
    "mask", "masks", "annotation", "annotations", "label", "labels", "segmentation", "segmentations", "groundtruth",
    "ground_truth", "ground truth", "gt", "bbox", "bboxes", "depth", "heatmap", "heatmaps", "seg", "segmented",
    "segmentationclass", "segmentationobject", "overlay", "overlays", "saliency", "edges", "output",
})  # fmt: skip
_PICTURES = frozenset({
    "image", "images", "img", "imgs", "picture", "pictures", "photo", "photos", "rgb", "input", "original", "originals",
    "raw", "jpegimages",
})  # fmt: skip


def refuse_parts_of_parts(path: Path, parts: Mapping[str, str], classes: Node) -> None:
    """Raises UserError for train/train beside train/test: either may be the part."""
    named = [found.part for name in classes.children if (found := part_name(name)) and not found.rest]
    if len(named) == len(classes.children) > 1 and "train" in named and set(named) != {"train"}:
        raise UserError(
            f"{path}: the parts {some(parts)} hold {some(classes.children)}, which are named like parts, too; say "
            "--class-level 1 or --class-level 2, or rename some"
        )


def refuse_parts_without_classes(path: Path, root: Node) -> None:
    """Raises UserError for train/1.jpg beside test/1.jpg, cat_train beside cat_test, and cat beside all/cat."""
    named = {name: part_name(name) for name in root.children}
    by_rest: dict[frozenset[str], dict[str, str]] = defaultdict(dict)
    for name, found in named.items():
        if found:
            by_rest[found.rest].setdefault(found.part, name)
    for rest, parts in by_rest.items():
        if rest and "train" in parts and len(parts) > 1:
            raise UserError(
                f"{path}: {some(parts.values())} are named like parts of one class; put them into 'train' and the "
                "like, with a folder for each class in it, or say --class-level 1 where these are classes"
            )
    refuse_one_beside_its_like(path, root, 0)
    if len(named) > 1 and len(by_rest[frozenset()]) > 1 and all(found and not found.rest for found in named.values()):
        raise UserError(
            f"{path}: {some(named)} are named like parts, but their images do not lie in a folder for each class; "
            "name a table that lists them with their classes, or say --class-level 1 where these are the classes"
        )


def refuse_one_beside_its_like(path: Path, classes: Node, at: int) -> None:
    """Raises UserError where one of the folders at a level holds others of that level: cat beside all/cat, and
    train/cat beside train/val/cat."""
    for name, child in classes.children.items():
        beside = child.children.keys() & (classes.children.keys() - {name})
        if len(beside) > 1:
            raise UserError(
                f"{path}: '{shorten(name)}' holds folders that also lie beside it ({some(beside)}); leave it out "
                f"with --exclude {shlex.quote(name)}, or say --class-level {at + 1} where it is a class"
            )


def as_option(parts: Mapping[str, str]) -> str:
    """By folder its part, as the shell takes it."""
    return "--parts " + shlex.quote(",".join(f"{part}={name}" for name, part in parts.items()))


def ask_of_alike(path: Path, classes: Node, at: int, below: int = 2, in_parts: bool = False) -> None:
    """Raises UserError where folders taken for classes hold the same folders. at: their place; below: that of those
    folders, counted as levels from them plus one.  in_parts: parts are known, and these are none."""
    named = {name: name.casefold() for name in classes.children}
    masks = sorted(name for name, plain in named.items() if plain in _BESIDE)
    if masks and not _PICTURES.isdisjoint(named.values()) and set(named.values()) <= _PICTURES | _BESIDE:
        raise UserError(
            f"{path}: {some(named)} are named like pictures and what belongs to them; --exclude {','.join(masks)} "
            f"leaves {some(masks)} out, --class-level {at + 1} says that these are the classes"
        )
    deep = {name: child for name, child in classes.children.items() if child.children and child.deep >= child.straight}
    beside = [(name, inner) for name, child in classes.children.items() for inner in child.children
              if inner.casefold() in _BESIDE and (child.straight or len(child.children) > 1)]  # fmt: skip
    out = sorted({inner for _, inner in beside})
    leave_out = f"; --exclude {','.join(out)} leaves {some(out)} out" if out else ""
    if found := alike(deep):
        names, inner = found
        # A training part is the largest; one that is called "eval" is none.
        names = sorted(names, key=lambda name: (_sounds_held_out(name), -classes.children[name].all))
        as_parts = as_option(dict(zip(names, ("train", "test"), strict=False)))
        raise UserError(
            f"{path}: {some(names)} hold the same folders ({some(inner)}); where {some(names, 2)} are the classes, "
            f"say --class-level {at + 1}; where {some(inner, 2)} are, --class-level {at + below}"
            + f", or {as_parts} if they lie in parts" * (not in_parts) + leave_out
        )  # fmt: skip
    if len({name for name, _ in beside}) > 1:
        raise UserError(
            f"{path}: {some(dict(beside))} hold {some(out)} beside their images; --exclude {','.join(out)} leaves "
            f"them out, --class-level {at + 1} takes them as images of the class"
        )


def _sounds_held_out(name: str) -> bool:
    found = part_name(name)
    return found is not None and found.part != "train"


def some(names: Iterable[str], most: int = 5) -> str:
    """The first few in quotation marks, and how many more."""
    return some_of((f"'{shorten(name)}'" for name in (sorted(names) if isinstance(names, set) else names)), most)
