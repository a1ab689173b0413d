from __future__ import annotations

import numpy as np
import pytest
import sklearn.datasets

from fsgl.data.draw.split import split_hash
from fsgl.data.images.sources import ImageArrays, Source
from fsgl.data.readers.digits import load_digits


@pytest.fixture(scope="module")
def digits() -> Source:
    return load_digits()


def in_memory(images: object) -> ImageArrays:
    assert isinstance(images, ImageArrays)
    return images


def test_sizes(digits: Source) -> None:
    assert in_memory(digits.train).images.shape == (1297, 8, 8, 1)
    assert np.bincount(digits.test.labels).tolist() == [50] * 10
    assert np.bincount(digits.train.labels).min() >= 120
    assert digits.class_names == tuple("0123456789")


def test_every_bundled_digit_is_in_one_part(digits: Source) -> None:
    """Together they are the bundled images, grey levels k/16 to the nearest of k * 255 / 16."""
    bundled = sklearn.datasets.load_digits()
    expected = sorted(
        (label, bytes(round(level * 255 / 16) for level in image.ravel()))
        for image, label in zip(bundled.images, bundled.target, strict=True)
    )
    train, test = in_memory(digits.train), in_memory(digits.test)
    found = [
        (label, image.tobytes())
        for part in (train, test)
        for image, label in zip(part.images, part.labels, strict=True)
    ]
    assert sorted(found) == expected


def test_training_part_keeps_its_order(digits: Source) -> None:
    bundled = sklearn.datasets.load_digits().target.tolist()
    remaining = iter(bundled)
    assert all(label in remaining for label in digits.train.labels.tolist())


def test_statistics_are_the_training_parts(digits: Source) -> None:
    pixels = in_memory(digits.train).images / 255
    assert digits.mean == pytest.approx((pixels.mean(),), rel=1e-12)
    assert digits.std == pytest.approx((pixels.std(),), rel=1e-12)


def test_split_is_the_same_everywhere(digits: Source) -> None:
    """Results on digits are comparable only while this holds: a change here is a change of data set."""
    again = load_digits()
    assert split_hash(train=again.train, test=again.test) == split_hash(train=digits.train, test=digits.test)
    assert split_hash(train=digits.train, test=digits.test)[:16] == "cfffcd071c8e057b"
