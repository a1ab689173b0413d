from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from fsgl.data.stream.streams import ArrayStream, Shard, StreamSpec, array_batches
from fsgl.data.stream.transforms import CropFlip, normalise
from fsgl.types import Batch

# Image i has the value i + 1 everywhere, so that a batch says which images it holds.
COUNT, SIDE, CLASSES = 23, 4, 3
IMAGES = np.broadcast_to(np.arange(1, COUNT + 1, dtype=np.uint8)[:, None, None, None], (COUNT, SIDE, SIDE, 1)).copy()
LABELS = np.array([0] * 15 + [1] * 6 + [2] * 2)
SPEC = StreamSpec(batch_size=6, views=2, q=0.5, seed=7)
PLAIN = CropFlip(padding=0, flip=False)


def make_stream(spec: StreamSpec = SPEC, transform: CropFlip = PLAIN) -> ArrayStream:
    return ArrayStream(IMAGES, LABELS, CLASSES, spec, transform, (0.0,), (1 / 255,))


def tensors(batch: Batch) -> list[torch.Tensor]:
    samples = [sample for sample in (batch.original, batch.rebalanced) if sample is not None]
    return [tensor for sample in samples for tensor in (*sample.views, sample.labels)]


def same(first: Sequence[Batch], second: Sequence[Batch]) -> bool:
    pairs = list(zip(first, second, strict=True))
    return all(torch.equal(a, b) for x, y in pairs for a, b in zip(tensors(x), tensors(y), strict=True))


def shown(view: torch.Tensor) -> list[int]:
    """Which images a view holds."""
    return [round(image.max().item()) - 1 for image in view]


def test_an_epoch_is_one_pass_and_its_last_batch_is_smaller() -> None:
    stream = make_stream()
    batches = list(stream.batches(epoch=2))
    assert stream.steps_per_epoch == len(batches) == 4
    assert [len(batch.original.labels) for batch in batches] == [6, 6, 6, 5]
    assert [len(batch.rebalanced.labels) for batch in batches if batch.rebalanced] == [6, 6, 6, 5]
    drawn = [image for batch in batches for image in shown(batch.original.views[0])]
    assert sorted(drawn) == list(range(COUNT))
    assert drawn != sorted(drawn)


def test_every_view_shows_the_image_that_the_label_belongs_to() -> None:
    for batch in make_stream(transform=CropFlip(padding=1)).batches(0):
        for sample in (batch.original, batch.rebalanced):
            assert sample is not None
            assert len(sample.views) == 2
            assert shown(sample.views[0]) == shown(sample.views[1])
            assert LABELS[shown(sample.views[0])].tolist() == sample.labels.tolist()
            assert sample.labels.dtype == torch.int64


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=4))
def test_what_a_step_holds_does_not_depend_on_what_was_asked_before(asked: list[tuple[int, int]]) -> None:
    stream = make_stream(transform=CropFlip(padding=1))
    for epoch, step in asked:
        torch.rand(1)
        found = next(stream.batches(epoch, step))
        expected = list(make_stream(transform=CropFlip(padding=1)).batches(epoch))[step]
        assert same([found], [expected])


@pytest.mark.parametrize("first_step", [0, 1, 3, 4])
def test_resuming_gives_the_tail_of_the_whole_epoch(first_step: int) -> None:
    whole = list(make_stream(transform=CropFlip(padding=1)).batches(1))
    assert same(list(make_stream(transform=CropFlip(padding=1)).batches(1, first_step)), whole[first_step:])


def test_two_iterators_of_one_stream_do_not_disturb_each_other() -> None:
    stream = make_stream(transform=CropFlip(padding=1))
    first, second = [], []
    for one, other in zip(stream.batches(0), stream.batches(0), strict=True):
        first.append(one)
        second.append(other)
    assert same(first, second)


def test_seed_and_epoch_decide_and_torchs_own_generator_does_not() -> None:
    first = list(make_stream().batches(0))
    torch.manual_seed(123)
    before = torch.get_rng_state()
    assert same(list(make_stream().batches(0)), first)
    assert torch.equal(torch.get_rng_state(), before)
    for other in (make_stream().batches(1), make_stream(StreamSpec(6, 2, 0.5, seed=8)).batches(0)):
        assert not same(list(other), first)


