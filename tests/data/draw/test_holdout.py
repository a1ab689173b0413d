from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fsgl.data.draw.holdout import classes_without, name_some, require_trainable, with_test, with_validation
from fsgl.data.images.sources import ImageArrays, ImageFiles, Source
from fsgl.errors import UserError


def files(*counts: int) -> ImageFiles:
    labels = np.repeat(np.arange(len(counts)), counts)
    return ImageFiles(Path("r"), tuple(f"{i}.jpg" for i in range(len(labels))), labels)


def pets(train: ImageFiles, **parts: ImageFiles) -> Source:
    names = ("cat", "dog", "emu")
    return Source("pets", train, parts.get("test"), names, (0.5,) * 3, (0.2,) * 3, parts.get("val"), "found", ("note",))


def paths(part: object) -> list[str]:
    assert isinstance(part, ImageFiles)
    return list(part.paths)


def test_test_images_are_carved_class_by_class_and_said() -> None:
    whole = files(40, 5, 4)
    source, without = with_test(pets(whole), None, 0)
    assert source.test is not None
    assert np.bincount(source.test.labels, minlength=3).tolist() == [8, 1, 0]
    assert without == (2,)
    assert sorted(paths(source.train) + paths(source.test)) == sorted(whole.paths)
    assert source.notes == (
        "note",
        "no test images of its own: 0.2 of each class set aside, 9 images (seed 0)",
        "too small to spare a test image: 'emu'",
    )
    train, val, small, notes = with_validation(source, 0.1, 0)
    assert np.bincount(train.labels).tolist() == [29, 4, 4]
    assert val is not None
    assert (np.bincount(val.labels).tolist(), small) == ([3], (1, 2))
    assert not set(paths(train)) & (set(paths(val)) | set(paths(source.test)))
    assert notes == ("for validation 0.1 of each class set aside, 3 images (seed 0)",)


def test_carving_is_reproducible_and_goes_by_its_seed() -> None:
    source = pets(files(40, 40, 40))
    drawn = [paths(with_test(source, share, seed)[0].test) for share, seed in ((0.2, 1), (0.2, 1), (0.2, 2), (0.5, 1))]
    assert drawn[0] == drawn[1] != drawn[2]
    assert [len(part) for part in drawn] == [24, 24, 24, 60]


def test_test_images_are_another_draw_than_validation_images_of_the_same_seed() -> None:
    source = pets(files(40, 40, 40))
    _, val, _, _ = with_validation(source, 0.2, 1)
    assert paths(val) != paths(with_test(source, 0.2, 1)[0].test)


def test_given_parts_are_used_as_they_are() -> None:
    source = pets(files(9, 9, 9), test=files(1, 0, 2), val=files(0, 3, 0))
    same, without = with_test(source, None, 0)
    assert (same, without) == (source, (1,))
    assert with_validation(source, 0.1, 5) == (source.train, source.val, (0, 2), ())
    assert with_validation(source, 0, 0) == (source.train, None, (), ("its validation images are left aside",))
    for share, seed in ((0.3, 0), (None, 1)):
        with pytest.raises(UserError, match=r"pets has test images; data\.test and data\.test_seed do not apply"):
            with_test(source, share, seed)


def test_no_validation_leaves_all_in_training() -> None:
    train, val, small, notes = with_validation(pets(files(9, 9, 1)), 0, 0)
    assert (len(train), val, small, notes) == (19, None, (), ())


def test_statistics_of_arrays_are_those_of_the_training_part() -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 4, 4, 1), dtype=np.uint8)
    train = ImageArrays(images, np.repeat(np.arange(3), 10))
    source, _ = with_test(Source("x", train, None, ("a", "b", "c"), (0.5,), (0.2,)), None, 0)
    assert isinstance(source.train, ImageArrays)
    assert len(source.train) == 24
    np.testing.assert_allclose(source.mean, source.train.images.mean() / 255)
    np.testing.assert_allclose(source.std, source.train.images.std() / 255)


def test_what_cannot_be_trained_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^pets: no training images \(that can be read\) of 'dog', 'emu'; add some"):
        require_trainable(pets(files(5, 0, 0), test=files(1, 1, 1)))
    with pytest.raises(UserError, match="pets: all images are of the class 'cat'; two are needed"):
        require_trainable(replace(pets(files(5)), class_names=("cat",)))
    with pytest.raises(UserError, match="pets: no test images, and no class of more than 4 images to take some from"):
        with_test(pets(files(4, 4, 1)), None, 0)
    require_trainable(pets(files(1, 1, 1)))


def test_classes_are_named() -> None:
    names = tuple("abcdefg")
    source = Source("x", files(1), None, names, (0.5,) * 3, (0.2,) * 3)
    assert name_some(source, [0]) == "'a'"
    assert name_some(source, [0, 1, 2, 3, 4, 5]).endswith("'e' and 1 other class")
    assert name_some(source, range(7)).endswith("'e' and 2 other classes")
    assert classes_without(source, files(1, 0, 1)) == (1, 3, 4, 5, 6)
