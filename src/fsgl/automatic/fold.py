"""The images of one fold, for what trains on images, and the features of the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fsgl.automatic.heads import Pool
from fsgl.data.draw.imbalance import class_counts
from fsgl.data.images.sources import Images
from fsgl.data.load import LoadedData
from fsgl.data.stream.features import ImageFeatures


def fold_of(data: LoadedData, pool: Pool, number: int) -> tuple[LoadedData, ImageFeatures]:
    """A fold's images, what is set aside as its test images; and features of those that it trains on."""
    aside = pool.folds == number
    if data.val is not None:
        train, held = _readable(data, data.train), _readable(data, data.val)
    else:
        readable = _readable(data, data.train)
        train, held = readable.take(np.flatnonzero(~aside)), readable.take(np.flatnonzero(aside))
    counts = class_counts(train.labels, data.num_classes)
    hashed = f"{data.hash}, fold {number} of {pool.count}"
    parted = replace(data, train=train, val=None, test=held, counts=counts, hash=hashed)
    return parted, pool.features.take(np.flatnonzero(~aside))


def _readable(data: LoadedData, part: Images | ImageFeatures) -> Images:
    assert not isinstance(part, ImageFeatures)
    return part.take(np.flatnonzero(~data.unreadable(part)))
