"""The data sets that have names, and what is known of each before it is read."""

from __future__ import annotations

from dataclasses import dataclass

from fsgl.data.stream.transforms import CropFlip


@dataclass(frozen=True)
class DataKind:
    """What is known of a data set before it is read.

    default_factor: imbalance factor drawn when none is given; None for a set that has its own tail.
    transform: augmentation of sets in memory; None for image files, which data/stream/decoding.py augments.
    lists: which of DataSpec's lists it needs.
    """

    note: str
    default_factor: float | None
    transform: CropFlip | None
    lists: tuple[str, ...] = ()


BOTH_LISTS = ("train_list", "test_list")
DATA_SETS: dict[str, DataKind] = {
    "digits": DataKind("scikit-learn's handwritten digits, 8 x 8, no download", 20, CropFlip(padding=1, flip=False)),
    "cifar10": DataKind("CIFAR-10-LT, downloaded when absent", 100, CropFlip(padding=4, flip=True)),
    "cifar100": DataKind("CIFAR-100-LT, downloaded when absent", 100, CropFlip(padding=4, flip=True)),
    "imagenet-lt": DataKind("ImageNet-LT: two text lists and a folder of images", None, None, BOTH_LISTS),
    "inaturalist2018": DataKind("iNaturalist 2018: two text lists and a folder of images", None, None, BOTH_LISTS),
    "places-lt": DataKind("Places-LT: two text lists and a folder of images", None, None, BOTH_LISTS),
    "lists": DataKind("your lists or tables, one for training and, if there, val and test", None, None, BOTH_LISTS[:1]),
    "own": DataKind("your images: --data PATH, a folder, a table, a list or an .npz", None, None),
}
OWN = ("lists", "own")  # whose classes and parts are found out when they are read
