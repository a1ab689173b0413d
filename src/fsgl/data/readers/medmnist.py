"""Images and labels in one .npz, as MedMNIST publishes them (Yang et al. 2023).

    train_images   N x H x W (grey) or N x H x W x 3, uint8; also N x H x W x 1
    train_labels   N x 1 or N, whole numbers or names
    val_images, val_labels, test_images, test_labels   the same, if there
    fsgl           only of arrays from Python that were kept: readers/arrays.py

Whatever a file says of itself is checked before memory is taken for it, and nothing in it is ever unpickled.
"""

from __future__ import annotations

import json
import math
import os
import sys
import warnings
import zipfile
import zlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from fsgl.data.images.sources import ImageArrays, Source, pixel_statistics
from fsgl.data.readers.listing import describe, title
from fsgl.data.readers.names import label_notes, number_labels
from fsgl.data.readers.reading import PARTS
from fsgl.errors import UserError, first_line

# Pictures of a single colour compress a thousandfold, real ones hardly; so do bombs, which must not be large.
_SUSPICIOUS_RATIO = 100
_HARMLESS_BYTES = 2**26


def read_medmnist(path: Path) -> Source:
    """The arrays of such a file. Raises UserError for a file that is damaged, of another layout or too large."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            parts = [part for part in PARTS if f"{part}_images" in members or f"{part}_labels" in members]
            if "train" not in parts:
                raise UserError(f"{path}: no train_images and train_labels in it, as MedMNIST's files have")
            names = [f"{part}_{what}" for part in parts for what in ("images", "labels")]
            for name in names:
                if name not in members:
                    raise UserError(f"{path}: has {_other(name)} but no {name}")
            names += ["fsgl"] if "fsgl" in members else []
            infos = {name: archive.getinfo(members[name]) for name in names}
            _refuse_bombs(path, list(infos.values()))
            arrays = {name: _read_array(path, archive, name, info) for name, info in infos.items()}
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except MemoryError:
        raise UserError(f"{path}: too large for this machine's memory") from None
    # NotImplementedError and RuntimeError: other compression, encryption
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        reason = first_line(error)
        raise UserError(f"{path}: not a readable .npz ({reason})") from None
    images = {part: _images(path, f"{part}_images", arrays[f"{part}_images"]) for part in parts}
    columns = [_labels(path, f"{part}_labels", arrays[f"{part}_labels"], len(images[part])) for part in parts]
    shapes = {found.shape[1:] for found in images.values()}
    if len(shapes) > 1:
        raise UserError(f"{path}: the parts differ in the images' shape: {', '.join(map(str, sorted(shapes)))}")
    if not len(images["train"]):
        raise UserError(f"{path}: no training images")
    class_names, labels = number_labels(columns)
    found = {part: ImageArrays(images[part], numbers) for part, numbers in zip(parts, labels, strict=True)}
    height, width, channels = next(iter(shapes))
    kind = f"arrays of {width} x {height} pixels, {'grey' if channels == 1 else 'RGB'}"
    mean, std = statistics(found["train"].images)
    source = Source(
        title(path),
        found["train"],
        found.get("test"),
        class_names,
        mean,
        std,
        val=found.get("val"),
        found=describe(kind, len(class_names), {part: len(images[part]) for part in parts}),
        notes=tuple(label_notes(Counter(label for column in columns for label in column))),
    )
    if "fsgl" not in arrays:
        return source
    return _as_kept(source, path, str(arrays["fsgl"]))


def _as_kept(source: Source, path: Path, text: str) -> Source:
    """Arrays from Python that were kept, with what the JSON text says of them. Raises UserError."""
    try:
        about = json.loads(text)
        names, classes, white = tuple(about["names"]), list(about["classes"]), about["white"]
        if not (len(set(names)) == len(names) == len(classes) >= source.num_classes and white in (None, 1, 255)):
            raise ValueError("names and classes do not fit")
        if not all(isinstance(name, str) for name in names):
            raise ValueError("a name is no text")
        if not all(isinstance(value, bool | int | str) for value in classes):
            raise ValueError("a class is neither a whole number nor a name")
        taken = [int(name) for name in source.class_names]  # of the labels that occur in the file
        if not all(0 <= index < len(names) for index in taken):
            raise ValueError("a label has no name")
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise UserError(f"{path}: its member 'fsgl' is not what fsgl wrote ({error})") from None

    def renamed(part: Any) -> Any:
        return None if part is None else ImageArrays(part.images, np.array(taken, dtype=np.int64)[part.labels])

    parts = {part: renamed(getattr(source, part)) for part in ("train", "val", "test")}
    return replace(source, class_names=names, given={"classes": classes, "names": list(names), "white": white}, **parts)


def statistics(images_NHWC: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel; a deviation of one grey level at least, as images may be all alike."""
    mean, std = pixel_statistics(images_NHWC)
    return mean, tuple(max(deviation, 1 / 255) for deviation in std)


