"""What a reader of somebody's own images found: paths and labels as they are written, part by part.

``source_of`` makes a Source of it: labels become 0 to K - 1 and keep their names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fsgl.data.images.sources import ImageFiles, Source
from fsgl.data.readers.paths import shorten
from fsgl.errors import UserError

# How folders and tables spell the parts.
PART_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
PARTS = {"train": "training", "val": "validation", "test": "test"}
# Of colour photographs; image files are normalised by it unless a data set is known to differ.
IMAGENET_STATISTICS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

# pandas writes the whole numbers of a column with gaps as 3.0. Longer ones are names: they would not fit an int64.
_NUMBER = re.compile(r"([+-]?[0-9]{1,18})(?:\.0+)?", re.ASCII)


@dataclass
class Labelled:
    """The images of one part.  paths, labels: one an image."""

    paths: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)


@dataclass
class Listing:
    """Image files with their labels.

    path: what was read, for messages.  root: where the paths start.  kind: what it is, in words.  parts: by the keys of
    ``PARTS``; only those that are there.  notes: what else a person should know, a sentence each.
    """

    path: Path
    root: Path
    kind: str
    parts: dict[str, Labelled]
    notes: list[str] = field(default_factory=list)


def source_of(listing: Listing) -> Source:
    """The source. Raises UserError where there are no training images."""
    if "train" not in listing.parts:
        given = " and ".join(PARTS[part] for part in listing.parts)
        raise UserError(f"{listing.path}: no training images" + (f", only {given} images" if given else ""))
    names, labels = number_labels(part.labels for part in listing.parts.values())
    images = {
        part: ImageFiles(listing.root, tuple(labelled.paths), numbers)
        for (part, labelled), numbers in zip(listing.parts.items(), labels, strict=True)
    }
    return Source(
        title(listing.path),
        images["train"],
        images.get("test"),
        names,
        *IMAGENET_STATISTICS,
        val=images.get("val"),
        found=describe(listing.kind, len(names), {part: len(found) for part, found in images.items()}),
        notes=tuple(listing.notes),
    )


def title(path: Path) -> str:
    """A data set's name by its path: the last part without a suffix."""
    path = path.resolve()
    return (path.stem if path.suffix else path.name) or "images"


def describe(kind: str, classes: int, sizes: dict[str, int]) -> str:
    """ "a folder for each class: 10 classes; 500 training and 100 test images"."""
    counted = [f"{sizes[part]:,} {name}" for part, name in PARTS.items() if part in sizes]
    images = ", ".join(counted[:-1]) + " and " + counted[-1] if len(counted) > 1 else counted[0]
    return f"{kind}: {classes:,} {'class' if classes == 1 else 'classes'}; {images} images"


def number_labels(columns: Iterable[Sequence[str]]) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """Names of the classes, and every column of labels as int64 indices into them.

    Where all labels are whole numbers the classes stand in the order of the numbers, which are their names ("07", "7"
    and "7.0" are one class); otherwise in the order of the names.
    """
    columns = list(columns)
    written = {label for column in columns for label in column}
    numbers = {label: match for label in written if (match := _NUMBER.fullmatch(label))}
    if len(numbers) == len(written):
        value = {label: int(match[1]) for label, match in numbers.items()}
        order = sorted(set(value.values()))
        place = {number: index for index, number in enumerate(order)}
        index_of = {label: place[value[label]] for label in written}
        names = tuple(str(number) for number in order)
    else:
        index_of = {name: index for index, name in enumerate(sorted(written))}
        # Folders' names may be bytes that are no text, and nothing that writes or draws a name takes those.
        names = tuple(name.encode("utf-8", "replace").decode() for name in index_of)
    return names, [np.array([index_of[label] for label in column], dtype=np.int64) for column in columns]


def same_numbers(labels: Iterable[str]) -> tuple[str, str] | None:
    """Two labels that ``number_labels`` would make one class, such as "7" and "07"."""
    matches = {label: _NUMBER.fullmatch(label) for label in sorted(labels)}
    spelt: dict[int, str] = {}
    twice = None
    for label, match in matches.items():
        if match is None:
            return None  # all are names, then
        if (other := spelt.setdefault(int(match[1]), label)) != label:
            twice = twice or (other, label)
    return twice


class Rows:
    """Collects the rows of lists and tables. parts: what was added, without repeats."""

    def __init__(self) -> None:
        self.parts: dict[str, Labelled] = {}
        self._labels: dict[str, str] = {}
        self._paths: dict[str, set[str]] = {}
        self._repeats = 0

    def add(self, path: str, label: str, part: str, where: str) -> None:
        """One row. where: file and line. Raises UserError for an image that has another label already."""
        label = label.strip()
        if not label:
            raise UserError(f"{where}: '{shorten(path)}' has no label")
        if (before := self._labels.setdefault(path, label)) != label:
            raise UserError(
                f"{where}: '{shorten(path)}' is '{shorten(label)}' here and '{shorten(before)}' before; "
                "an image has one class"
            )
        paths = self._paths.setdefault(part, set())
        if path in paths:
            self._repeats += 1
            return
        paths.add(path)
        labelled = self.parts.setdefault(part, Labelled())
        labelled.paths.append(path)
        labelled.labels.append(label)

    def notes(self) -> list[str]:
        """What a person should know of them."""
        shared = sum(map(len, self._paths.values())) - len(self._labels)
        return [
            *([f"{self._repeats:,} repeated rows passed over"] if self._repeats else []),
            *([f"{shared:,} images are in more than one part: the scores will flatter"] if shared else []),
        ]
