"""Augmented images' features are begun only where they fit, also when those of the images themselves were kept."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fsgl.automatic.run import SECOND_VIEW, _Auto


@pytest.mark.parametrize(("an_image", "views"), [(0.001, 2), (0.2, 1)])
def test_what_was_kept_says_nothing_of_what_others_cost(an_image: float, views: int) -> None:
    auto = object.__new__(_Auto)
    base = SimpleNamespace(transfer=SimpleNamespace(cached_views=2))
    auto.planned = SimpleNamespace(bases={"fsgl": base})  # type: ignore[assignment]
    auto.clock = SimpleNamespace(spent=10.0, left=100.0)  # type: ignore[assignment]
    auto.data = SimpleNamespace(train=range(100))  # type: ignore[assignment]
    begun: list[int] = []
    auto._featured = lambda views: begun.append(views)  # type: ignore
    auto._forward = lambda network: an_image  # type: ignore[assignment,method-assign]
    auto._features()
    assert begun == list(range(1, views + 1))
    assert auto.an_image == an_image
    assert (100 * an_image <= SECOND_VIEW * 100) == (views == 2)
