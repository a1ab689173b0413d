"""What a reader of somebody's own images found: paths and labels as they are written, part by part.

``source_of`` makes a Source of it: labels become 0 to K - 1 and keep their names.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from fsgl.data.images.sources import ImageFiles, Source
from fsgl.data.readers.names import GAPS, label_notes, looks_joined, normal, number_labels
from fsgl.data.readers.paths import shorten
from fsgl.data.readers.reading import PARTS, Reading
from fsgl.errors import UserError

# Of colour photographs; image files are normalised by it unless a data set is known to differ.
IMAGENET_STATISTICS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass
class Labelled:
    """The images of one part.  paths, labels: one an image.  groups: the same, "" for none, or empty where no groups
    are named."""

    paths: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)


@dataclass
class Listing:
    """Image files with their labels.

    path: what was read, for messages.  root: where the paths start.  kind: what it is, in words.  parts: by the keys of
    ``PARTS``; only those that are there.  notes: what else a person should know, a sentence each.  follow: links may
    lead out of the root.  cells: labels were written in a file, by pandas perhaps, and are no folders' names.
    """

    path: Path
    root: Path
    kind: str
    parts: dict[str, Labelled]
    notes: list[str] = field(default_factory=list)
    follow: bool = False
    cells: bool = True


def source_of(listing: Listing) -> Source:
    """The source. Raises UserError where there are no training images."""
    if "train" not in listing.parts:
        given = " and ".join(PARTS[part] for part in listing.parts)
        raise UserError(f"{listing.path}: no training images" + (f", only {given} images" if given else ""))
    names, labels = number_labels((part.labels for part in listing.parts.values()), listing.cells)
    counts = Counter(label for labelled in listing.parts.values() for label in labelled.labels)
    images = {
        part: ImageFiles(listing.root, tuple(labelled.paths), numbers, follow=listing.follow)
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
        notes=(*listing.notes, *label_notes(counts, listing.cells)),
        groups={part: tuple(labelled.groups) for part, labelled in listing.parts.items() if labelled.groups},
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


class Rows:
    """Collects the rows of lists and tables. parts: what was added, without repeats.

    reading: what to do where a label is missing or looks like several.
    """

    def __init__(self, reading: Reading | None = None) -> None:
        self.parts: dict[str, Labelled] = {}
        self.said: list[str] = []
        self._reading = reading or Reading()
        self._labels: dict[str, str] = {}
        self._paths: dict[str, set[str]] = {}
        self._repeats = 0
        self._unlabelled: Counter[str] = Counter()
        self._spaced: Counter[str] = Counter()
        self._plain: set[str] = set()

    def add(self, path: str, label: str, part: str, where: str, quoted: bool = False, group: str | None = None) -> None:
        """One row. where: file and line.  quoted: a word such as nan is a name.  group: None where none are named.

        Raises UserError for an image that has another label already, or has none.
        """
        name = label.strip()
        if not name or (name in GAPS and not quoted):
            if self._reading.unlabelled == "error":
                word = f"; the word {name}, unquoted, is none" if name else ""
                raise UserError(
                    f"{where}: '{shorten(path)}' has no label{word} (--unlabelled skip passes over such rows)"
                )
            self._unlabelled[name] += 1
            return
        if name == label:
            self._plain.add(name)
        else:
            self._spaced[label] += 1
        label = normal(name)
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
        labelled.labels.append(name)
        if group is not None:
            labelled.groups.append(normal(group.strip()))

    def require_single_labels(self, path: Path) -> None:
        """Raises UserError where most labels look like several joined to one, unless they are to be taken whole."""
        counts = Counter(label for labelled in self.parts.values() for label in labelled.labels)
        if self._reading.joined_labels == "ask" and (found := looks_joined(counts)):
            separator, label = found
            raise UserError(
                f"{path}: labels such as '{shorten(label)}' look like several, joined by '{separator}'; an image has "
                "one class; where that is its name, say --joined-labels whole"
            )

    def notes(self) -> list[str]:
        """What a person should know of them."""
        shared = sum(map(len, self._paths.values())) - len(self._labels)
        notes = list(dict.fromkeys(self.said))
        if self._repeats:
            notes.append(f"{self._repeats:,} repeated rows passed over")
        if shared:
            notes.append(f"{shared:,} images are in more than one part: the scores will flatter")
        if self._unlabelled:
            words = ", ".join(f"{word or 'empty'} {count:,}" for word, count in sorted(self._unlabelled.items()))
            notes.append(f"{self._unlabelled.total():,} rows without a label passed over ({words})")
        forms = Counter(raw.strip() for raw in self._spaced)
        for raw, count in sorted(self._spaced.items()):
            if raw.strip() in self._plain or forms[raw.strip()] > 1:
                spaced = f"'{shorten(raw, True)}' ({count:,})"
                notes.append(f"{spaced} is '{shorten(raw)}' but for spaces around it: one class")
        return notes[:20]
