"""From a named data set to the images of one experiment: long-tailed draw, validation part, hash, normalisation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fsgl.collector import without_collector
from fsgl.data.draw.grouped import group_numbers, staying
from fsgl.data.draw.holdout import require_trainable, with_test, with_validation
from fsgl.data.draw.imbalance import DRAW_SEEDS, class_counts, draw_long_tail, exponential_counts
from fsgl.data.draw.split import split_hash
from fsgl.data.draw.together import COPIES, keep_together
from fsgl.data.images.bad_images import POLICIES, BadImages
from fsgl.data.images.scale import Scale
from fsgl.data.images.sources import ImageArrays, Images, Source
from fsgl.data.images.white_level import with_scale
from fsgl.data.known import BOTH_LISTS, DATA_SETS, OWN
from fsgl.data.readers.cifar import load_cifar
from fsgl.data.readers.digits import load_digits
from fsgl.data.readers.listing import title
from fsgl.data.readers.lists import load_lists
from fsgl.data.readers.own import find_lists, find_source
from fsgl.data.readers.reading import Reading
from fsgl.data.readers.small_images import keep_small_images
from fsgl.data.stream.autoaugment import AutoAugmentCutout
from fsgl.data.stream.decoding import AUGMENTATIONS, DecodingStream, decoded_batches
from fsgl.data.stream.features import FeatureStream, ImageFeatures, feature_batches
from fsgl.data.stream.streams import ArrayStream, Stream, StreamSpec, array_batches
from fsgl.data.stream.transforms import CropFlip
from fsgl.data.stream.views import ViewSpec
from fsgl.errors import UserError
from fsgl.settings import check, setting

SMALL_AUGMENTATIONS = ("crop-flip", "autoaugment-cutout")
MIDDLE, BOTH = "middle", "middle-and-whole"  # of a photograph, what is shown at test
NORMALIZATIONS = ("own", "release")
# The release normalises CIFAR-100 by these, neither its mean nor its deviation; its CIFAR-10 values are the set's own.
RELEASE_CIFAR100 = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))


@dataclass(frozen=True)
class DataSpec:
    """Settings of the data."""

    name: str = setting("cifar100", "the data set", choices=DATA_SETS, noun="data set")
    root: str = setting("data", "folder of the archives or of the images that lists name; of own, what is read")
    train_list: str | None = setting(None, "list of training images, for ImageNet-LT and its like; or a table")
    test_list: str | None = setting(None, "list of test images")
    imbalance_factor: float | None = setting(
        None, "largest over smallest class; none is the data set's own", at_least=1, at_most=1000
    )
    draw: str = setting("ldam", "which images make the tail (data/draw/imbalance.py)", choices=DRAW_SEEDS)
    draw_seed: int | None = setting(None, "of the draw; none is the published one", at_least=0, at_most=2**32 - 1)
    val: float = setting(
        0.1, "share of the training images set aside for choosing an epoch; 0 for none, not even the set's own",
        at_least=0, below=1,
    )  # fmt: skip
    val_seed: int = setting(0, "which images are set aside for that")
    normalization: str = setting("own", "by the set's own mean and deviation, or the release's", choices=NORMALIZATIONS)
    small_augmentation: str = setting(
        "crop-flip", "of images in memory; AutoAugment's CIFAR-10 policy and Cutout after crop and flip",
        choices=SMALL_AUGMENTATIONS, later=True,
    )  # fmt: skip
    augmentation: str = setting(
        "fast", "of images that are decoded (data/stream/decoding.py)", choices=AUGMENTATIONS, later=True
    )
    bad_images: str = setting(
        "skip", "images that cannot be read are skipped and listed, or end the run", choices=POLICIES, later=True
    )
    val_list: str | None = setting(None, "list of validation images", later=True)
    images: str | None = setting(
        None, "of own: folder that a table's or list's paths start from; none is where it lies", later=True
    )
    test: float | None = setting(
        None, "share of the training images set aside where somebody's own come without test images", above=0, below=1,
        later=True,
    )  # fmt: skip
    test_seed: int = setting(0, "which images are set aside for that", later=True)
    white_level: float | None = setting(
        None, "of images of more than 8 bits a channel, the value that is white; none decides it from the files",
        above=0, later=True,
    )  # fmt: skip
    copies: str = setting(
        # The default is what runs did that say nothing of it; make_experiment says "together" for one's own images.
        "apart", "of your own images, copies: together on one side of a split (what every recipe says for them); "
        "alike, also what only looks alike of more than 5,000; or apart, as they fall", choices=COPIES, later=True,
    )  # fmt: skip
    view: str = setting(
        MIDDLE, "what is shown of a photograph at test: its middle; or its middle and the whole of it, pressed into "
        "the same square, whose features are averaged", choices=(MIDDLE, BOTH), later=True,
    )  # fmt: skip
    val_fold: int = setting(0, "of folds for validation that share no image", at_least=0, later=True)
    reading: Reading = setting(Reading, "", later=True)

    def __post_init__(self) -> None:
        check(self, "data")
        has_own_tail = DATA_SETS[self.name].default_factor is None
        if self.imbalance_factor is not None and has_own_tail:
            raise UserError(f"{self.title} has its own tail; data.imbalance_factor does not apply to it")
        needed = DATA_SETS[self.name].lists
        if not needed and (self.train_list or self.test_list or self.val_list):
            hint = "; a list for each part is --data lists --train-list FILE ..." if self.name == "own" else ""
            raise UserError(f"{self.title} is not given by lists; data.train_list and its like do not apply{hint}")
        if not all(getattr(self, name) for name in needed):
            kind = "two text files 'path label'" if needed == BOTH_LISTS else "a text file 'path label' or a table"
            raise UserError(f"{self.name} needs {' and '.join(f'data.{name}' for name in needed)}, {kind}")
        if self.small_augmentation != SMALL_AUGMENTATIONS[0] and has_own_tail and self.name not in OWN:
            raise UserError(f"{self.name} has photographs; data.small_augmentation is for small images in memory")
        if self.white_level is not None and DATA_SETS[self.name].transform is not None:
            raise UserError(f"{self.name} has 8 bits a channel; data.white_level does not apply to it")
        self._check_own()

    def _check_own(self) -> None:
        if self.images is not None and self.name != "own":
            raise UserError(f"{self.name} takes its images from data.root; data.images does not apply to it")
        if self.name not in OWN and (self.test is not None or self.test_seed):
            raise UserError(f"{self.name} has a test set; data.test and data.test_seed do not apply to it")
        if self.name not in OWN and self.copies != COPIES[-1]:
            raise UserError(f"{self.name} is split as it was published; data.copies does not apply to it")
        if self.name not in OWN and self.reading != Reading():
            raise UserError(f"{self.name} is read in one way; data.reading is for images of your own")

    @property
    def title(self) -> str:
        """The name; of somebody's own images that of their folder or file."""
        path = {"own": self.root, "lists": self.train_list}.get(self.name)
        return self.name if path is None else title(Path(path))


