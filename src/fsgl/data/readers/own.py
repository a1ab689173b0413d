"""Somebody's own images: find out what a path is, and read it.

    a folder of fsgl prepare    a prepared set (shards.py)
    another folder              a folder for each class, with or without train / val / test (class_folders.py)
    .csv, .tsv, .parquet        a table of paths and labels (tables.py)
    .txt, .lst                  lines 'path label' (lists.py)
    .npz                        arrays in MedMNIST's layout (medmnist.py)

docs/own-images.md has the rules. No image is opened here; nothing outside the root is read.
"""

from __future__ import annotations

import os
from pathlib import Path

from fsgl.data.images.shards import is_prepared, read_prepared
from fsgl.data.images.sources import Source
from fsgl.data.readers import tables
from fsgl.data.readers.class_folders import read_class_folders
from fsgl.data.readers.listing import Listing, Rows, source_of
from fsgl.data.readers.lists import read_list
from fsgl.data.readers.medmnist import read_medmnist
from fsgl.data.readers.paths import require_some_file
from fsgl.data.readers.reading import Reading
from fsgl.errors import UserError

_LISTS = (".txt", ".lst", "")


def looks_like_path(text: str) -> bool:
    """Whether somebody who writes this means a file or folder, there or not, and no name of a data set."""
    suffix = os.path.splitext(text)[1].lower()
    return os.sep in text or text.startswith(("~", ".")) or suffix in (*tables.SUFFIXES, ".npz", ".txt", ".lst")


def find_source(path: Path, root: Path | None = None, reading: Reading | None = None) -> Source:
    """The images of ``path`` with their labels, whatever it turns out to be; ``found`` says what.

    root: where the paths of a table or list start; None is its own folder.  reading: what is said of folders and
    columns that can be understood in two ways; None goes by their names. ``test`` and ``val`` are None where the path
    has none; classes may be without training images. Raises UserError, one line, for what is missing, ambiguous or
    malformed.
    """
    path = path.expanduser()
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    suffix = path.suffix.lower()
    if root is not None and (path.is_dir() or suffix == ".npz"):
        raise UserError(f"{path}: a root ({root}) is for tables and lists of paths; this holds the images themselves")
    reading = reading or Reading()
    if is_prepared(path):
        reading.require("prepared", str(path))
        return _prepared(path)
    if path.is_dir():
        return source_of(read_class_folders(path, reading))
    if suffix == ".npz":
        reading.require("arrays", str(path))
        return read_medmnist(path)
    return _from_files(path, {None: path}, root or path.parent, reading)


def _prepared(folder: Path) -> Source:
    prepared = read_prepared(folder)
    parts = {part: prepared.images(folder, part) for part in prepared.parts}
    found = f"{folder}: prepared by fsgl, short side {prepared.short_side}, {prepared.encoding}; was {prepared.found}"
    passed = f"passed over: {len(prepared.skipped):,} files that give no image"
    return Source(
        prepared.name, parts["train"], parts.get("test"), prepared.class_names, *prepared.statistics,
        val=parts.get("val"), found=found, notes=(passed,) if prepared.skipped else (), scale=prepared.scale,
    )  # fmt: skip


def find_lists(train: Path, val: Path | None, test: Path | None, root: Path, reading: Reading | None = None) -> Source:
    """As ``find_source``, with a list or table for each part. val, test: None where there is none."""
    files = {"train": train, "val": val, "test": test}
    return _from_files(
        train, {part: path for part, path in files.items() if path is not None}, root, reading or Reading()
    )


def _from_files(path: Path, files: dict[str, Path] | dict[None, Path], root: Path, reading: Reading) -> Source:
    rows = Rows(reading)
    root = root.expanduser()
    for part, file in files.items():
        suffix = file.suffix.lower()
        if suffix in tables.SUFFIXES:
            tables.read_table(file, root, rows, part, reading)
        elif suffix in _LISTS:
            if not any(each.suffix.lower() in tables.SUFFIXES for each in files.values()):
                reading.require("list", str(file))
            read_list(file, root, rows, part or "train")
        else:
            known = ", ".join((*tables.SUFFIXES, ".npz", *filter(None, _LISTS)))
            raise UserError(f"{file}: neither a folder of images nor a file of a known kind ({known})")
        if part is not None and part not in rows.parts:
            raise UserError(f"{file}: names no images")
    if not rows.parts:
        raise UserError(f"{path}: names no images")
    for part, labelled in rows.parts.items():
        require_some_file(root, labelled.paths, str(files.get(part, path)))  # type: ignore[call-overload]
    rows.require_single_labels(path)
    table = path.suffix.lower() in tables.SUFFIXES
    kind = f"a {'table' if table else 'list'} of images" if len(files) == 1 else f"{len(files)} lists of images"
    if root != path.parent:
        kind += f" in {root}"
    return source_of(Listing(path, root, kind, rows.parts, rows.notes(), reading.links == "follow"))
