"""A folder for each class, with or without train / val / test above them.

    pets/cat/1.jpg                 a class is a folder; its images may lie in folders below it
    pets/train/cat/1.jpg           training; val, valid, validation, dev and test, testing beside it
    pets/test/dog/2019/7.jpg

Hidden files, files that are no images and links to folders (which could lead round for ever, or out) are passed over
and counted; so are links to files outside the folder.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from fsgl.data.images.image_files import SUFFIXES
from fsgl.data.readers.listing import PART_NAMES, PARTS, Labelled, Listing, same_numbers
from fsgl.data.readers.paths import shorten
from fsgl.errors import UserError

TABLES = (".csv", ".tsv", ".parquet", ".npz", ".txt")
_PASSED_OVER = {
    "hidden": "hidden files or folders",
    "other": "files that are no images by their names",
    "link": "links to folders, out of it or to nothing",
    "classless": "images in no class's folder",
}


def read_class_folders(path: Path) -> Listing:
    """What lies under ``path``, in the order of names. Raises UserError where there are no folders of images."""
    walk = _Walk(path)
    tops = Counter(image.split("/", 1)[0] for image in walk.images if "/" in image)
    deeper = Counter(image.split("/", 1)[0] for image in walk.images if image.count("/") > 1)
    folders = _part_folders(path, tops, deeper)
    parts = {part: Labelled() for part in (folders.values() if folders else ("train",))}
    used = set()
    for image in walk.images:
        steps = image.split("/")
        part = folders.get(steps[0]) if folders else "train"
        label = steps[1 if folders else 0]
        if part is None or len(steps) < (3 if folders else 2):
            walk.passed_over["classless"] += 1
            continue
        parts[part].paths.append(image)
        parts[part].labels.append(label)
        used.add("/".join(steps[: 2 if folders else 1]))
    classes = {label for labelled in parts.values() for label in labelled.labels}
    notes = walk.notes()
    if not classes:
        raise UserError(f"{path}: no folders with images, one a class{_instead(path, walk.images)}{_listed(notes)}")
    if len(classes) == 1 and not folders:
        _refuse_folder_above(path, walk.images)
    if same := same_numbers(classes):
        raise UserError(f"{path}: the folders '{same[0]}' and '{same[1]}' are the same number; rename or join them")
    empty = [folder for folder in walk.folders if folder.count("/") == bool(folders) and folder not in used]
    empty = [folder for folder in empty if not folders or folder.split("/")[0] in folders]
    if empty:
        notes.append(f"no images in {_some(empty)}")
    kind = "a folder for each class"
    if folders:
        kind += " under " + ", ".join(sorted(folders, key=lambda folder: list(PARTS).index(folders[folder])))
    return Listing(path, path, kind, {part: parts[part] for part in PARTS if part in parts}, notes)


class _Walk:
    """images: all image files under a folder, in order, relative to it.  folders: its folders, down to the second
    level.  passed_over: how many of each of ``_PASSED_OVER``."""

    def __init__(self, path: Path) -> None:
        self.path, self._real = path, os.path.realpath(path)
        self.images: list[str] = []
        self.folders: list[str] = []
        self.passed_over: Counter[str] = Counter()
        waiting = [""]
        while waiting:
            waiting += reversed(self._folder(waiting.pop()))

    def _folder(self, folder: str) -> list[str]:
        """Take the images of a folder. Returns the folders in it."""
        inner = []
        try:
            with os.scandir(self.path / folder) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    relative = f"{folder}/{entry.name}" if folder else entry.name
                    if entry.name.startswith(".") or entry.name == "__MACOSX":
                        self.passed_over["hidden"] += 1
                    elif entry.is_symlink() and not self._leads_to_own_file(entry.path):
                        self.passed_over["link"] += 1
                    elif entry.is_dir():
                        inner.append(relative)
                    elif os.path.splitext(entry.name)[1].lower() in SUFFIXES and entry.is_file():
                        self.images.append(relative)
                    else:
                        self.passed_over["other"] += 1
        except OSError as error:
            raise UserError(f"{self.path / folder}: cannot be read ({error.strerror})") from None
        self.folders += [relative for relative in inner if relative.count("/") < 2]
        return inner

    def _leads_to_own_file(self, link: str) -> bool:
        real = os.path.realpath(link)
        return os.path.isfile(real) and real.startswith(os.path.join(self._real, ""))

    def notes(self) -> list[str]:
        passed = self.passed_over
        counted = [f"{words} ({passed[why]:,})" for why, words in _PASSED_OVER.items() if passed[why]]
        return ["passed over: " + ", ".join(counted)] if counted else []


def _part_folders(path: Path, tops: Counter[str], deeper: Counter[str]) -> dict[str, str]:
    """The folders of the parts with their parts, or nothing where the classes lie at the top."""
    found: dict[str, str] = {}
    for folder in tops:
        part = PART_NAMES.get(folder.lower())
        # Images straight in it: a class called "train", among buses and trams, or test images without classes.
        if part is None or not deeper[folder] or (part == "train" and deeper[folder] < tops[folder]):
            continue
        if part in found.values():
            other = next(name for name, taken in found.items() if taken == part)
            raise UserError(f"{path}: '{other}' and '{folder}' are both {PARTS[part]} images; join them or rename one")
        found[folder] = part
    if "train" in found.values():
        return found
    if found and len(found) == len(tops):
        raise UserError(f"{path}: holds {_some(found)} but no 'train'; name the folder that holds the classes")
    return {}


def _refuse_folder_above(path: Path, images: list[str]) -> None:
    """One class whose images all lie in several folders below it: the classes begin one level lower."""
    inside = [image.split("/") for image in images if "/" in image]
    lower = {steps[1] for steps in inside if len(steps) > 2}
    if len(lower) > 1 and all(len(steps) > 2 for steps in inside):
        below = path / inside[0][0]
        raise UserError(f"{path}: holds one folder, and the classes seem to be the {len(lower)} in it; name {below}")


def _instead(path: Path, images: list[str]) -> str:
    tables = sorted(entry.name for entry in path.iterdir() if entry.suffix.lower() in TABLES)
    if tables:
        return f"; it holds {_some(tables)}: name the file that lists the images"
    return f"; {len(images):,} images lie in it without a class" if images else ""


def _listed(notes: list[str]) -> str:
    return f" ({'; '.join(notes)})" if notes else ""


def _some(names: Iterable[str]) -> str:
    names = [f"'{shorten(name)}'" for name in names]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
