"""The parts that are carved from a training set, and the hash by which two runs know that they saw the same images."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from decimal import ROUND_HALF_DOWN, Decimal

import numpy as np

from fsgl.data.draw.grouped import SINGLE, GroupedCarving, staying
from fsgl.data.draw.imbalance import class_counts
from fsgl.data.images.sources import Images
from fsgl.errors import UserError
from fsgl.randomness import derive_seed

# A class keeps at least this many images for training; one with no more than this gives none to validation.
MIN_TRAIN = 4


def carve_validation(
    labels: np.ndarray, fraction: float, seed: int, num_classes: int, part: str = "validation", fold: int = 0,
    groups: np.ndarray | None = None, stays: Collection[int] = (),
) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:  # fmt: skip
    """Part a training set into training and validation (or test), class by class.

    Of a class with n images, ``fraction * n`` (rounded, halves down) go to validation, but at least 1 and at most
    n - 4, so that a class of 5 gives one and keeps four. A class of 4 or fewer gives none and is listed.

    labels: ``N`` integers.  fraction: in [0, 1); 0 carves nothing.  seed: which images.  part: "validation" or "test",
    which take different images for the same seed.  fold: the next so many images of each class in the seed's order, so
    that folds share none until a class has given all of its images, and then begin anew.
    groups: ``N`` integers; images of one group (copies, one patient's) all go to one side, -1 for an image of none.
    Groups go whole, in the same random order, where they fit what their classes have to give (draw/grouped.py); a class
    that has no group takes the images that it would without any groups.
    stays: positions that are left for training whatever is drawn, and with each its group.
    Returns (training positions, validation positions, classes that spare none): int64 positions in ``labels``,
    ascending, each position in exactly one of the two. Raises UserError for a fraction outside [0, 1).

    >>> import fsgl, numpy as np
    >>> train, val, too_small = fsgl.carve_validation(np.repeat([0, 1], [40, 4]), 0.1, seed=0, num_classes=2)
    >>> len(train), len(val), too_small
    (40, 4, (1,))
    """
    if not 0 <= fraction < 1:
        raise UserError(f"the {part} fraction must be at least 0 and below 1, not {fraction}")
    labels = np.asarray(labels)
    counts = class_counts(labels, num_classes)
    chosen = np.zeros(len(labels), dtype=bool)
    if fraction == 0:
        return np.flatnonzero(~chosen), np.flatnonzero(chosen), ()
    random = np.random.default_rng(derive_seed(seed, part))
    wanted = [_spared_images(int(count), fraction) for count in counts]
    of_class = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])  # ascending within each
    orders = {k: random.permutation(places) for k, places in enumerate(of_class)}
    if stays:
        left = staying(len(labels), stays, groups)
        orders = {k: order[~left[order]] for k, order in orders.items()}
    together = {} if groups is None else {k: order for k, order in orders.items() if (groups[order] != SINGLE).any()}
    for k in orders.keys() - together.keys():
        chosen[np.roll(orders[k], -fold * wanted[k])[: wanted[k]]] = True
    small = set(np.flatnonzero(counts <= MIN_TRAIN).tolist())
    if groups is not None and together:
        carving = GroupedCarving(labels, groups, wanted, MIN_TRAIN)
        for _ in range(fold):
            carving.fold(together)
        chosen[list(carving.fold(together))] = True
    if stays or together:
        small |= set(np.flatnonzero(class_counts(labels[chosen], num_classes) == 0).tolist())
    return np.flatnonzero(~chosen), np.flatnonzero(chosen), tuple(sorted(small))


def _spared_images(count: int, fraction: float) -> int:
    if count <= MIN_TRAIN:
        return 0
    # In decimals, as the user wrote the fraction: 0.07 * 50 is 3.5, which halves down to 3, but 3.5000000000000004
    # in floats.
    wanted = int((Decimal(str(float(fraction))) * count).quantize(Decimal(1), ROUND_HALF_DOWN))
    return min(max(wanted, 1), count - MIN_TRAIN)


def split_hash(**parts: np.ndarray | Images | Sequence[str]) -> str:
    """SHA-256, in hex, of named parts of a data set: equal for equal names and contents, in whatever order named.

    An array counts by type, shape and values; images by their ``fingerprint``; texts one by one.
    The result is the same on every machine: numbers are hashed little-endian.
    """
    digest = hashlib.sha256()
    for name in sorted(parts):
        part = parts[name]
        if isinstance(part, np.ndarray | str | Sequence):
            _add(digest, name, part)
        else:
            for what, content in part.fingerprint().items():
                _add(digest, f"{name}.{what}", content)
    return digest.hexdigest()


def _add(digest: hashlib._Hash, name: str, content: np.ndarray | Sequence[str]) -> None:
    if isinstance(content, np.ndarray):
        _add_array(digest, name, content)
    else:
        _add_texts(digest, name, (content,) if isinstance(content, str) else content)


def _add_array(digest: hashlib._Hash, name: str, array: np.ndarray) -> None:
    if array.dtype.hasobject:
        raise TypeError(f"'{name}' holds Python objects, which have no bytes to hash")
    array = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    _add_texts(digest, name, (array.dtype.str, str(array.shape)))
    digest.update(array.data if array.size else b"")


def _add_texts(digest: hashlib._Hash, name: str, texts: Sequence[str]) -> None:
    # Lengths first, so that no two lists of texts run together into the same bytes.
    for text in (name, str(len(texts)), *texts):
        encoded = text.encode("utf-8", "surrogateescape")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
