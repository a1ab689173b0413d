"""The test and validation images of a source: its own where it has them, or else carved from the training images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fsgl.data.draw.grouped import group_numbers
from fsgl.data.draw.imbalance import class_counts
from fsgl.data.draw.split import MIN_TRAIN, carve_validation
from fsgl.data.images.sources import ImageArrays, Images, Source
from fsgl.data.readers.medmnist import statistics
from fsgl.data.readers.paths import shorten
from fsgl.errors import UserError

DEFAULT_TEST = 0.2


def require_trainable(source: Source) -> None:
    """Raises UserError for a single class, or one that has images but none to train on."""
    if source.num_classes < 2:
        raise UserError(
            f"{source.name}: all images are of the class '{source.class_names[0]}'; two are needed at least"
        )
    missing = np.flatnonzero(class_counts(source.train.labels, source.num_classes) == 0)
    if missing.size:
        names = name_some(source, missing.tolist())
        raise UserError(
            f"{source.name}: no training images (that can be read) of {names}; add some, or take the class out"
        )


def with_test(source: Source, share: float | None, seed: int) -> tuple[Source, tuple[int, ...]]:
    """The source with test images, and the classes that have none.

    Where it came with test images it stays as it is. Otherwise ``share`` of each class (None is ``DEFAULT_TEST``) is
    carved as ``carve_validation`` does, which keeps groups whole and 4 images of each class for training; mean and
    deviation of images in memory are those of what remains. Raises UserError where nothing can be carved, or a share is
    given for nothing.
    """
    if source.test is not None:
        if share is not None or seed:
            raise UserError(f"{source.name} has test images; data.test and data.test_seed do not apply to it")
        return source, classes_without(source, source.test)
    share = DEFAULT_TEST if share is None else share
    groups = source.groups.get("train")
    numbers = group_numbers(groups, len(source.train))
    kept, carved, small = carve_validation(
        source.train.labels, share, seed, source.num_classes, "test", groups=numbers, stays=source.stays
    )
    if not len(carved):
        raise UserError(
            f"{source.name}: no test images, and no class of more than {MIN_TRAIN} images to take some from"
            + (f" ({len(source.stays):,} belong with given images and stay in training)" if source.stays else "")
        )
    notes = [f"no test images of its own: {share:.3g} of each class set aside, {len(carved):,} images (seed {seed})"]
    if small:
        notes.append(f"too small to spare a test image: {name_some(source, small)}")
    train = source.train.take(kept)
    source = replace(
        source, train=train, test=source.train.take(carved), notes=(*source.notes, *notes), stays=frozenset()
    )
    if groups:
        split = {part: tuple(groups[place] for place in places) for part, places in (("train", kept), ("test", carved))}
        source = replace(source, groups={**source.groups, **split})
    if isinstance(train, ImageArrays):
        mean, std = statistics(train.images)
        source = replace(source, mean=mean, std=std)
    return source, small


def with_validation(
    source: Source, share: float, seed: int, fold: int = 0
) -> tuple[Images, Images | None, tuple[int, ...], tuple[str, ...]]:
    """Training images, validation images (None where ``share`` is 0), the classes without any, and notes on that.

    fold: see ``carve_validation``. Raises UserError for a fold of a source that has validation images of its own.
    """
    if source.val is not None:
        if fold:
            raise UserError(f"{source.name} has validation images of its own; data.val_fold does not apply to it")
        if share == 0:
            return source.train, None, (), ("its validation images are left aside",)
        return source.train, source.val, classes_without(source, source.val), ()
    groups = group_numbers(source.groups.get("train"), len(source.train))
    kept, carved, small = carve_validation(
        source.train.labels, share, seed, source.num_classes, fold=fold, groups=groups, stays=source.stays
    )
    val = source.train.take(carved) if len(carved) else None
    note = f"for validation {share:.3g} of each class set aside, {len(carved):,} images (seed {seed})"
    return source.train.take(kept), val, small, (note,) if share else ()


def classes_without(source: Source, part: Images) -> tuple[int, ...]:
    """The classes of which a part has no image."""
    return tuple(np.flatnonzero(class_counts(part.labels, source.num_classes) == 0).tolist())


def name_some(source: Source, classes: Sequence[int]) -> str:
    """ "'cat', 'dog' and 3 other classes"."""
    names = ", ".join(f"'{shorten(source.class_names[k])}'" for k in classes[:5])
    more = len(classes) - 5
    return names + (f" and {more} other {'class' if more == 1 else 'classes'}" if more > 0 else "")
