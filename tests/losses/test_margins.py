from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fsgl.losses.margins import ldam_margins, log_prior, relative_frequency

COUNTS = st.lists(st.integers(1, 6000), min_size=1, max_size=30)


@given(COUNTS, st.floats(-1, 2), st.floats(0, 1))
def test_against_loops(counts: list[int], power: float, largest: float) -> None:
    total, top, rarest = sum(counts), max(counts), min(counts)
    tensor = torch.tensor(counts)
    np.testing.assert_allclose(log_prior(tensor), [math.log(n / total) for n in counts], rtol=1e-12)
    np.testing.assert_allclose(relative_frequency(tensor, power), [(n / top) ** power for n in counts], rtol=1e-12)
    scale = largest / (1 / rarest**0.25)  # LDAM, eq. 13: C / n^(1/4), with C such that the largest is as wanted
    # Below the smallest normal number a float has few digits or none left, and two ways to a margin may differ.
    tiny = float(np.finfo(np.float64).tiny)
    np.testing.assert_allclose(ldam_margins(tensor, largest), [scale / n**0.25 for n in counts], rtol=1e-12, atol=tiny)


@given(COUNTS)
def test_prior_is_one(counts: list[int]) -> None:
    assert log_prior(torch.tensor(counts)).exp().sum().item() == pytest.approx(1)
    assert ldam_margins(torch.tensor(counts), 0.5).max().item() == 0.5


@pytest.mark.parametrize("function", [log_prior, lambda n: relative_frequency(n, 1.0), lambda n: ldam_margins(n, 0.5)])
def test_empty_class_has_none(function) -> None:
    with pytest.raises(ValueError, match="class 1 has no image"):
        function(torch.tensor([3, 0]))