def _other(name: str) -> str:
    return name.replace("images", "labels") if name.endswith("images") else name.replace("labels", "images")


def _refuse_bombs(path: Path, infos: list[zipfile.ZipInfo]) -> None:
    total = sum(info.file_size for info in infos)
    for info in infos:
        if info.file_size > max(_HARMLESS_BYTES, _SUSPICIOUS_RATIO * info.compress_size):
            raise UserError(
                f"{path}: {info.filename} claims {info.file_size / 2**20:,.0f} MiB from "
                f"{info.compress_size / 2**20:,.1f}; refused as a decompression bomb"
            )
    memory = _memory()
    if total > memory / 2:
        raise UserError(
            f"{path}: holds {total / 2**30:,.1f} GiB of arrays, more than half of this machine's "
            f"{memory / 2**30:,.1f}; use a smaller edition, or image files"
        )


def _memory() -> float:
    """Bytes of this machine's memory, infinite where it does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return math.inf


def _read_array(path: Path, archive: zipfile.ZipFile, name: str, info: zipfile.ZipInfo) -> np.ndarray:
    """A member as an array, once its header agrees with its size."""
    with archive.open(info) as file:
        shape, dtype = _header(file)
        if dtype.hasobject:
            raise UserError(f"{path}: {name} holds Python objects, which are never loaded")
        if dtype.kind not in "biufU" or not dtype.itemsize:
            raise UserError(f"{path}: {name} holds {dtype}; wanted are numbers or names")
        expected = math.prod(shape) * dtype.itemsize
        if expected != info.file_size - file.tell():
            held = max(info.file_size - file.tell(), 0)
            raise UserError(f"{path}: {name} says it has {expected:,} bytes of values, but {held:,} are there")
    with archive.open(info) as file:
        array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy's about headers that Python 2 wrote
            shape, _, dtype = readers[np.lib.format.read_magic(file)](file)
    except Exception as error:  # from arbitrary bytes NumPy's parser raises anything
        raise ValueError(f"the header of an array is damaged: {error}") from None
    if any(type(side) is not int or not 0 <= side < 2**40 for side in shape):  # True is an int to NumPy's parser
        raise ValueError(f"an array of shape {shape}")
    return shape, dtype


def _images(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8 and array.ndim == 3:
        array = array[..., None]
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[-1] not in (1, 3) or 0 in array.shape[1:]:
        raise UserError(
            f"{path}: {name} is {array.dtype} {array.shape}; wanted is uint8 N x H x W (grey) or N x H x W x 3"
        )
    return np.ascontiguousarray(array)


def _labels(path: Path, name: str, array: np.ndarray, count: int) -> list[str]:
    if array.ndim == 2 and array.shape[1] > 1:
        raise UserError(f"{path}: {name} has {array.shape[1]} columns, several labels an image; an image has one class")
    if array.dtype.kind not in "iuU" or array.size != count or array.ndim not in (1, 2):
        raise UserError(f"{path}: {name} is {array.dtype} {array.shape}; wanted are {count:,} whole numbers or names")
    if array.dtype.kind == "U":
        codes = np.ascontiguousarray(array).view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
        if codes.size and int(codes.max()) > sys.maxunicode:  # of which NumPy would make an internal error of Python
            raise UserError(f"{path}: {name} holds names that are no text")
    labels = [str(label) for label in array.ravel().tolist()]
    if "" in labels:
        raise UserError(f"{path}: {name}: image {labels.index('')} has no label")
    return labels
