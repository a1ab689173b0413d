"""The handwritten digits that scikit-learn ships: 1797 real images of 8 x 8 pixels, and no download.

From the UCI "Optical Recognition of Handwritten Digits" test set (Alpaydin and Kaynak 1998), 174 to 183 a class.
"""

from __future__ import annotations

import functools
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from fsgl.data.images.sources import ImageArrays, Source, default_class_names, pixel_statistics

TEST_PER_CLASS = 50
_SPLIT_SEED = 0


def load_digits() -> Source:
    """The digits as uint8 ``N x 8 x 8 x 1``, grey levels 0..16 stretched to 0..255.

    Test: 50 images of each class, always the same ones; train: the other 1297, in scikit-learn's order (124 to 133 a
    class). Mean and deviation are those of the training part.
    """
    levels, labels = _levels_and_labels()
    images = np.round(levels * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    labels = labels.astype(np.int64)
    is_test = np.zeros(len(labels), dtype=bool)
    random = np.random.RandomState(_SPLIT_SEED)  # not default_rng: NumPy promises never to change these numbers
    for k in range(10):
        is_test[random.permutation(np.flatnonzero(labels == k))[:TEST_PER_CLASS]] = True
    train = ImageArrays(images[~is_test], labels[~is_test])
    mean, std = pixel_statistics(train.images)
    return Source("digits", train, ImageArrays(images[is_test], labels[is_test]), default_class_names(10), mean, std)


@functools.cache
def _levels_and_labels() -> tuple[np.ndarray, np.ndarray]:
    """Float N x 64 in 0..16 and N labels, from scikit-learn's file: its import takes two seconds, the file a tenth."""
    spec = find_spec("sklearn")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        table = Path(place, "datasets", "data", "digits.csv.gz")
        if table.exists():
            values = np.loadtxt(table, delimiter=",")
            return values[:, :-1], values[:, -1]
    from sklearn.datasets import load_digits as bundled_digits  # wherever it keeps the file now

    levels, labels = bundled_digits(return_X_y=True)
    return levels, labels
