from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsgl.data.images.sources import (
    ImageArrays,
    ImageFiles,
    Images,
    Source,
    as_labels,
    default_class_names,
    pixel_statistics,
)
from fsgl.errors import UserError


def arrays(labels: list[int], channels: int = 3) -> ImageArrays:
    count = len(labels)
    images = np.arange(count * 4 * channels, dtype=np.uint8).reshape(count, 2, 2, channels)
    return ImageArrays(images, np.array(labels, dtype=np.int64))


def source(train: Images, test: Images, classes: int = 2, channels: int = 3) -> Source:
    return Source("toy", train, test, default_class_names(classes), (0.5,) * channels, (0.2,) * channels)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 4, 4, 3), dtype=np.float32),
        np.zeros((2, 4, 4), dtype=np.uint8),
        np.zeros((2, 3, 4, 4), dtype=np.uint8),  # channels first
    ],
)
def test_arrays_of_another_kind_are_refused(images: np.ndarray) -> None:
    with pytest.raises(UserError, match="images must be uint8 of shape"):
        ImageArrays(images, np.zeros(2, dtype=np.int64))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(3, dtype=np.int64), "labels must be int64 of shape"),
        (np.zeros(2, dtype=np.int32), "labels must be int64 of shape"),
        (np.array([0, -2]), "image 1 has label -2"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ImageArrays(np.zeros((2, 4, 4, 3), dtype=np.uint8), labels)
    with pytest.raises(UserError, match=message):
        ImageFiles(Path(), ("a", "b"), labels)


@given(st.lists(st.integers(0, 4), max_size=8).map(lambda positions: np.array(positions, dtype=np.int64)))
def test_take_picks_images_with_their_labels(positions: np.ndarray) -> None:
    whole = arrays([3, 1, 4, 1, 5])
    taken = whole.take(positions)
    assert len(taken) == len(positions)
    for row, position in enumerate(positions):
        assert (taken.images[row] == whole.images[position]).all()
        assert taken.labels[row] == whole.labels[position]
    files = ImageFiles(Path("r"), tuple("abcde"), whole.labels).take(positions)
    assert files.paths == tuple("abcde"[position] for position in positions)
    assert files.labels.tolist() == taken.labels.tolist()
    assert files.root == Path("r")


def test_taken_images_are_copies() -> None:
    whole = arrays([0, 1])
    whole.take(np.array([0, 1])).images[:] = 255
    assert whole.images.max() < 255


def test_source_knows_its_sizes() -> None:
    toy = source(arrays([0, 1, 1], 1), arrays([1], 1), channels=1)
    assert (toy.num_classes, toy.channels, len(toy.train), len(toy.test)) == (2, 1, 3, 1)


def test_label_without_a_class_is_refused() -> None:
    with pytest.raises(UserError, match="toy: a test image has label 2, but there are 2 classes"):
        source(arrays([0, 1]), arrays([2]))
    with pytest.raises(UserError, match="toy: a training image has label 7"):
        source(ImageFiles(Path(), ("a",), np.array([7])), arrays([0]))


def test_statistics_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match="toy: training images have 1 channels, the mean has 3"):
        source(arrays([0], 1), arrays([0]))
    with pytest.raises(UserError, match="every std above 0"):
        Source("toy", arrays([0]), arrays([0]), ("a",), (0.5, 0.5, 0.5), (0.2, 0.0, 0.2))
    with pytest.raises(UserError, match="one value a channel"):
        Source("toy", arrays([0]), arrays([0]), ("a",), (0.5, 0.5, 0.5), (0.2,))


def test_pixel_statistics_are_numpys() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)
    mean, std = pixel_statistics(images)
    np.testing.assert_allclose(mean, (images / 255).mean(axis=(0, 1, 2)), rtol=1e-13)
    np.testing.assert_allclose(std, (images / 255).std(axis=(0, 1, 2)), rtol=1e-13)


def test_as_labels() -> None:
    assert as_labels([3, 0]).dtype == np.int64
    assert as_labels([]).shape == (0,)
    for wrong in ([0.5], ["1"], [[0]]):
        with pytest.raises(UserError, match="whole numbers"):
            as_labels(wrong)  # type: ignore[arg-type]
