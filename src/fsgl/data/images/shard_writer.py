"""Writes a prepared set (shards.py): shard by shard, in parallel, to be gone on with after an interruption.

Every shard is written whole, then a note beside it of what it was made from; a shard whose note still holds is not made
again. prepared.json is written when all are there, and the notes are removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fsgl.data.images.bad_images import BadImages
from fsgl.data.images.image_files import BadImage
from fsgl.data.images.leftovers import leftover
from fsgl.data.images.shards import ENCODINGS, INDEX, Prepared, Shard, is_prepared, read_prepared, shard_hash
from fsgl.data.images.sources import ImageFiles, Source
from fsgl.data.images.worker_processes import in_processes
from fsgl.errors import UserError, unknown
from fsgl.files import read_json, remove_partial, sole_user, write_atomically, write_json

SHARD = 256  # images: at short side 256 some 70 MB of raw pixels, which a worker holds in memory
JPEG_QUALITY = 95


@dataclass(frozen=True)
class PrepareSpec:
    """short_side: pixels, images with a shorter one keep their size.  encoding: "raw" 8-bit pixels, or "jpeg" (quality
    95, a sixth of the bytes, to be decoded again)."""

    short_side: int = 256
    encoding: str = "raw"

    def __post_init__(self) -> None:
        if self.encoding not in ENCODINGS:
            raise unknown("encoding", self.encoding, ENCODINGS)
        if not 8 <= self.short_side <= 4096:
            raise UserError(f"the short side must be from 8 to 4096 pixels, not {self.short_side}")


@dataclass(frozen=True)
class _Task:
    name: str
    files: ImageFiles
    spec: PrepareSpec

    def key(self) -> str:
        """Of what the shard is made: paths, labels, sizes and times of the files, and the settings."""
        scale = self.files.scale
        digest = hashlib.sha256((repr(self.spec) + ("" if scale is None else repr(scale))).encode())
        for relative, label in zip(self.files.paths, self.files.labels.tolist(), strict=True):
            try:
                status = os.stat(self.files.root / relative)
                seen = (status.st_size, status.st_mtime_ns)
            except OSError:
                seen = (-1, -1)
            digest.update(json.dumps([relative, label, *seen]).encode())
        return digest.hexdigest()


def prepare(
    source: Source,
    out: Path,
    spec: PrepareSpec | None = None,
    workers: int = 2,
    bad: BadImages | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Prepared:
    """Decode, resize and store all images of ``source`` in the folder ``out``; go on where an earlier call was stopped.

    progress: told the number of images done and of all.  bad: notes what cannot be read. Returns the content of
    prepared.json. Raises UserError for a source in memory or in groups, a folder that holds another set, or a class
    without images.
    """
    spec, bad = spec or PrepareSpec(), bad or BadImages()
    if source.groups:
        raise UserError(f"{source.name}: a prepared set keeps no groups; train on the images as they are")
    parts = {"train": source.train, "val": source.val, "test": source.test}
    for images in parts.values():
        if images is not None and images.array_size:
            raise UserError(f"{source.name}: the images are in memory already, there is nothing to prepare")
    with sole_user(out):
        remove_partial(out)
        files = {part: images for part, images in parts.items() if isinstance(images, ImageFiles)}
        if not files:
            raise UserError(f"{source.name}: is prepared already")
        tasks = {part: list(_tasks(part, images, spec)) for part, images in files.items()}
        every = [task for group in tasks.values() for task in group]
        _check_folder(out, every, list(tasks))
        notes = _make(every, out, workers, bad, progress)
        return _finish(source, out, spec, tasks, notes)


def verify(folder: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> Prepared:
    """Read every byte of a prepared set. Raises UserError for the first shard whose hash differs."""
    prepared = read_prepared(folder)
    shards = [shard for part in prepared.parts.values() for shard in part]
    for number, shard in enumerate(shards):
        shard.check(folder)
        progress(number + 1, len(shards))
    return prepared


def _tasks(part: str, files: ImageFiles, spec: PrepareSpec) -> Iterator[_Task]:
    for number, start in enumerate(range(0, len(files), SHARD)):
        yield _Task(f"{part}-{number:05d}", files.take(np.arange(start, min(start + SHARD, len(files)))), spec)


def _check_folder(out: Path, tasks: Sequence[_Task], parts: Sequence[str]) -> None:
    if is_prepared(out):
        raise UserError(f"{out} holds a prepared set already; check it with --verify, or name another folder")
    expected = {f"{task.name}{suffix}" for task in tasks for suffix in (".bin", ".index", ".json")}
    expected |= {f"{part}.txt" for part in parts}
    there = {path.name for path in out.iterdir() if not path.name.startswith(".") and not leftover(path.name)}
    strange = sorted(there - expected)
    if strange:
        raise UserError(f"{out} holds something else ('{strange[0]}'); name a new or empty folder")


def _make(
    tasks: Sequence[_Task], out: Path, workers: int, bad: BadImages, progress: Callable[[int, int], None]
) -> dict[str, dict[str, Any]]:
    """The note of every shard; those that are there already are kept."""
    notes, missing = {}, []
    for task in tasks:
        note = _kept(task, out)
        if note is None:
            missing.append(task)
        else:
            notes[task.name] = note
    total = sum(len(task.files) for task in tasks)
    done = sum(len(task.files) for task in tasks if task.name in notes)
    progress(done, total)
    for note in notes.values():
        bad.note((path, reason) for path, reason in note["bad"])
    written = in_processes(partial(_write_shard, folder=out), missing, workers, "preparing images")
    for task, note in zip(missing, written, strict=True):
        notes[task.name] = note
        bad.note((path, reason) for path, reason in note["bad"])
        done += len(task.files)
        progress(done, total)
    return notes


def _kept(task: _Task, out: Path) -> dict[str, Any] | None:
    path = out / f"{task.name}.json"
    with contextlib.suppress(UserError, OSError, LookupError, TypeError):
        note: dict[str, Any] = read_json(path)
        if note["key"] == task.key() and shard_hash(out, task.name) == note["sha256"]:
            return note
    return None


def _write_shard(task: _Task, folder: Path) -> dict[str, Any]:
    key = task.key()
    content, rows, paths, bad = io.BytesIO(), [], [], []
    for position, relative in enumerate(task.files.paths):
        try:
            data, width, height = _encoded(task.files, position, task.spec)
        except BadImage as error:
            bad.append((error.path, error.reason))
            continue
        rows.append((content.tell(), len(data), width, height, int(task.files.labels[position])))
        paths.append(relative)
        content.write(data)
    index = np.array(rows, dtype=INDEX).tobytes()
    write_atomically(folder / f"{task.name}.bin", content.getvalue())
    write_atomically(folder / f"{task.name}.index", index)
    digest = hashlib.sha256(content.getbuffer())
    digest.update(index)
    note = {"key": key, "bytes": content.tell(), "sha256": digest.hexdigest(), "paths": paths, "bad": bad}
    write_json(folder / f"{task.name}.json", note)
    return note


def _encoded(files: ImageFiles, position: int, spec: PrepareSpec) -> tuple[bytes, int, int]:
    from PIL.Image import Resampling

    image = files.open(position, at_least=2 * spec.short_side)
    shorter = min(image.size)
    if shorter > spec.short_side:
        width, height = (max(1, round(side * spec.short_side / shorter)) for side in image.size)
        image = image.resize((width, height), Resampling.BILINEAR)
    if spec.encoding == "raw":
        return image.tobytes(), *image.size
    image.save(buffer := io.BytesIO(), "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue(), *image.size


def _finish(
    source: Source, out: Path, spec: PrepareSpec, tasks: dict[str, list[_Task]], notes: dict[str, dict[str, Any]]
) -> Prepared:
    parts, skipped = {}, []
    for part, group in tasks.items():
        mine = [(task.name, notes[task.name]) for task in group]
        parts[part] = tuple(Shard(name, len(note["paths"]), note["bytes"], note["sha256"]) for name, note in mine)
        lines = (json.dumps(path) + "\n" for _, note in mine for path in note["paths"])
        write_atomically(out / f"{part}.txt", "".join(lines).encode())
        skipped += [(part, path, reason) for _, note in mine for path, reason in note["bad"]]
    prepared = Prepared(
        source.name, source.found, spec.short_side, spec.encoding, source.class_names,
        (source.mean, source.std), parts, tuple(skipped), source.scale,
    )  # fmt: skip
    present = np.unique(prepared.images(out, "train").labels)
    lost = sorted(set(np.unique(source.train.labels).tolist()) - set(present.tolist()))
    if lost:
        raise UserError(f"class '{source.class_names[lost[0]]}' has no readable training image left")
    write_json(out / "prepared.json", prepared.to_json())
    for name in notes:
        (out / f"{name}.json").unlink(missing_ok=True)
    return prepared
