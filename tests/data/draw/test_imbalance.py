from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsgl.data.draw.imbalance import (
    DRAW_SEEDS,
    class_counts,
    draw_long_tail,
    exponential_counts,
)
from fsgl.errors import UserError

COUNTS = st.lists(st.integers(0, 500), min_size=1, max_size=40).map(np.array)


@pytest.mark.parametrize(
    ("n_max", "num_classes", "factor", "total", "rarest"),
    [  # totals that papers on CIFAR-LT report
        (5000, 10, 10, 20431, 500),
        (5000, 10, 50, 13996, 100),
        (5000, 10, 100, 12406, 50),
        (500, 100, 10, 19573, 50),
        (500, 100, 50, 12608, 10),
        (500, 100, 100, 10847, 5),
    ],
)
def test_counts_are_the_fields(n_max: int, num_classes: int, factor: float, total: int, rarest: int) -> None:
    counts = exponential_counts(n_max, num_classes, factor)
    assert counts.dtype == np.int64
    assert (counts[0], counts[-1], counts.sum()) == (n_max, rarest, total)


@pytest.mark.parametrize("mu", [0.5, 0.2, 0.1, 0.02, 0.01, 0.005, 0.001])
@pytest.mark.parametrize(("n_max", "num_classes"), [(5000, 10), (500, 100), (1280, 1000)])
def test_counts_from_a_factor_are_those_from_its_mu(mu: float, n_max: int, num_classes: int) -> None:
    by_hand = []
    for k in range(num_classes):
        by_hand.append(max(1, int(n_max * mu ** (k / (num_classes - 1.0)))))
    assert exponential_counts(n_max, num_classes, 1 / mu).tolist() == by_hand


@given(st.integers(1, 10_000), st.integers(1, 300), st.floats(1, 1000))
def test_counts_fall_from_n_max_and_never_to_none(n_max: int, num_classes: int, factor: float) -> None:
    counts = exponential_counts(n_max, num_classes, factor)
    assert counts[0] == n_max
    assert (np.diff(counts) <= 0).all()
    assert counts.min() >= 1
    if num_classes > 1:
        assert counts[-1] == pytest.approx(max(1, n_max / factor), abs=1)


def test_counts_at_the_edges() -> None:
    assert exponential_counts(7, 1, 100).tolist() == [7]
    assert exponential_counts(7, 3, 1).tolist() == [7, 7, 7]
    assert exponential_counts(500, 100, 1000)[-1] == 1  # the formula alone gives 0 there


@pytest.mark.parametrize("factor", [0.99, 0.0, -1.0, float("nan"), float("inf")])
def test_impossible_factor_is_refused(factor: float) -> None:
    with pytest.raises(UserError, match="imbalance factor must be 1 or more"):
        exponential_counts(500, 10, factor)


@pytest.mark.parametrize(("n_max", "num_classes"), [(0, 10), (5, 0)])
def test_nothing_to_count_is_refused(n_max: int, num_classes: int) -> None:
    with pytest.raises(UserError, match="at least 1 class and 1 image"):
        exponential_counts(n_max, num_classes, 10)


def test_class_counts() -> None:
    counts = class_counts(np.array([2, 0, 2, 2]), 4)
    assert counts.tolist() == [1, 0, 3, 0]
    assert counts.dtype == np.int64
    assert class_counts(np.array([], dtype=np.int64), 2).tolist() == [0, 0]


@pytest.mark.parametrize("label", [-1, 4])
def test_label_outside_the_classes_is_refused(label: int) -> None:
    with pytest.raises(UserError, match=rf"label {label} is outside the 4 classes"):
        class_counts(np.array([0, label, 3]), 4)


def shuffled_labels() -> np.ndarray:
    return np.random.default_rng(5).permutation(np.repeat(np.arange(4), 25))


@pytest.mark.parametrize("seed", [None, 0, 11])
def test_ldam_draw_is_the_published_loop(seed: int | None) -> None:
    labels, counts = shuffled_labels(), [25, 9, 3, 1]
    state = np.random.get_state()
    try:
        np.random.seed(0 if seed is None else seed)
        expected: list[int] = []
        for k, n in zip(np.unique(labels), counts, strict=True):
            positions = np.where(labels == k)[0]
            np.random.shuffle(positions)
            expected.extend(positions[:n])
    finally:
        np.random.set_state(state)
    assert draw_long_tail(labels, np.array(counts), "ldam", seed).tolist() == expected


@pytest.mark.parametrize("seed", [None, 0, 3407])
def test_release_draw_is_numpys_global_stream(seed: int | None) -> None:
    labels, counts = shuffled_labels(), [25, 9, 3, 1]
    state = np.random.get_state()
    try:
        np.random.seed(3407 if seed is None else seed)
        expected: list[int] = []
        for k, n in enumerate(counts):
            members = [i for i in range(len(labels)) if labels[i] == k]
            expected.extend(members[i] for i in np.random.choice(len(members), n, replace=False))
    finally:
        np.random.set_state(state)
    assert draw_long_tail(labels, np.array(counts), "release", seed).tolist() == expected


@given(
    st.lists(st.integers(0, 5), max_size=60).map(lambda labels: np.array(labels, dtype=np.int64)),
    st.sampled_from(sorted(DRAW_SEEDS)),
    st.integers(0, 2**32 - 1),
    st.data(),
)
def test_draws_give_the_counts_asked_for_without_repeats(
    labels: np.ndarray, draw: str, seed: int, data: st.DataObject
) -> None:
    counts = np.array([data.draw(st.integers(0, int(n))) for n in class_counts(labels, 6)])
    drawn = draw_long_tail(labels, counts, draw, seed)
    assert drawn.dtype == np.int64
    assert len(set(drawn.tolist())) == len(drawn)
    assert class_counts(labels[drawn], 6).tolist() == counts.tolist()
    assert (np.diff(labels[drawn]) >= 0).all()  # class by class
    assert draw_long_tail(labels, counts, draw, seed).tolist() == drawn.tolist()


def test_what_tells_the_draws_apart_is_their_seed() -> None:
    labels, counts = shuffled_labels(), np.array([10, 10, 10, 10])
    own = [draw_long_tail(labels, counts, draw).tolist() for draw in ("ldam", "release")]
    assert own[0] != own[1]
    assert draw_long_tail(labels, counts, "ldam", 3407).tolist() == own[1]
    assert draw_long_tail(labels, counts, "release", 0).tolist() == own[0]


def test_drawing_leaves_the_global_stream_and_the_labels_alone() -> None:
    labels = shuffled_labels()
    before = labels.copy(), np.random.get_state()[1].tolist()  # type: ignore[index]
    draw_long_tail(labels, np.array([5, 4, 3, 2]), "release")
    assert labels.tolist() == before[0].tolist()
    assert np.random.get_state()[1].tolist() == before[1]  # type: ignore[index]


def test_too_few_images_name_the_class() -> None:
    with pytest.raises(UserError, match="class 2 has 25 images, the long tail asks for 26"):
        draw_long_tail(shuffled_labels(), np.array([25, 25, 26, 30]))


def test_unknown_draw_names_the_nearest() -> None:
    with pytest.raises(UserError, match="unknown draw 'realease'; did you mean 'release'"):
        draw_long_tail(shuffled_labels(), np.array([1, 1, 1, 1]), "realease")
