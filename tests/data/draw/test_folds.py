from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsgl.data.draw.folds import NEVER, validation_folds
from fsgl.errors import UserError


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 5)), min_size=1, max_size=60), st.integers(2, 6),
    st.integers(0, 3),
)  # fmt: skip
def test_each_image_is_set_aside_once_and_no_class_is_ever_without_training_images(
    images: list[tuple[int, int]], count: int, seed: int
) -> None:
    labels, groups = (np.array(each) for each in zip(*images, strict=True))
    folds = validation_folds(labels, count, seed, 5, groups)
    assert folds.shape == labels.shape
    assert set(folds.tolist()) <= {NEVER, *range(count)}
    for fold in range(count):
        assert set(labels[folds != fold].tolist()) == set(labels.tolist())
    for group in set(groups.tolist()) - {-1}:
        assert len(set(folds[groups == group].tolist())) == 1
    assert np.array_equal(folds, validation_folds(labels, count, seed, 5, groups))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.integers(2, 6))
def test_without_groups_a_class_is_dealt_evenly_and_only_single_images_always_train(
    given_labels: list[int], count: int
) -> None:
    labels = np.array(given_labels)
    folds = validation_folds(labels, count, 0, 5)
    for k, n in enumerate(np.bincount(labels, minlength=5)):
        sizes = np.bincount(folds[(labels == k) & (folds >= 0)], minlength=count)
        assert sizes.sum() == (n if n > 1 else 0)
        assert sizes.max() - sizes.min() <= 1


def test_folds_are_of_like_size_though_every_class_is_small() -> None:
    folds = validation_folds(np.repeat(np.arange(50), 2), 5, 0, 50)
    assert np.bincount(folds).tolist() == [20] * 5


def test_what_belongs_together_and_is_all_of_a_class_always_trains() -> None:
    labels, groups = np.array([0, 0, 1, 1, 1, 1]), np.array([7, 7, 7, -1, -1, -1])
    assert validation_folds(labels, 2, 0, 2, groups)[:3].tolist() == [NEVER] * 3


def test_one_fold_is_none() -> None:
    with pytest.raises(UserError, match="2 or more"):
        validation_folds(np.array([0, 1]), 1, 0, 2)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 5), st.booleans()), min_size=1, max_size=60),
    st.integers(2, 6), st.integers(0, 3),
)  # fmt: skip
def test_what_stays_is_never_set_aside_nor_is_its_group_and_the_rest_is_dealt_as_if_it_were_not_there(
    images: list[tuple[int, int, bool]], count: int, seed: int
) -> None:
    labels, groups, staying = (np.array(each) for each in zip(*images, strict=True))
    stays = np.flatnonzero(staying).tolist()
    folds = validation_folds(labels, count, seed, 5, groups, stays)
    theirs = staying | np.isin(groups, [group for group in groups[staying] if group != -1])
    assert (folds[theirs] == NEVER).all()
    for fold in range(count):
        assert set(labels[folds != fold].tolist()) == set(labels.tolist())
    rest = validation_folds(labels[~theirs], count, seed, 5, groups[~theirs])
    dealt = rest != NEVER  # beside what stays, the only image of a class may be set aside
    assert np.array_equal(folds[~theirs][dealt], rest[dealt])
