"""A prepared set: images decoded once, their short side resized, in large files made for access in any order.

    OUT/prepared.json      what it is; written last, so that a folder without it is unfinished
    OUT/train-00000.bin    images one after another: 8-bit RGB rows ("raw") or JPEG files ("jpeg")
    OUT/train-00000.index  of each: offset, bytes, width, height, label; numbers as in INDEX
    OUT/train.txt          the original paths, one a line

shard_writer.py writes it. Reading takes what the folder says with care: sizes are checked before use, and nothing in
it is executed.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fsgl.data.images.image_files import BadImage
from fsgl.data.images.scale import Scale
from fsgl.errors import UserError
from fsgl.files import read_json

if TYPE_CHECKING:
    from PIL.Image import Image

FORMAT = "fsgl prepared images 1"
ENCODINGS = ("raw", "jpeg")
INDEX = np.dtype([("offset", "<u8"), ("bytes", "<u8"), ("width", "<u4"), ("height", "<u4"), ("label", "<i8")])


@dataclass(frozen=True)
class Shard:
    """One .bin file of a part and its .index.  sha256: of both, the .bin first, in hexadecimal."""

    name: str
    images: int
    bytes: int
    sha256: str

    def check(self, folder: Path) -> None:
        """Raises UserError where the files are not what was written; reads them whole."""
        if shard_hash(folder, self.name) != self.sha256:
            raise UserError(f"{folder / self.name}.bin: damaged (its hash differs); prepare the set again")


def shard_hash(folder: Path, name: str) -> str:
    """The hash of a shard's two files."""
    digest = hashlib.sha256()
    for suffix in (".bin", ".index"):
        with (folder / (name + suffix)).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


class PreparedPart:
    """The shards of one part, opened when first asked for."""

    def __init__(self, folder: Path, encoding: str, shards: tuple[Shard, ...], paths: tuple[str, ...]) -> None:
        self.folder, self.encoding, self.shards, self.paths = folder, encoding, shards, paths
        self.index = np.concatenate([np.zeros(0, INDEX), *(self._read_index(shard) for shard in shards)])
        self._first = np.cumsum([0, *(shard.images for shard in shards)])
        self._bytes: dict[int, np.memmap] = {}

    def _read_index(self, shard: Shard) -> np.ndarray:
        path = self.folder / f"{shard.name}.index"
        try:
            rows = np.frombuffer(path.read_bytes(), dtype=INDEX)
            size = (self.folder / f"{shard.name}.bin").stat().st_size
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read ({error}); prepare the set again") from None
        if len(rows) != shard.images or size != shard.bytes:
            raise UserError(f"{path}: does not fit {self.folder / 'prepared.json'}; prepare the set again")
        ends = rows["offset"].astype(object) + rows["bytes"].astype(object)
        whole = rows["bytes"] == 3 * rows["width"].astype(np.uint64) * rows["height"]
        whole &= rows["bytes"] > 0
        if len(rows) and (max(ends) > size or rows["label"].min() < 0 or (self.encoding == "raw" and not whole.all())):
            raise UserError(f"{path}: is no index of {shard.name}.bin; prepare the set again")
        return rows

    def __reduce__(self) -> tuple[Any, ...]:  # to decoding processes: without the mapped files
        return PreparedPart, (self.folder, self.encoding, self.shards, self.paths)

    def read(self, row: int) -> tuple[np.ndarray, int, int]:
        """The bytes of an image (a view of the mapped file), its width and height."""
        shard = int(np.searchsorted(self._first, row, side="right")) - 1
        if shard not in self._bytes:
            self._bytes[shard] = np.memmap(self.folder / f"{self.shards[shard].name}.bin", np.uint8, mode="c")
        offset, count, width, height, _ = self.index[row].tolist()
        return self._bytes[shard][offset : offset + count], width, height


