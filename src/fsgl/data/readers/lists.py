"""Data sets given as text lists and a folder of images: ImageNet-LT, Places-LT (Liu et al. 2019), iNaturalist 2018.

A list holds one image a line, ``relative/path label``; the path may contain spaces, the label is the last word.
``load_lists`` reads the two lists of a published set, strictly; ``read_list`` one of somebody's own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fsgl.data.images.image_files import SUFFIXES
from fsgl.data.images.sources import ImageFiles, Source, default_class_names
from fsgl.data.readers.listing import IMAGENET_STATISTICS, Rows
from fsgl.data.readers.paths import inside, leaves_root, shorten
from fsgl.errors import UserError

INATURALIST_STATISTICS = ((0.466, 0.471, 0.380), (0.195, 0.194, 0.192))

# No more digits than a class index can have: a longer one is a wrong column, and would not fit an int64.
_LABEL = re.compile(r"[0-9]{1,9}", re.ASCII)
_HOLDS_SUFFIX = re.compile(r"\.(?:jpe?g|png|tiff?|bmp|webp|gif)\s", re.IGNORECASE)


def load_lists(
    name: str,
    root: Path | str,
    train_list: Path | str,
    test_list: Path | str,
    class_names: Sequence[str] | None = None,
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
    val_list: Path | str | None = None,
) -> Source:
    """A data set from two text lists (or three, with ``val_list``), its images as files under ``root``.

    class_names: K names; without them the classes are 0 to the largest label, named by their numbers.
    statistics: (mean, std); None is iNaturalist 2018's where the name starts with "inat" (in any case), or else
    ImageNet's.
    No image is opened, and of each list only the first file is looked for: that catches a wrong root at once.
    Raises UserError, with file and line, for a line without a label, a label that is no class, or a path that leaves
    ``root``; and for an absent list or root, an empty list, or a class without training images.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{name}: the image folder '{root}' does not exist (or is no folder)")
    limit = None if class_names is None else len(class_names)
    train, test = (_read_list(name, root, Path(path), limit) for path in (train_list, test_list))
    val = None if val_list is None else _read_list(name, root, Path(val_list), limit)
    highest = int(max(part.labels.max() for part in (train, val, test) if part is not None))
    # A set with fewer training images than classes lacks one for sure, and is not worth a count per class: a stray
    # label of 999999999 would ask for 8 GB of them.
    num_classes = highest + 1 if limit is None else limit
    missing = np.setdiff1d(np.arange(min(num_classes, len(train) + 1)), train.labels)
    if missing.size:
        label = f"class {missing[0]}" if class_names is None else f"class {missing[0]} ('{class_names[missing[0]]}')"
        raise UserError(
            f"{name}: {label} has no training images in '{train_list}'; "
            f"labels must run from 0 to {num_classes - 1} without gaps"
        )
    if statistics is None:
        statistics = INATURALIST_STATISTICS if name.lower().startswith("inat") else IMAGENET_STATISTICS
    names = default_class_names(num_classes) if class_names is None else tuple(class_names)
    return Source(name, train, test, names, *statistics, val=val)


def _read_list(name: str, root: Path, path: Path, limit: int | None) -> ImageFiles:
    paths: list[str] = []
    labels: list[int] = []
    for number, line in _lines(path, f"{name}: "):
        words = line.rsplit(None, 1)
        if len(words) < 2 or not _LABEL.fullmatch(words[1]):
            raise UserError(f"{path}, line {number}: expected 'relative/path label', found '{shorten(line)}'")
        relative, label = words[0].strip(), int(words[1])
        if limit is not None and label >= limit:
            raise UserError(f"{path}, line {number}: label {label}, but the classes are 0 to {limit - 1}")
        if leaves_root(relative):
            raise UserError(f"{path}, line {number}: '{shorten(relative)}' must be a path inside the image folder")
        paths.append(relative)
        labels.append(label)
    if not paths:
        raise UserError(f"{name}: the list '{path}' names no images")
    if not os.path.isfile(root / paths[0]):
        raise UserError(
            f"{name}: '{paths[0]}', the first image of '{path}', is not under '{root}'; is that the folder?"
        )
    return ImageFiles(root, tuple(paths), np.array(labels, dtype=np.int64))


def read_list(path: Path, root: Path, rows: Rows, part: str) -> None:
    """Add the images of a list to ``rows`` as that part. Labels are names or numbers.

    In a line with a tab the label is what follows the last one, and may hold spaces; otherwise it is the last word.
    Raises UserError, with file and line, for a line without a label or a path that leaves ``root``.
    """
    lines = _lines(path)
    for place, (number, line) in enumerate(lines):
        where = f"{path}, line {number}"
        words = line.strip().rsplit("\t" if "\t" in line.strip() else None, 1)
        if len(words) < 2:
            raise UserError(f"{where}: expected 'relative/path label', found '{shorten(line)}'")
        if _HOLDS_SUFFIX.search(words[0]) and os.path.splitext(words[0])[1].lower() not in SUFFIXES:
            raise UserError(f"{where}: '{shorten(line)}' has spaces in its label; put a tab between path and label")
        is_first = place == 0 and len(lines) > 1 and "." not in words[0] and "." in lines[1][1]
        if (is_first or words[0].startswith("#")) and not os.path.isfile(root / words[0]):
            raise UserError(f"{where}: '{shorten(line)}' is no image; a list has no heading and no comments")
        rows.add(inside(root, words[0], where), words[1], part, where)


def _lines(path: Path, name: str = "") -> list[tuple[int, str]]:
    """The lines that are not blank, with their numbers from 1."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{name}cannot read the list '{path}' ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{name}'{path}' is not a text list (not UTF-8 at byte {error.start})") from error
    # Not splitlines(): that also breaks at characters that a file name may hold.
    return [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
