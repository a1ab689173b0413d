"""What a data set is before any drawing, augmentation or loading: its images, labels, class names and statistics."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fsgl.data.images.image_files import open_in_set, stored_mode
from fsgl.data.images.scale import SIXTEEN_BITS, Scale
from fsgl.data.images.shards import PreparedImages
from fsgl.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, eq=False)
class ImageArrays:
    """Images held in memory.

    images: ``N x H x W x C``, uint8, C = 1 or 3 (grey or RGB).  labels: ``N``, int64, in ``[0, K)``.
    Raises UserError where the arrays are not of that kind.
    """

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        images = self.images
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
            raise UserError(
                f"images must be uint8 of shape N x H x W x 1 or N x H x W x 3, not {images.dtype} {images.shape}"
            )
        _check_labels(self.labels, len(images))

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, positions: np.ndarray) -> ImageArrays:
        """The images at ``positions`` (integers, any order, repeats allowed), copied."""
        return ImageArrays(self.images[positions], self.labels[positions])

    @property
    def array_size(self) -> tuple[int, int]:
        """Height and width of every image; None of images that are decoded when they are needed."""
        return self.images.shape[1], self.images.shape[2]

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for RGB; None of images that are made RGB when they are decoded."""
        return int(self.images.shape[-1])

    def location(self, position: int) -> str:
        """Which image it is, for messages."""
        return f"image {position}"

    def open(self, position: int, at_least: int | None = None) -> Image:
        """The image as RGB."""
        from PIL.Image import fromarray

        return fromarray(np.broadcast_to(self.images[position], (*self.array_size, 3)).copy())

    def stored_mode(self, position: int) -> str:
        """How the image is stored, "" where that is not known."""
        return ""

    def state_on_disk(self) -> str | None:
        """A hash of what a change of the files would change; None of images whose content is in the data's hash."""
        return None

    def fingerprint(self) -> dict[str, np.ndarray | Sequence[str]]:
        """What tells these images and labels from others, for the data's hash: pixels and labels."""
        return {"images": self.images, "labels": self.labels}


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Images on disk.

    root: the folder.  paths: ``N`` paths relative to it, with forward slashes.  labels: ``N``, int64, in ``[0, K)``.
    scale: of those of more than 8 bits a channel; None where none is known of.
    follow: whether links may lead out of the root.
    """

    root: Path
    paths: tuple[str, ...]
    labels: np.ndarray
    scale: Scale | None = None
    follow: bool = False
    array_size: ClassVar[None] = None
    channels: ClassVar[None] = None

    def __post_init__(self) -> None:
        _check_labels(self.labels, len(self.paths))

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, positions: np.ndarray) -> ImageFiles:
        """The images at ``positions`` (integers, any order, repeats allowed)."""
        paths = tuple(self.paths[i] for i in positions.tolist())
        return ImageFiles(self.root, paths, self.labels[positions], self.scale, self.follow)

    def location(self, position: int) -> str:
        """Where the image is, for messages."""
        return str(self.root / self.paths[position])

    def open(self, position: int, at_least: int | None = None) -> Image:
        """The image as RGB; at_least: pixels of its shorter side that are needed. Raises BadImage."""
        return open_in_set(self.root, self.paths[position], at_least, self.scale, self.follow)

    def pixels(self, position: int, at_least: int | None = None) -> np.ndarray:
        """As ``open``, uint8 ``H x W x 3``."""
        return np.asarray(self.open(position, at_least))

    def stored_mode(self, position: int) -> str:
        """How the image is stored, such as "JPEG RGB"."""
        return stored_mode(self.root, self.paths[position])

    def state_on_disk(self) -> str | None:
        """As ImageArrays': a hash of the folder, and of every file's size and time of change."""
        found = hashlib.sha256(str(self.root.resolve()).encode())
        for path, status in self._statuses():
            found.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
        return found.hexdigest()

    def size_on_disk(self) -> int:
        """Bytes of all files."""
        return sum(status.st_size for _, status in self._statuses())

    def _statuses(self) -> Iterator[tuple[str, os.stat_result]]:
        """Of each file but those that cannot be asked: reading them will say what is wrong with them."""
        for path in self.paths:
            with contextlib.suppress(OSError):
                yield path, os.stat(self.root / path)

    def fingerprint(self) -> dict[str, np.ndarray | Sequence[str]]:
        """As ImageArrays': relative paths and labels, not the root, nor what the files hold, which would read them all.

        The scale counts where it is another than of whole 16 bits, as which all were once read.
        """
        found: dict[str, np.ndarray | Sequence[str]] = {"paths": self.paths, "labels": self.labels}
        if self.scale is not None and self.scale[:2] != SIXTEEN_BITS[:2]:
            found["scale"] = [f"{level:.17g}" for level in self.scale[:2]]
        return found


Images = ImageArrays | ImageFiles | PreparedImages


@dataclass(frozen=True, eq=False)
class Source:
    """A data set: its images, and what belongs to all of them.

    name: as recipes and results spell it.  test: None where a part of ``train`` is to be carved.
    class_names: ``K`` names; a label is an index into them.  mean, std: one value a channel, in [0, 1] units.
    val: None where the set comes without.  found: what it turned out to be, a sentence for people.  notes: more of
    them, on what was passed over.  given: of arrays from Python, what their labels were (readers/arrays.py).
    scale: by which images of more than 8 bits are shown; None where there are none.
    groups: by part ("train", "val", "test"), the name of each image's group, which is not to be divided among parts, ""
    for none; only the parts where groups were named.  stays: places of training images that a given part has as well
    (a copy, or one of a group); nothing is carved of them.
    Raises UserError where a label has no class name or the statistics do not fit the images.
    """

    name: str
    train: Images
    test: Images | None
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    val: Images | None = None
    found: str = ""
    notes: tuple[str, ...] = ()
    given: Mapping[str, Any] = field(default_factory=dict)
    scale: Scale | None = None
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stays: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        for part, images in (("training", self.train), ("validation", self.val), ("test", self.test)):
            if images is None:
                continue
            if len(images) and int(images.labels.max()) >= self.num_classes:
                raise UserError(
                    f"{self.name}: a {part} image has label {int(images.labels.max())}, "
                    f"but there are {self.num_classes} classes"
                )
            if images.channels not in (None, len(self.mean)):
                raise UserError(
                    f"{self.name}: {part} images have {images.channels} channels, the mean has {len(self.mean)}"
                )
        if len(self.mean) != len(self.std) or not all(deviation > 0 for deviation in self.std):
            raise UserError(f"{self.name}: mean and std need one value a channel each, every std above 0")

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def channels(self) -> int:
        return len(self.mean)


def default_class_names(num_classes: int) -> tuple[str, ...]:
    """The class indices as names, for data sets that come without."""
    return tuple(str(k) for k in range(num_classes))


def pixel_statistics(images_NHWC: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation (over all pixels, not over images) of each channel, in [0, 1] units.

    images_NHWC: uint8, N >= 1. Exact: counted per grey level, so no large float sum is rounded.
    """
    means, deviations = [], []
    levels = np.arange(256) / 255
    for channel in range(images_NHWC.shape[-1]):
        share = np.bincount(images_NHWC[..., channel].ravel(), minlength=256) / images_NHWC[..., channel].size
        mean = float(share @ levels)
        means.append(mean)
        deviations.append(float(share @ (levels - mean) ** 2) ** 0.5)
    return tuple(means), tuple(deviations)


def _check_labels(labels: np.ndarray, count: int) -> None:
    if labels.dtype != np.int64 or labels.shape != (count,):
        raise UserError(f"labels must be int64 of shape ({count},), one an image, not {labels.dtype} {labels.shape}")
    if count and int(labels.min()) < 0:
        raise UserError(f"labels count from 0; image {int(labels.argmin())} has label {int(labels.min())}")


def as_labels(labels: Sequence[int] | np.ndarray) -> np.ndarray:
    """``labels`` as an int64 array; UserError where they are not whole numbers."""
    array = np.asarray(labels)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise UserError(f"labels must be a list of whole numbers, not {array.dtype} of shape {array.shape}")
    return array.astype(np.int64)