@dataclass(frozen=True, eq=False)
class PreparedImages:
    """Some images of a prepared part.  rows: ``N`` int64, which.  labels: ``N`` int64."""

    part: PreparedPart
    rows: np.ndarray
    array_size: ClassVar[None] = None
    channels: ClassVar[None] = None

    @cached_property
    def labels(self) -> np.ndarray:
        return self.part.index["label"][self.rows].astype(np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, positions: np.ndarray) -> PreparedImages:
        """The images at ``positions`` (integers, any order, repeats allowed)."""
        return PreparedImages(self.part, self.rows[positions])

    def location(self, position: int) -> str:
        """Where the image came from, for messages."""
        return f"{self.part.folder}: {self.part.paths[int(self.rows[position])]}"

    def open(self, position: int, at_least: int | None = None) -> Image:
        """The image as RGB. Raises BadImage where its bytes are damaged."""
        from PIL import Image

        return Image.fromarray(self.pixels(position))

    def pixels(self, position: int, at_least: int | None = None) -> np.ndarray:
        """As ``open``, uint8 ``H x W x 3``; raw pixels are not copied."""
        from PIL import Image

        data, width, height = self.part.read(int(self.rows[position]))
        if self.part.encoding == "raw":
            return data.reshape(height, width, 3)
        try:
            with Image.open(io.BytesIO(data.tobytes()), formats=("JPEG",)) as image:
                if image.size != (width, height):
                    raise ValueError("its size differs from the index")
                return np.asarray(image.convert("RGB"))
        except Exception as error:  # as in image_files.py
            raise BadImage(self.location(position), f"damaged ({error}); prepare the set again") from None

    def stored_mode(self, position: int) -> str:
        """As ImageArrays'."""
        return ""

    def state_on_disk(self) -> str | None:
        """As ImageArrays'."""
        return None

    def fingerprint(self) -> dict[str, np.ndarray | Sequence[str]]:
        """As ImageArrays': the hashes of the set's files, the images' places in them, and labels."""
        shards = [shard.sha256 for shard in self.part.shards]
        rows = hashlib.sha256(self.rows.astype("<i8").tobytes()).hexdigest()
        return {"prepared": (*shards, rows), "labels": self.labels}


@dataclass(frozen=True)
class Prepared:
    """The content of prepared.json.

    statistics: mean and deviation of each channel, in [0, 1].  skipped: (part, path, reason) of unreadable images.
    scale: by which images of more than 8 bits were brought to 8.
    """

    name: str
    found: str
    short_side: int
    encoding: str
    class_names: tuple[str, ...]
    statistics: tuple[tuple[float, ...], tuple[float, ...]]
    parts: dict[str, tuple[Shard, ...]]
    skipped: tuple[tuple[str, str, str], ...]
    scale: Scale | None = None

    def to_json(self) -> dict[str, Any]:
        parts = {name: [vars(shard) for shard in shards] for name, shards in self.parts.items()}
        return {"format": FORMAT, **vars(self), "parts": parts}

    def images(self, folder: Path, part: str) -> PreparedImages:
        """All images of a part."""
        try:
            lines = (folder / f"{part}.txt").read_bytes().splitlines()
            paths = tuple(str(json.loads(line)) for line in lines)
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{folder / part}.txt: cannot be read ({error}); prepare the set again") from None
        opened = PreparedPart(folder, self.encoding, self.parts[part], paths)
        if len(paths) != len(opened.index):
            raise UserError(f"{folder / part}.txt: does not fit the images; prepare the set again")
        if len(opened.index) and opened.index["label"].max() >= len(self.class_names):
            raise UserError(f"{folder}: an image of '{part}' has a label without a class; prepare the set again")
        return PreparedImages(opened, np.arange(len(opened.index)))


def is_prepared(folder: Path) -> bool:
    """Whether the folder holds a prepared set."""
    return (folder / "prepared.json").is_file()


def read_prepared(folder: Path) -> Prepared:
    """What a prepared set says of itself. Raises UserError."""
    path = folder / "prepared.json"
    content = read_json(path)
    try:
        if content["format"] != FORMAT or content["encoding"] not in ENCODINGS:
            raise ValueError
        mean, std = (tuple(float(value) for value in values) for values in content["statistics"])
        parts = {
            name: tuple(
                Shard(_plain_name(shard["name"]), int(shard["images"]), int(shard["bytes"]), str(shard["sha256"]))
                for shard in shards
            )
            for name, shards in content["parts"].items()
            if _plain_name(name)
        }
        skipped = tuple((str(part), str(name), str(reason)) for part, name, reason in content["skipped"])
        if "train" not in parts:
            raise ValueError
        return Prepared(
            str(content["name"]), str(content["found"]), int(content["short_side"]), content["encoding"],
            tuple(str(name) for name in content["class_names"]), (mean, std), parts, skipped,
            Scale.read(content.get("scale")),
        )  # fmt: skip
    except (LookupError, TypeError, ValueError, AttributeError):
        raise UserError(f"{path}: not what fsgl prepare writes; prepare the set again") from None


def _plain_name(name: str) -> str:
    """The name of a file in the folder, and not of one elsewhere."""
    if not name.replace("-", "").isalnum():
        raise ValueError(name)
    return name
