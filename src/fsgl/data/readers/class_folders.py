"""A folder for each class, with or without train / val / test above or below them (layout.py tells which is which).

    pets/cat/1.jpg                 a class is a folder; its images may lie in folders below it
    pets/train/cat/1.jpg           training; val, valid, validation, dev and test, testing beside it
    pets/test/dog/2019/7.jpg

What is no picture of a class is passed over and counted (walk.py). A class of which nothing is left by that is named,
and is an error unless it is said to do without.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from fsgl.data.readers.layout import Layout, find_layout
from fsgl.data.readers.listing import Labelled, Listing
from fsgl.data.readers.names import normal
from fsgl.data.readers.paths import shorten
from fsgl.data.readers.reading import PARTS, Reading, flag
from fsgl.data.readers.tree import tree_of
from fsgl.data.readers.walk import Walk, say_unread, some_of
from fsgl.errors import UserError

TABLES = (".csv", ".tsv", ".parquet", ".npz", ".txt")


def read_class_folders(path: Path, reading: Reading | None = None) -> Listing:
    """What lies under ``path``, in the order of names. Raises UserError where there are no folders of images, where
    they can be understood in two ways, or where a class can be read in no part."""
    reading = reading or Reading()
    reading.require("folder", str(path))
    follow = reading.links == "follow"
    walk = Walk(path, follow, reading.excluded())
    try:
        layout = find_layout(path, tree_of(walk.images), reading)
    except UserError as error:
        if walk.folder_links:
            left = some_of(f"'{shorten(link)}'" for link in sorted(walk.folder_links))
            raise UserError(f"{error} (of folders that are links, which --follow-links takes: {left})") from None
        raise
    parts = {part: Labelled() for part in PARTS if part in (layout.part_of.values() or ("train",))}
    used, ungrouped, classless, below = set(), 0, Counter[str](), Counter[str]()
    for folder, names in walk.images.items():
        steps = folder.split("/") if folder else []
        found = layout.place(steps)
        if found is None:
            classless[_outside(layout, steps)] += len(names)
            continue
        part, label, class_folder = found
        labelled = parts[part]
        labelled.paths += [f"{folder}/{name}" for name in names]
        labelled.labels += [label] * len(names)
        used.add(class_folder)
        if inner := folder.removeprefix(class_folder)[1:].split("/")[0]:
            below[inner] += len(names)
        if reading.group_level is not None:
            group = normal(steps[reading.group_level - 1]) if len(steps) >= reading.group_level else ""
            labelled.groups += [group] * len(names)
            ungrouped += 0 if group else len(names)
    notes = _passed_over(walk, classless)
    if not used:
        _refuse(path, walk, notes)
    notes += _lost(path, walk, layout, used, reading)
    if below and not reading.class_level and not reading.group_level:
        where = some_of(f"'{shorten(name)}'" for name, _ in below.most_common())
        notes.append(f"in folders below those of the classes: {sum(below.values()):,} images (in {where})")
    if ungrouped:
        notes.append(f"{ungrouped:,} images lie above level {reading.group_level} and are in no group")
    parts = {part: labelled for part, labelled in parts.items() if labelled.paths or part == "train"}
    return Listing(path, path, layout.kind, parts, notes, follow, cells=False)


def _outside(layout: Layout, steps: Sequence[str]) -> str:
    """Where images lie that are of no class: the folder that is no part, or ""."""
    at = layout.part_at
    if at is not None and len(steps) > at and steps[at] not in layout.part_of:
        return "/".join(steps[: at + 1])
    return ""


def _passed_over(walk: Walk, classless: Counter[str]) -> list[str]:
    counted = walk.notes()
    if walk.links:
        folders = some_of(f"'{shorten(link)}'" for link in walk.links if link in walk.folder_links)
        named = f", of folders {folders}" if folders else ""
        counted.append(f"links to folders, out of it or to nothing ({len(walk.links):,}{named})")
    if total := sum(classless.values()):
        where = some_of(f"'{shorten(name)}'" for name in classless if name)
        counted.append(f"images in no class's folder ({total:,}{', in ' + where if where else ''})")
    return ["passed over: " + ", ".join(counted)] if counted else []


def _lost(path: Path, walk: Walk, layout: Layout, used: set[str], reading: Reading) -> list[str]:
    """What was left aside in the folders of classes, and the folders without an image. Raises UserError for a class of
    which nothing is left but what cannot be read here, or links."""
    unread, links = defaultdict[str, Counter[str]](Counter), Counter[str]()
    whole = dict[str, str]()  # classes and parts that are links
    for folder, suffixes in walk.unread.items():
        if found := layout.place(folder.split("/") if folder else []):
            unread[found[2]] += suffixes
    for link in walk.links:
        if found := layout.place(link.split("/")[:-1]):
            links[found[2]] += 1
        elif link in walk.folder_links and (_is_class(layout, link) or layout.lacks(link.split("/"))):
            links[link] += 1
            whole[link] = "is a link to nothing" if link in walk.broken else "is a link"
    gone = {folder: say_unread(suffixes) for folder, suffixes in unread.items() if folder not in used}
    for folder, count in links.items():
        if folder not in used:
            what = whole.get(folder) or f"{count:,} {'links' if count > 1 else 'link'}"
            gone[folder] = ", ".join(filter(None, (gone.get(folder, ""), what)))
    if gone and reading.lost_classes == "error":
        told = some_of(f"'{shorten(folder)}' ({what})" for folder, what in sorted(gone.items()))
        left = [link for link in walk.links if any(f"{link}/".startswith(f"{folder}/") for folder in gone)]
        follow = (
            "--follow-links takes links; " if reading.links != "follow" and not walk.broken.issuperset(left) else ""
        )
        skip = f"{flag('lost_classes')} skip goes on without"
        raise UserError(f"{path}: nothing that can be read here in {told}; {follow}{skip}")
    notes = []
    if links:
        told = some_of(f"'{shorten(folder)}' {count:,}" for folder, count in sorted(links.items()))
        nothing = len(walk.broken)
        taken = "--follow-links takes them" + f", but for {nothing:,} to nothing" * bool(nothing)
        if reading.links == "follow" or nothing == len(walk.links):
            taken = "they lead round, or to nothing"
        notes.append(f"links left aside: {told} ({taken})")
    if unread:
        told = some_of(f"'{shorten(folder)}' {say_unread(suffixes)}" for folder, suffixes in sorted(unread.items()))
        notes.append(f"cannot be read here: {told}")
    empty = [folder for folder in walk.folders if folder not in used and _is_class(layout, folder)]
    if empty:
        notes.append(f"no images in {some_of(f'{shorten(folder)!r}' for folder in empty)}")
    return notes


def _is_class(layout: Layout, folder: str) -> bool:
    found = layout.place(folder.split("/"))
    return found is not None and found[2] == folder


def _refuse(path: Path, walk: Walk, notes: list[str]) -> None:
    """Raises UserError: there is no class at all."""
    tables = sorted(entry.name for entry in path.iterdir() if entry.suffix.lower() in TABLES)
    count, unread, links = sum(map(len, walk.images.values())), defaultdict[str, Counter[str]](Counter), Counter[str]()
    for folder, suffixes in walk.unread.items():
        unread[folder.split("/")[0]] += suffixes
    for link in walk.links:
        links[link.split("/")[0]] += 1
    instead = f"; {count:,} images lie in it without a class" if count else ""
    if unread:
        told = some_of(f"'{shorten(folder)}' {say_unread(suffixes)}" for folder, suffixes in sorted(unread.items()))
        instead = f"; what it holds cannot be read here: {told}"
    if tables:
        some = some_of(f"'{shorten(name)}'" for name in tables)
        instead = f"; it holds {some}: name the file that lists the images"
    listed = f" ({'; '.join(notes)})" if notes else ""
    told = some_of(f"'{shorten(folder)}' {number:,}" for folder, number in sorted(links.items()))
    follow = f"; it holds links ({told}): --follow-links takes them" if links else ""
    raise UserError(f"{path}: no folders with images, one a class{instead}{follow}{listed}")
