from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from fsgl.methods.mixtures import (
    Box,
    box_lambda,
    cutmix,
    cutmix_box,
    draw_lambda,
    global_local_mixture,
    mixup,
    one_hot,
    soft_labels,
)
from fsgl.randomness import generator

SHARES = st.floats(0, 1)
SIDES = st.integers(1, 40)
SEEDS = st.integers(0, 2**32)


def images(count: int = 3, channels: int = 2, height: int = 5, width: int = 7, seed: int = 0) -> torch.Tensor:
    random = generator(seed, "images")
    return torch.randn(count, channels, height, width, generator=random, dtype=torch.float64)


@pytest.mark.parametrize("beta", [0.2, 0.5, 1.0, 5.0])
def test_lambda_is_beta_distributed(beta: float) -> None:
    random = generator(1, "lambda")
    draws = [draw_lambda(beta, random) for _ in range(2000)]
    assert scipy.stats.kstest(draws, scipy.stats.beta(beta, beta).cdf).pvalue > 0.01
    others = [other for other in (0.2, 0.5, 1.0, 5.0) if other != beta]
    for other in others:  # the test has the power to tell them apart
        assert scipy.stats.kstest(draws, scipy.stats.beta(other, other).cdf).pvalue < 1e-6


@given(st.floats(1e-8, 1e8), SEEDS)
def test_lambda_is_a_share_and_follows_the_generator_alone(beta: float, seed: int) -> None:
    first = draw_lambda(beta, generator(seed))
    torch.rand(3)
    assert 0 <= first <= 1
    assert draw_lambda(beta, generator(seed)) == first


@pytest.mark.parametrize("beta", [0.0, -1.0, float("nan")])
def test_lambda_needs_a_positive_beta(beta: float) -> None:
    with pytest.raises(ValueError, match="beta must be positive"):
        draw_lambda(beta, generator(0))


@given(SIDES, SIDES, SHARES, SEEDS)
def test_box_is_the_formulas_clipped_at_the_border(height: int, width: int, lam: float, seed: int) -> None:
    """METHOD section 3, one pixel after the other: it is inside if it lies from centre - cut // 2 to before
    centre + cut // 2."""
    box = cutmix_box(height, width, lam, generator(seed))
    random = generator(seed)
    row = int(torch.randint(height, (), generator=random))
    column = int(torch.randint(width, (), generator=random))
    cut_h, cut_w = (math.ceil(side * math.sqrt(1 - lam)) for side in (height, width))
    inside = [
        (i, j)
        for i in range(height)
        for j in range(width)
        if row - cut_h // 2 <= i < row + cut_h // 2 and column - cut_w // 2 <= j < column + cut_w // 2
    ]
    found = [(i, j) for i in range(box.top, box.bottom) for j in range(box.left, box.right)]
    assert found == inside
    assert box.area == len(inside)
    assert 0 <= box.top <= box.bottom <= height
    assert 0 <= box.left <= box.right <= width


@pytest.mark.parametrize(("lam", "pasted"), [(1.0, 0), (0.75, 16), (0.61, 16), (0.6, 36), (0.0, 64)])
def test_unclipped_box_has_the_cut_or_with_an_odd_cut_one_pixel_less(lam: float, pasted: int) -> None:
    """Side 8: cut 4 at lambda 3/4; 5, pasted as 4, at 0.61; 6 at 0.6 (8 sqrt 0.4 = 5.06)."""
    areas = [cutmix_box(8, 8, lam, generator(seed)).area for seed in range(300)]
    assert max(areas) == pasted


def test_box_centre_is_uniform_over_all_pixels() -> None:
    random = generator(2, "box")
    lam = 1 - 0.2**2  # a cut of 2 in 6 x 9: the box ends one pixel after its centre, wherever that is
    boxes = [cutmix_box(6, 9, lam, random) for _ in range(2700)]
    places = [(box.bottom - 1) * 9 + box.right - 1 for box in boxes]
    assert scipy.stats.chisquare(np.bincount(places, minlength=54)).pvalue > 0.01


@given(SHARES)
def test_mixup_is_the_blend(lam: float) -> None:
    first, second = images(seed=1), images(seed=2)
    mixed = mixup(first, second, lam).numpy()
    for index in np.ndindex(mixed.shape):
        assert mixed[index] == pytest.approx(lam * first[index].item() + (1 - lam) * second[index].item(), abs=1e-12)