@dataclass(frozen=True, eq=False)
class LoadedData:
    """The images of one experiment and what belongs to them.

    counts: ``K`` int64, images of each class that are trained on.  without_validation, without_test: classes that have
    no image there, most often because they are too small to spare one.  hash: of the drawn images and their parts
    (split.py).  notes: how somebody's own images were read and split, a sentence each.  bad: what could not be read so
    far.  image_size: side in pixels of what a network is shown.  array_size: height and width of images that were in
    memory when they were loaded, else None.  given: of arrays from Python, what their labels were (readers/arrays.py).
    scale: by which images of more than 8 bits a channel are shown, if any.  together: of somebody's own images, what of
    copies and groups was found (draw/together.py).  groups, stays: where folds were asked for, the number of what each
    training image belongs with, -1 for nothing; and whether it, or that, belongs with given test or validation images.
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
    without_test: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    bad: BadImages = field(default_factory=BadImages)
    image_size: int = 224
    array_size: tuple[int, int] | None = None
    given: Mapping[str, Any] = field(default_factory=dict)
    scale: Scale | None = None
    together: Mapping[str, Any] = field(default_factory=dict)
    groups: np.ndarray | None = None
    stays: np.ndarray | None = None

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
            # An eighth of the side, as CIFAR's 4 pixels are of 32.
            usual = CropFlip(padding=max(1, min(self.train.images.shape[1:3]) // 8))
            transform = DATA_SETS[self.spec.name].transform or usual
            if self.spec.small_augmentation == "autoaugment-cutout":
                transform = AutoAugmentCutout(transform.padding, transform.flip)
            images, labels = self.train.images, self.train.labels
            return ArrayStream(images, labels, self.num_classes, spec, transform, self.mean, self.std, device)
        if isinstance(self.train, ImageFeatures):
            return FeatureStream(self.train, self.num_classes, spec, device)
        if self.spec.small_augmentation != SMALL_AUGMENTATIONS[0]:
            raise UserError("data.small_augmentation is for images in memory; these are decoded as they are needed")
        return DecodingStream(
            self.train, self.num_classes, spec, self.mean, self.std, device, workers,
            ViewSpec(self.image_size), self.spec.augmentation, bad=self.bad,
        )  # fmt: skip

    def evaluation_batches(
        self, part: Images | ImageFeatures, device: torch.device | str, workers: int = 0
    ) -> Iterator[Tensor]:
        """The images of ``val`` or ``test`` in order, unaugmented."""
        if isinstance(part, ImageArrays):
            return array_batches(part.images, self.mean, self.std, device)
        if isinstance(part, ImageFeatures):
            return feature_batches(part, device)
        whole = self.spec.view == BOTH
        return decoded_batches(part, self.mean, self.std, device, workers, self.image_size, bad=self.bad, whole=whole)

    def unreadable(self, part: Images | ImageFeatures) -> np.ndarray:
        """``N`` booleans: the images of ``val`` or ``test`` that were found unreadable."""
        if isinstance(part, ImageFeatures) or not self.bad.reasons:
            return np.zeros(len(part), dtype=bool)
        return np.array([part.location(position) in self.bad.reasons for position in range(len(part))])

    def describe(self) -> dict[str, object]:
        """What a result must say of its data."""
        described: dict[str, object] = {
            "split_hash": self.hash,
            "image_size": self.image_size,
            "array_size": None if self.array_size is None else list(self.array_size),
            "scale": None if self.scale is None else list(self.scale),
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
        if self.spec.name in OWN:
            described |= {"classes_without_test": list(self.without_test), "found": list(self.notes)}
        if self.together:
            described["together"] = dict(self.together)
        if self.given:
            described["given"] = dict(self.given)
        return described


@without_collector()
def read_own(spec: DataSpec) -> Source:
    """Somebody's own images ("own" or "lists"), small ones of one size decoded."""
    if spec.name == "own":
        source = find_source(Path(spec.root), None if spec.images is None else Path(spec.images), spec.reading)
    else:
        val, test = (None if path is None else Path(path) for path in (spec.val_list, spec.test_list))
        source = find_lists(Path(spec.train_list or ""), val, test, Path(spec.root), spec.reading)
    return keep_small_images(with_scale(source, spec.white_level), skip_bad=spec.bad_images == "skip")


