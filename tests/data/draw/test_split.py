from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsgl.data.draw.split import carve_validation, split_hash
from fsgl.data.images.sources import ImageArrays, ImageFiles
from fsgl.errors import UserError

LABELS = st.lists(st.integers(0, 5), max_size=120).map(lambda labels: np.array(labels, dtype=np.int64))


@given(LABELS, st.integers(1, 999), st.integers(0, 2**63 - 1))
def test_carving_parts_the_set_and_follows_the_rule(labels: np.ndarray, thousandths: int, seed: int) -> None:
    train, val, spared = carve_validation(labels, thousandths / 1000, seed, 6)
    assert sorted([*train, *val]) == list(range(len(labels)))
    assert (np.diff(train) > 0).all()
    assert (np.diff(val) > 0).all()
    for k in range(6):
        count, given_up = int((labels == k).sum()), int((labels[val] == k).sum())
        if count <= 4:
            assert (given_up, k in spared) == (0, True)
            continue
        exact = Fraction(thousandths, 1000) * count
        nearest = min(range(count + 1), key=lambda n: (abs(n - exact), n))  # of two equally near, the lower
        assert given_up == min(max(nearest, 1), count - 4)
        assert k not in spared


@pytest.mark.parametrize(
    ("count", "fraction", "expected"),
    [(4, 0.5, 0), (5, 0.01, 1), (50, 0.07, 3), (50, 0.1, 5), (10, 0.25, 2), (10, 0.95, 6), (500, 0.1, 50)],
)
def test_number_carved(count: int, fraction: float, expected: int) -> None:
    _, val, spared = carve_validation(np.zeros(count, dtype=np.int64), fraction, 0, 1)
    assert len(val) == expected
    assert spared == ((0,) if expected == 0 else ())


def test_fraction_zero_carves_nothing_and_lists_nothing() -> None:
    train, val, spared = carve_validation(np.array([0, 1, 1]), 0, 3, 2)
    assert train.tolist() == [0, 1, 2]
    assert (val.tolist(), spared) == ([], ())
    assert train.dtype == val.dtype == np.int64


def test_seed_decides_which_images() -> None:
    labels = np.repeat(np.arange(3), 40)
    carved = [carve_validation(labels, 0.2, seed, 3)[1].tolist() for seed in (1, 1, 2)]
    assert carved[0] == carved[1] != carved[2]


def test_test_part_is_another_draw_by_the_same_rule() -> None:
    labels = np.repeat(np.arange(3), [40, 5, 4])
    val, test = (carve_validation(labels, 0.2, 1, 3, part) for part in ("validation", "test"))
    assert val[1].tolist() != test[1].tolist()
    assert np.bincount(labels[test[1]], minlength=3).tolist() == [8, 1, 0]
    assert val[2] == test[2] == (2,)
    with pytest.raises(UserError, match="the test fraction must be"):
        carve_validation(labels, 1.0, 1, 3, "test")


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 2.0, float("nan")])
def test_impossible_fraction_is_refused(fraction: float) -> None:
    with pytest.raises(UserError, match="validation fraction must be at least 0 and below 1"):
        carve_validation(np.zeros(10, dtype=np.int64), fraction, 0, 1)


def test_hash_of_one_array_by_hand() -> None:
    """The layout is fixed, or results written by two versions could not be compared."""

    def framed(*texts: bytes) -> bytes:
        return b"".join(len(text).to_bytes(8, "little") + text for text in texts)

    expected = framed(b"drawn", b"2", b"<i8", b"(2,)") + bytes([1] + [0] * 7 + [2] + [0] * 7)
    assert split_hash(drawn=np.array([1, 2])) == hashlib.sha256(expected).hexdigest()


def test_hash_depends_on_content_not_on_layout_or_order() -> None:
    array = np.arange(12).reshape(3, 4)
    same = split_hash(a=array, b=array[0])
    assert split_hash(b=array[0].copy(), a=array) == same
    assert split_hash(a=np.asfortranarray(array), b=array[0]) == same
    assert split_hash(a=array.astype(">i8"), b=array[0]) == same
    different = [
        split_hash(a=array, c=array[0]),
        split_hash(a=array.ravel(), b=array[0]),
        split_hash(a=array.astype(np.int32), b=array[0]),
        split_hash(a=array + 1, b=array[0]),
        split_hash(a=array),
        split_hash(),
    ]
    assert len({same, *different}) == 7


@given(*[st.lists(st.text("ab1\0", max_size=2), max_size=3)] * 2)
def test_lists_of_texts_do_not_run_together(one: list[str], other: list[str]) -> None:
    assert (split_hash(paths=one) == split_hash(paths=other)) == (one == other)


