from __future__ import annotations

import numpy as np
import pytest
import torch

from fsgl.data.stream.features import FeatureStream, ImageFeatures, feature_batches
from fsgl.data.stream.streams import Shard, StepPositions, StreamSpec

# The value tells where it comes from: 1000 v + 10 i + d for view v of image i.
LABELS = np.array([0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
COUNT, WIDTH, VIEWS = len(LABELS), 3, 4
TABLE = np.stack([
    1000 * view + 10 * np.arange(COUNT)[:, None] + np.arange(WIDTH) for view in range(VIEWS)
]).astype(np.float32)  # fmt: skip
FEATURES = ImageFeatures(tuple(TABLE), LABELS)


def test_every_view_of_a_batch_is_a_cached_one_of_its_image_and_none_is_shown_twice() -> None:
    spec = StreamSpec(4, 2, 0.5, seed=3)
    stream = FeatureStream(FEATURES, 3, spec)
    assert stream.steps_per_epoch == 3
    shown = set()
    for epoch in range(20):
        positions = StepPositions(LABELS, 3, spec).epoch(epoch)
        for (_, original, rebalanced), batch in zip(positions, stream.batches(epoch), strict=True):
            assert batch.rebalanced is not None
            for sample, of in ((batch.original, original), (batch.rebalanced, rebalanced)):
                chosen = [view[:, 0].numpy() // 1000 for view in sample.views]
                assert (chosen[0] != chosen[1]).all()
                for view, number in zip(sample.views, chosen, strict=True):
                    np.testing.assert_array_equal(view.numpy(), TABLE[number.astype(int), of])
                np.testing.assert_array_equal(sample.labels.numpy(), LABELS[of])
                shown |= {(int(v), int(i)) for v, i in zip(chosen[0], of, strict=True)}
    assert len(shown) == VIEWS * COUNT


def test_one_view_alone_is_a_plain_pass_over_the_features() -> None:
    stream = FeatureStream(ImageFeatures(tuple(TABLE[:1]), LABELS), 3, StreamSpec(4, 1, None, seed=0))
    batches = list(stream.batches(0))
    assert all(batch.rebalanced is None for batch in batches)
    seen = torch.cat([batch.original.views[0] for batch in batches])
    np.testing.assert_array_equal(np.sort(seen[:, 0].numpy()), TABLE[0, :, 0])


def test_a_step_is_the_same_whenever_it_is_asked_for_and_however_it_is_divided() -> None:
    def rows(shard: Shard, first: int = 0) -> list[torch.Tensor]:
        stream = FeatureStream(FEATURES, 3, StreamSpec(4, 2, 0.5, 3, shard))
        return [torch.cat([*b.original.views], dim=1) for b in stream.batches(1, first)]

    whole = rows(Shard())
    assert all(torch.equal(a, b) for a, b in zip(rows(Shard(), 1), whole[1:], strict=True))
    parts = [rows(Shard(index, 2)) for index in range(2)]
    for step, expected in enumerate(whole):
        if len(expected) > 1:
            assert torch.equal(torch.cat([part[step] for part in parts]), expected)


def test_more_views_than_there_are_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="2 views of an image are asked for and 1 are cached"):
        FeatureStream(ImageFeatures(tuple(TABLE[:1]), LABELS), 3, StreamSpec(4, 2, None, seed=0))


def test_evaluation_takes_the_first_view_in_order() -> None:
    batches = list(feature_batches(FEATURES, batch_size=4))
    assert [len(batch) for batch in batches] == [4, 4, 3]
    np.testing.assert_array_equal(torch.cat(batches).numpy(), TABLE[0])


def test_some_of_them() -> None:
    some = FEATURES.take(np.array([3, 3, 0]))
    assert len(some) == 3
    np.testing.assert_array_equal(some.views[2], TABLE[2][[3, 3, 0]])
    np.testing.assert_array_equal(some.labels, LABELS[[3, 3, 0]])