def test_views_streams_and_images_are_augmented_independently() -> None:
    """On single bright pixels, so that a crop's place can be read off it."""
    images = np.zeros((400, 5, 5, 1), dtype=np.uint8)
    images[:, 2, 2] = 255
    labels = np.zeros(400, dtype=np.int64)
    stream = ArrayStream(images, labels, 1, StreamSpec(400, 2, 0.0, 1), CropFlip(2, flip=False), (0.0,), (1.0,))
    (batch,) = stream.batches(0)
    assert batch.rebalanced is not None
    places = [view.flatten(1).argmax(dim=1).numpy() for s in (batch.original, batch.rebalanced) for view in s.views]
    for place in places:
        assert scipy.stats.chisquare(np.bincount(place, minlength=25)).pvalue > 0.01
    pairs = [(places[i], places[j]) for i in range(4) for j in range(i)] + [(places[0][1:], places[0][:-1])]
    for first, second in pairs:
        table = np.zeros((5, 5))
        np.add.at(table, (first // 5, second // 5), 1)
        assert scipy.stats.chi2_contingency(table).pvalue > 0.001


def test_every_step_of_every_epoch_has_its_own_draws() -> None:
    """One image over and over, so that only crops differ; and one class, so that only the rebalanced draw does."""
    single = np.zeros((64, 9, 9, 1), dtype=np.uint8)
    single[:, 4, 4] = 255
    labels = np.zeros(64, dtype=np.int64)
    crops = ArrayStream(single, labels, 1, StreamSpec(16, 1, None, 1), CropFlip(4), (0.0,), (1.0,))
    views = [batch.original.views[0] for epoch in range(2) for batch in crops.batches(epoch)]
    assert len({view.numpy().tobytes() for view in views}) == len(views) == 8
    stream = make_stream(StreamSpec(6, 1, 0.0, 1))
    drawn = [
        tuple(shown(batch.rebalanced.views[0]))
        for epoch in range(2)
        for batch in stream.batches(epoch)
        if batch.rebalanced is not None
    ]
    assert len(set(drawn)) == len(drawn) == 8


def test_rebalanced_stream_follows_q() -> None:
    stream = make_stream(StreamSpec(batch_size=23, views=1, q=1.0, seed=3))
    drawn: list[int] = []
    for epoch in range(60):
        for batch in stream.batches(epoch):
            assert batch.rebalanced is not None
            drawn += batch.rebalanced.labels.tolist()
    assert scipy.stats.chisquare(np.bincount(drawn, minlength=3)).pvalue > 0.01


def test_a_method_with_one_stream_gets_the_same_original_images() -> None:
    """So that a baseline and FSGL of one seed see the images in one order."""
    with_q, without = make_stream(), make_stream(StreamSpec(6, 1, None, 7))
    for one, other in zip(with_q.batches(4), without.batches(4), strict=True):
        assert other.rebalanced is None
        assert len(other.original.views) == 1
        assert torch.equal(one.original.labels, other.original.labels)
        assert shown(one.original.views[0]) == shown(other.original.views[0])


def test_a_batch_larger_than_the_set_is_the_set() -> None:
    stream = make_stream(StreamSpec(batch_size=64, views=1, q=None, seed=0))
    assert [sorted(shown(batch.original.views[0])) for batch in stream.batches(0)] == [list(range(COUNT))]


@pytest.mark.parametrize("batch_size", [1, 5, 23, 250])
def test_evaluation_batches_are_all_images_in_order_unaugmented(batch_size: int) -> None:
    batches = list(array_batches(IMAGES, (0.1,), (0.7,), batch_size=batch_size))
    assert max(map(len, batches)) <= batch_size
    assert torch.equal(torch.cat(batches), normalise(IMAGES, (0.1,), (0.7,)))


@pytest.mark.parametrize(("count", "batch_size"), [(2, 6), (3, 7), (4, 22)])
def test_processes_together_hold_what_one_would(count: int, batch_size: int) -> None:
    """Row by row, in both samples and all views; a process that is left without a row has a share of nothing."""
    transform = CropFlip(padding=1)
    whole = list(make_stream(StreamSpec(batch_size, 2, 0.5, 7), transform).batches(1))
    parts = [
        list(make_stream(StreamSpec(batch_size, 2, 0.5, 7, Shard(index, count)), transform).batches(1))
        for index in range(count)
    ]
    for step, batch in enumerate(whole):
        mine = [part[step] for part in parts if part[step].share is not None and part[step].share.own]
        joined = [torch.cat(pieces) for pieces in zip(*map(tensors, mine), strict=True)]
        assert all(torch.equal(one, other) for one, other in zip(tensors(batch), joined, strict=True))
        assert sum(part[step].share.own for part in parts) == batch.images == mine[0].images