_READERS: dict[str, Callable[[DataSpec], Source]] = {
    "digits": lambda spec: load_digits(),
    "cifar10": lambda spec: load_cifar("cifar10", Path(spec.root)),
    "cifar100": lambda spec: load_cifar("cifar100", Path(spec.root)),
    **dict.fromkeys(OWN, read_own),
}


@without_collector()
def load_data(spec: DataSpec, source: Source | None = None, folds: bool = False) -> LoadedData:
    """Read, draw and part a data set. source: what ``spec`` names, where it has been read already.

    folds: the training images will be split into folds; what belongs together, or with given images, is found out. Then
    ``spec`` sets none aside for validation. Raises UserError for what is missing or malformed.
    """
    kind = DATA_SETS[spec.name]
    if source is None and spec.name in _READERS:
        source = _READERS[spec.name](spec)
    elif source is None:
        lists = spec.train_list or "", spec.test_list or ""
        source = with_scale(load_lists(spec.name, spec.root, *lists, val_list=spec.val_list), spec.white_level)
    if kind.default_factor is not None:
        labels = source.train.labels
        available = class_counts(labels, source.num_classes)
        factor = spec.imbalance_factor or kind.default_factor
        counts = exponential_counts(int(available.min()), source.num_classes, factor)
        source = replace(source, train=source.train.take(draw_long_tail(labels, counts, spec.draw, spec.draw_seed)))
    without_test: tuple[int, ...] = ()
    together: dict[str, Any] = {}
    if spec.name in OWN:
        require_trainable(source)
        carves = folds or source.test is None or (source.val is None and spec.val > 0)
        source, together = keep_together(source, spec.copies, carves)
        source, without_test = with_test(source, spec.test, spec.test_seed)
    train, val, without_validation, notes = with_validation(source, spec.val, spec.val_seed, spec.val_fold)
    test = source.test
    assert test is not None  # only somebody's own images may come without
    released = spec.normalization == "release" and spec.name == "cifar100"
    mean, std = RELEASE_CIFAR100 if released else (source.mean, source.std)
    parts: dict[str, Images | tuple[str, ...]] = {"train": train, "test": test}
    parts |= {} if val is None else {"val": val}
    parts |= {"classes": source.class_names} if spec.name in OWN else {}
    if (size := train.array_size) is not None and spec.view != MIDDLE:
        raise UserError(f"data.view={spec.view} is for photographs; images in memory are shown as they are: omit it")
    more: dict[str, Any] = {} if size is None else {"image_size": size[0], "array_size": size}
    if folds:
        groups = group_numbers(source.groups.get("train"), len(train))
        more |= {"groups": groups, "stays": staying(len(train), source.stays, groups)}
    return LoadedData(
        spec=replace(spec, imbalance_factor=spec.imbalance_factor or kind.default_factor),
        train=train,
        val=val,
        test=test,
        class_names=source.class_names,
        counts=class_counts(train.labels, source.num_classes),
        mean=mean,
        std=std,
        without_validation=without_validation,
        hash=split_hash(**parts),
        without_test=without_test,
        notes=tuple(filter(None, (source.found, *source.notes, *notes))),
        bad=BadImages(spec.bad_images),
        given=source.given,
        together=together,
        scale=source.scale,
        **more,
    )