def test_hash_of_images() -> None:
    labels = np.array([0, 1])
    pixels = np.arange(2 * 2 * 2 * 3, dtype=np.uint8).reshape(2, 2, 2, 3)
    other = pixels.copy()
    other[1, 1, 1, 2] += 1
    files = ImageFiles(Path("one"), ("a", "b"), labels)
    hashes = [
        split_hash(train=ImageArrays(pixels, labels)),
        split_hash(train=ImageArrays(other, labels)),
        split_hash(train=ImageArrays(pixels, labels[::-1].copy())),
        split_hash(train=files),
        split_hash(train=ImageFiles(Path("one"), ("a", "c"), labels)),
        split_hash(train=ImageFiles(Path("one"), ("a", "b"), labels[::-1].copy())),
    ]
    assert len(set(hashes)) == 6
    assert split_hash(train=ImageFiles(Path("elsewhere"), ("a", "b"), labels)) == split_hash(train=files)


def test_objects_have_no_hash() -> None:
    with pytest.raises(TypeError, match="Python objects"):
        split_hash(a=np.array([None]))


@given(LABELS, st.data(), st.integers(1, 999), st.integers(0, 2**63 - 1), st.integers(0, 3))
def test_no_group_is_on_two_sides_and_other_classes_are_carved_as_without_groups(
    labels: np.ndarray, data: st.DataObject, thousandths: int, seed: int, fold: int
) -> None:
    groups = np.array(data.draw(st.lists(st.integers(-1, 6), min_size=len(labels), max_size=len(labels))), np.int64)
    groups[labels == 5] = -1
    carve = (labels, thousandths / 1000, seed, 6)
    train, val, spared = carve_validation(*carve, fold=fold, groups=groups)
    assert sorted([*train, *val]) == list(range(len(labels)))
    assert not set(groups[train]) & set(groups[val]) - {-1}
    assert all(k in spared or (labels[val] == k).any() for k in range(6))
    assert all((labels[train] == k).sum() >= min(4, (labels == k).sum()) for k in range(6))
    plain = carve_validation(*carve, fold=fold)[1]
    single = carve_validation(*carve, fold=fold, groups=np.full(len(labels), -1))[1]
    assert plain.tolist() == single.tolist()
    assert plain[labels[plain] == 5].tolist() == val[labels[val] == 5].tolist()


@given(st.integers(0, 60), st.integers(1, 999), st.integers(0, 99), st.integers(0, 9))
def test_single_images_of_a_class_with_groups_are_drawn_in_the_same_order(
    count: int, thousandths: int, seed: int, fold: int
) -> None:
    """A pair too large for its own class's share is never taken, so that nothing else may change."""
    labels = np.repeat([0, 1], [count, 4])
    groups = np.full(count + 4, -1)
    together = carve_validation(labels, thousandths / 1000, seed, 2, fold=fold, groups=groups)[1]
    groups[[count, *range(min(count, 1))]] = 7  # an image of class 0 with one of class 1, which spares none
    held = set(carve_validation(labels, thousandths / 1000, seed, 2, fold=fold, groups=groups)[1].tolist())
    assert 0 not in held or not count
    if 0 not in together and fold == 0:
        assert held == set(together.tolist())


@pytest.mark.parametrize(
    ("sizes", "fraction", "taken"),
    [
        ([20] * 5, 0.1, 20),  # five patients: one of them, though it is more than a tenth
        ([20, 20], 0.1, 20),
        ([30, 10], 0.1, 10),  # the smaller one
        ([40], 0.2, 0),  # all of one: nothing can be spared
        ([26, 14, *[1] * 10], 0.2, 10),  # larger than the part: the single ones instead
        ([2] * 50, 0.2, 20),
    ],
)
def test_how_much_classes_of_groups_give(sizes: list[int], fraction: float, taken: int) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    groups[np.repeat(sizes, sizes) == 1] = -1
    _, val, spared = carve_validation(np.zeros(len(groups), np.int64), fraction, 3, 1, groups=groups)
    assert (len(val), spared) == (taken, () if taken else (0,))


def test_folds_of_groups_share_none_until_all_had_their_turn() -> None:
    labels, groups = np.repeat([0, 1], 60), np.arange(120) // 4
    groups[:20] = -1
    folds = [set(carve_validation(labels, 0.2, 0, 2, fold=fold, groups=groups)[1].tolist()) for fold in range(5)]
    assert [len(fold) for fold in folds] == [24] * 5
    assert set.union(*folds) == set(range(120))
