from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from fsgl.data.stream import samplers
from fsgl.data.stream.samplers import ClassPowerSampler, class_power_probabilities
from fsgl.randomness import generator

COUNTS = [40, 3, 0, 12, 5]
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(5), COUNTS))


def image_probabilities(labels: np.ndarray, q: float) -> np.ndarray:
    """METHOD section 2, image by image: in proportion to 1 / n_k^q."""
    counts = [int((labels == k).sum()) for k in range(int(labels.max()) + 1)]
    weights = np.array([counts[label] ** -q for label in labels.tolist()])
    return weights / weights.sum()


@given(st.lists(st.integers(0, 500), min_size=1, max_size=20).filter(any), st.floats(-1, 3))
def test_class_probabilities_are_the_images_summed(counts: list[int], q: float) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    expected = [float(image_probabilities(labels, q)[labels == k].sum()) for k in range(len(counts))]
    assert class_power_probabilities(counts, q).tolist() == pytest.approx(expected, rel=1e-9, abs=1e-15)


@given(st.integers(1, 300), st.integers(1, 20), st.floats(-2, 3))
def test_balanced_classes_are_drawn_alike_whatever_q(count: int, classes: int, q: float) -> None:
    assert class_power_probabilities([count] * classes, q).tolist() == pytest.approx([1 / classes] * classes)


@pytest.mark.parametrize("q", [150.0, -150.0])
def test_a_large_q_is_no_nan(q: float) -> None:
    assert class_power_probabilities([1, 1000, 0], q).tolist() == ([1, 0, 0] if q > 0 else [0, 1, 0])


@pytest.mark.parametrize("q", [0.0, 0.2, 1.0, 2.0])
def test_draws_follow_the_images_probabilities(q: float) -> None:
    drawn = ClassPowerSampler(LABELS, 5, q).draw(60_000, generator(1, "draws"))
    counts = np.bincount(drawn.numpy(), minlength=len(LABELS))
    assert scipy.stats.chisquare(counts, image_probabilities(LABELS, q) * 60_000).pvalue > 0.01
    wrong = image_probabilities(LABELS, q + 0.3) * 60_000
    assert scipy.stats.chisquare(counts, wrong).pvalue < 1e-6  # it would notice another q


def test_q_zero_is_uniform_and_q_one_is_class_balanced() -> None:
    uniform, balanced = (ClassPowerSampler(LABELS, 5, q).draw(30_000, generator(2)).numpy() for q in (0.0, 1.0))
    assert scipy.stats.chisquare(np.bincount(uniform)).pvalue > 0.01
    classes = np.bincount(LABELS[balanced], minlength=5)
    assert classes[2] == 0
    assert scipy.stats.chisquare(classes[[0, 1, 3, 4]]).pvalue > 0.01


def test_agrees_with_torchs_multinomial_in_distribution() -> None:
    probabilities = torch.from_numpy(image_probabilities(LABELS, 0.7))
    theirs = torch.multinomial(probabilities, 30_000, replacement=True, generator=generator(3)).numpy()
    ours = ClassPowerSampler(LABELS, 5, 0.7).draw(30_000, generator(4)).numpy()
    table = np.stack([np.bincount(drawn, minlength=len(LABELS)) for drawn in (ours, theirs)])
    assert scipy.stats.chi2_contingency(table).pvalue > 0.01


def test_draws_are_independent_of_one_another() -> None:
    drawn = LABELS[ClassPowerSampler(LABELS, 5, 1.0).draw(40_000, generator(5)).numpy()].reshape(-1, 2)
    table = np.zeros((5, 5))
    np.add.at(table, (drawn[:, 0], drawn[:, 1]), 1)
    kept = [0, 1, 3, 4]
    assert scipy.stats.chi2_contingency(table[np.ix_(kept, kept)]).pvalue > 0.01


