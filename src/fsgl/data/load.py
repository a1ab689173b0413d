"""From a named data set to the images of one experiment: long-tailed draw, validation part, hash, normalisation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fsgl.data.cifar import load_cifar
from fsgl.data.decoding import DecodingStream, file_batches
from fsgl.data.digits import load_digits
from fsgl.data.features import FeatureStream, ImageFeatures, feature_batches
from fsgl.data.imbalance import DRAW_SEEDS, class_counts, draw_long_tail, exponential_counts
from fsgl.data.lists import load_lists
from fsgl.data.sources import ImageArrays, Images, Source
from fsgl.data.split import carve_validation, split_hash
from fsgl.data.streams import ArrayStream, Stream, StreamSpec, array_batches
from fsgl.data.transforms import CropFlip
from fsgl.errors import UserError, unknown

NORMALIZATIONS = ("own", "release")
# The release normalises CIFAR-100 by these, neither its mean nor its deviation; its CIFAR-10 values are the set's own.
RELEASE_CIFAR100 = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))


@dataclass(frozen=True)
class DataKind:
    """What is known of a data set before it is read.

    default_factor: imbalance factor drawn when none is given; None for a set that has its own tail.
    transform: augmentation of sets in memory; None for image files, which data/decoding.py augments.
    """

    note: str
    default_factor: float | None
    transform: CropFlip | None


DATA_SETS: dict[str, DataKind] = {
    "digits": DataKind("scikit-learn's handwritten digits, 8 x 8, no download", 20, CropFlip(padding=1, flip=False)),
    "cifar10": DataKind("CIFAR-10-LT, downloaded when absent", 100, CropFlip(padding=4, flip=True)),
    "cifar100": DataKind("CIFAR-100-LT, downloaded when absent", 100, CropFlip(padding=4, flip=True)),
    "imagenet-lt": DataKind("ImageNet-LT: two text lists and a folder of images", None, None),
    "inaturalist2018": DataKind("iNaturalist 2018: two text lists and a folder of images", None, None),
    "places-lt": DataKind("Places-LT: two text lists and a folder of images", None, None),
}


@dataclass(frozen=True)
class DataSpec:
    """Settings of the data.

    name: one of ``DATA_SETS``.  root: folder of the archives, or of the images that the lists name.
    train_list, test_list: the text lists of ImageNet-LT and its like.
    imbalance_factor: largest over smallest class, 1 to 1000; None is the set's default.
    draw: "ldam" or "release" (see data/imbalance.py).  draw_seed: None is the published one.
    val: share of the training images set aside for choosing an epoch, 0 for none.  val_seed: which.
    normalization: "own" mean and deviation of the set, or the "release"'s.
    """

    name: str = "cifar100"
    root: str = "data"
    train_list: str | None = None
    test_list: str | None = None
    imbalance_factor: float | None = None
    draw: str = "ldam"
    draw_seed: int | None = None
    val: float = 0.1
    val_seed: int = 0
    normalization: str = "own"

    def __post_init__(self) -> None:
        if self.name not in DATA_SETS:
            raise unknown("data set", self.name, DATA_SETS)
        if self.draw not in DRAW_SEEDS:
            raise unknown("draw", self.draw, DRAW_SEEDS)
        if self.normalization not in NORMALIZATIONS:
            raise unknown("normalization", self.normalization, NORMALIZATIONS)
        if self.draw_seed is not None and not 0 <= self.draw_seed < 2**32:  # NumPy's RandomState takes no other
            raise UserError(f"data.draw_seed must be from 0 to {2**32 - 1}, not {self.draw_seed}")
        if not 0 <= self.val < 1:
            raise UserError(f"data.val is a share of the training images, at least 0 and below 1, not {self.val}")
        has_own_tail = DATA_SETS[self.name].default_factor is None
        if self.imbalance_factor is not None:
            if has_own_tail:
                raise UserError(f"{self.name} has its own tail; data.imbalance_factor does not apply to it")
            if not 1 <= self.imbalance_factor <= 1000:
                raise UserError(f"data.imbalance_factor must be from 1 to 1000, not {self.imbalance_factor}")
        if not has_own_tail and (self.train_list or self.test_list):
            raise UserError(f"{self.name} is not given by lists; data.train_list and data.test_list do not apply to it")
        if has_own_tail and not (self.train_list and self.test_list):
            raise UserError(f"{self.name} needs data.train_list and data.test_list, two text files 'path label'")


@dataclass(frozen=True, eq=False)
class LoadedData:
    """The images of one experiment and what belongs to them.

    counts: ``K`` int64, images of each class that are trained on.  without_validation: classes too small to
    spare an image for validation.  hash: of the drawn images and their parts (data/split.py).
    image_size: side in pixels of what a network is shown of them.
    """

    spec: DataSpec
    train: Images | ImageFeatures
    val: Images | ImageFeatures | None
    test: Images | ImageFeatures
    class_names: tuple[str, ...]
    counts: np.ndarray
    mean: tuple[float, ...]
    std: tuple[float, ...]
    without_validation: tuple[int, ...]
    hash: str
    image_size: int = 224

    @property
    def in_memory(self) -> bool:
        """Whether the images are arrays, of a size of their own."""
        return isinstance(self.train, ImageArrays)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def stream(self, spec: StreamSpec, device: torch.device | str, workers: int = 0) -> Stream:
        """Training batches."""
        if isinstance(self.train, ImageArrays):
            transform = DATA_SETS[self.spec.name].transform or CropFlip()
            images, labels = self.train.images, self.train.labels
            return ArrayStream(images, labels, self.num_classes, spec, transform, self.mean, self.std, device)
        if isinstance(self.train, ImageFeatures):
            return FeatureStream(self.train, self.num_classes, spec, device)
        size = self.image_size
        return DecodingStream(self.train, self.num_classes, spec, self.mean, self.std, device, workers, size)

    def evaluation_batches(
        self, part: Images | ImageFeatures, device: torch.device | str, workers: int = 0
    ) -> Iterator[Tensor]:
        """The images of ``val`` or ``test`` in order, unaugmented."""
        if isinstance(part, ImageArrays):
            return array_batches(part.images, self.mean, self.std, device)
        if isinstance(part, ImageFeatures):
            return feature_batches(part, device)
        return file_batches(part, self.mean, self.std, device, workers, self.image_size)

    def describe(self) -> dict[str, object]:
        """What a result must say of its data."""
        return {
            "split_hash": self.hash,
            "image_size": self.image_size,
            "mean": list(self.mean),
            "std": list(self.std),
            "classes": self.num_classes,
            "train": len(self.train),
            "val": 0 if self.val is None else len(self.val),
            "test": len(self.test),
            "largest_class": int(self.counts.max()),
            "smallest_class": int(self.counts.min()),
            "classes_without_validation": list(self.without_validation),
        }


_READERS: dict[str, Callable[[DataSpec], Source]] = {
    "digits": lambda spec: load_digits(),
    "cifar10": lambda spec: load_cifar("cifar10", Path(spec.root)),
    "cifar100": lambda spec: load_cifar("cifar100", Path(spec.root)),
}


def load_data(spec: DataSpec) -> LoadedData:
    """Read, draw and part a data set. Raises UserError for what is missing or malformed."""
    kind = DATA_SETS[spec.name]
    if spec.name in _READERS:
        source = _READERS[spec.name](spec)
    else:
        source = load_lists(spec.name, spec.root, spec.train_list or "", spec.test_list or "")
    train = source.train
    if kind.default_factor is not None:
        available = class_counts(train.labels, source.num_classes)
        factor = spec.imbalance_factor or kind.default_factor
        counts = exponential_counts(int(available.min()), source.num_classes, factor)
        train = train.take(draw_long_tail(train.labels, counts, spec.draw, spec.draw_seed))
    kept, spared, small = carve_validation(train.labels, spec.val, spec.val_seed, source.num_classes)
    val = train.take(spared) if len(spared) else None
    train = train.take(kept)
    mean, std = source.mean, source.std
    if spec.normalization == "release" and spec.name == "cifar100":
        mean, std = RELEASE_CIFAR100
    parts = {"train": train, "test": source.test} if val is None else {"train": train, "val": val, "test": source.test}
    return LoadedData(
        spec=replace(spec, imbalance_factor=spec.imbalance_factor or kind.default_factor),
        train=train,
        val=val,
        test=source.test,
        class_names=source.class_names,
        counts=class_counts(train.labels, source.num_classes),
        mean=mean,
        std=std,
        without_validation=small,
        hash=split_hash(**parts),
        **({"image_size": train.images.shape[1]} if isinstance(train, ImageArrays) else {}),
    )