def test_lambda_one_and_zero_give_exactly_one_image() -> None:
    first, second = images(seed=1).float() * 1e6, images(seed=2).float()
    assert torch.equal(mixup(first, second, 1.0), first)
    assert torch.equal(mixup(first, second, 0.0), second)
    for seed in range(20):
        assert torch.equal(cutmix(first, second, cutmix_box(5, 7, 1.0, generator(seed))), first)
    assert torch.equal(cutmix(first, second, Box(0, 5, 0, 7)), second)
    labels, others = torch.tensor([2, 0, 1]), torch.tensor([0, 0, 2])
    assert torch.equal(soft_labels(labels, others, 1.0, 3), torch.eye(3)[labels])
    assert torch.equal(soft_labels(labels, others, 0.0, 3), torch.eye(3)[others])


@given(SHARES, SEEDS)
def test_cutmix_pastes_pixel_by_pixel_and_changes_no_argument(lam: float, seed: int) -> None:
    first, second = images(seed=1), images(seed=2)
    before = first.clone(), second.clone()
    box = cutmix_box(5, 7, lam, generator(seed))
    mixed = cutmix(first, second, box)
    taken = 0
    for i in range(5):
        for j in range(7):
            inside = box.top <= i < box.bottom and box.left <= j < box.right
            assert torch.equal(mixed[:, :, i, j], (second if inside else first)[:, :, i, j])
            taken += inside
    assert box_lambda(box, 5, 7) == pytest.approx(1 - taken / 35, abs=1e-15)
    assert torch.equal(first, before[0])
    assert torch.equal(second, before[1])


def test_mixtures_keep_channels_last() -> None:
    first, second = (images(seed=seed).to(memory_format=torch.channels_last) for seed in (1, 2))
    for mixed in (mixup(first, second, 0.3), cutmix(first, second, Box(0, 2, 0, 2))):
        assert mixed.is_contiguous(memory_format=torch.channels_last)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=9), SHARES)
def test_soft_labels_are_the_formulas(pairs: list[tuple[int, int]], lam: float) -> None:
    first, second = (torch.tensor(labels) for labels in zip(*pairs, strict=True))
    target = soft_labels(first, second, lam, 5, torch.float64)
    by_hand = np.zeros((len(pairs), 5))
    for i, (a, b) in enumerate(pairs):
        by_hand[i, a] += lam
        by_hand[i, b] += 1 - lam
    np.testing.assert_allclose(target.numpy(), by_hand, rtol=0, atol=1e-15)
    assert (target >= 0).all()
    single = soft_labels(first, second, lam, 5)
    assert single.dtype == torch.float32
    assert single.sum(dim=1).tolist() == pytest.approx([1] * len(pairs), abs=1e-6)


def test_one_hot_is_torchs() -> None:
    labels = torch.tensor([3, 0, 3, 1])
    assert torch.equal(one_hot(labels, 4, torch.float64), torch.nn.functional.one_hot(labels, 4).double())


@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
def test_permuting_classes_permutes_the_labels(lam: float) -> None:
    first, second = torch.tensor([0, 1, 2, 3]), torch.tensor([1, 1, 0, 3])
    new_index = torch.tensor([2, 0, 3, 1])  # class k is called new_index[k]
    target = soft_labels(first, second, lam, 4)
    assert torch.equal(soft_labels(new_index[first], new_index[second], lam, 4)[:, new_index], target)


def test_a_mistaken_kind_of_label_is_refused() -> None:
    views, labels = (images(), images()), torch.tensor([0, 1, 2])
    with pytest.raises(ValueError, match="label"):
        global_local_mixture(views, labels, views, labels, 3, 0.5, generator(0), label="aera")


def test_features_are_mixed_by_one_lambda_in_both_mixtures() -> None:
    """There is no box to cut from a vector: MixUp twice, of the first and of the second views."""
    random = np.random.default_rng(0)
    o1, o2, r1, r2 = (random.normal(size=(4, 5)) for _ in range(4))
    labels_o, labels_r = torch.tensor([0, 1, 2, 2]), torch.tensor([2, 1, 0, 1])
    views_o, views_r = [torch.from_numpy(view) for view in (o1, o2)], [torch.from_numpy(view) for view in (r1, r2)]
    (global_, local), (target_g, target_l) = global_local_mixture(
        views_o, labels_o, views_r, labels_r, 3, 0.5, torch.Generator().manual_seed(5)
    )
    lam = draw_lambda(0.5, torch.Generator().manual_seed(5))
    assert 0 < lam < 1
    np.testing.assert_allclose(global_.numpy(), lam * o1 + (1 - lam) * r1, rtol=1e-12)
    np.testing.assert_allclose(local.numpy(), lam * o2 + (1 - lam) * r2, rtol=1e-12)
    expected = lam * np.eye(3)[labels_o] + (1 - lam) * np.eye(3)[labels_r]
    np.testing.assert_allclose(target_g.numpy(), expected, rtol=1e-12)
    assert torch.equal(target_g, target_l)