@given(st.lists(st.integers(0, 6), min_size=1, max_size=50), st.floats(-1, 3), st.integers(0, 2**32))
def test_every_draw_is_an_image(labels: list[int], q: float, seed: int) -> None:
    sampler = ClassPowerSampler(torch.tensor(labels), 7, q)
    drawn = sampler.draw(64, generator(seed))
    assert drawn.dtype == torch.int64
    assert 0 <= int(drawn.min()) <= int(drawn.max()) < len(labels)
    assert torch.equal(drawn, sampler.draw(64, generator(seed)))


def test_uniform_numbers_at_their_ends_draw_the_first_and_last_image(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = torch.tensor([1, 3, 3, 1])  # the first and the last class are empty
    for uniform, expected in ((0.0, 0), (1 - 2**-53, 2)):
        ends = torch.full((2, 1), uniform, dtype=torch.float64)
        monkeypatch.setattr(torch, "rand", lambda *_, ends=ends, **__: ends)
        assert ClassPowerSampler(labels, 5, 0.5).draw(1, generator(0)).tolist() == [expected]


def test_permuting_classes_permutes_the_probabilities() -> None:
    counts, order = torch.tensor([40, 3, 12, 5]), torch.tensor([2, 0, 3, 1])
    permuted = class_power_probabilities(counts[order], 0.3)
    torch.testing.assert_close(permuted, class_power_probabilities(counts, 0.3)[order])


def one_by_one(labels: list[int], num_classes: int, q: float, count: int, seed: int) -> list[int]:
    """The same draws by the definition: find the class, list its images, take one."""
    ends = torch.cumsum(class_power_probabilities(np.bincount(labels, minlength=num_classes).tolist(), q), 0).tolist()
    drawn = []
    for u, v in torch.rand(2, count, dtype=torch.float64, generator=generator(seed)).T.tolist():
        chosen = next((k for k, end in enumerate(ends) if u < end), max(labels))
        images = [i for i, label in enumerate(labels) if label == chosen]
        drawn.append(images[int(v * len(images))])
    return drawn


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
@given(st.integers(1, 120), st.integers(1, 9), st.floats(-1, 3), st.integers(0, 2**32))
def test_draws_equal_those_by_the_definition(chunk: int, count: int, classes: int, q: float, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, classes, count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samplers, "CHUNK", chunk)
        drawn = ClassPowerSampler(labels, classes + 2, q).draw(16, generator(seed))
    assert drawn.tolist() == one_by_one(labels.tolist(), classes + 2, q, 16, seed)


def test_draws_are_those_of_the_first_release() -> None:
    labels = torch.tensor([i * i % 7 for i in range(60)])
    drawn = ClassPowerSampler(labels, 7, 0.6).draw(12, generator(11, "pinned"))
    assert drawn.tolist() == [0, 16, 2, 59, 31, 36, 46, 49, 46, 49, 2, 42]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64])
def test_labels_of_any_integer_type_draw_alike(dtype: type[np.generic]) -> None:
    expected = ClassPowerSampler(LABELS, 5, 0.4).draw(50, generator(6))
    for labels in (LABELS.astype(dtype), torch.from_numpy(LABELS.astype(dtype))):
        assert torch.equal(ClassPowerSampler(labels, 5, 0.4).draw(50, generator(6)), expected)


@pytest.mark.parametrize("classes", [300, 2**16, 2**16 + 1, 100_000])
def test_the_table_sorts_images_by_class(classes: int) -> None:
    """Over several chunks, and with more classes than 16 bits tell apart."""
    labels = np.random.default_rng(1).integers(0, classes, 3 * samplers.CHUNK + 5)
    labels[::1000] = classes - 1
    before = labels.copy()
    sampler = ClassPowerSampler(labels, classes, 1.0)
    assert sampler._by_class.dtype == torch.int32  # 4 bytes an image: 40 MB for ten million
    assert np.array_equal(sampler._by_class.numpy(), np.argsort(labels, kind="stable"))
    assert np.array_equal(labels, before)
