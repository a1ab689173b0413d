from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from fsgl.evaluation.wanted import growth


def test_the_slope_is_that_of_a_logistic_regression() -> None:
    random = np.random.default_rng(0)
    counts = np.geomspace(5, 500, 40).astype(int)
    total = np.full(40, 200)
    right = random.binomial(total, 1 / (1 + np.exp(2 - 0.8 * np.log(counts))))
    found = growth(right, total, counts)
    answers = np.concatenate([np.repeat([1, 0], [r, t - r]) for r, t in zip(right, total, strict=True)])
    plain = LogisticRegression(C=1e6).fit(np.repeat(np.log(counts), total)[:, None], answers)
    assert found.slope == pytest.approx(float(plain.coef_[0, 0]), rel=0.01)
    assert found.rises
    assert found.with_images(counts) == pytest.approx(found.share_K)
    assert found.with_images(found.images_for(0.75)) == pytest.approx(np.full(40, 0.75))


def test_no_rise_is_seen_where_there_is_none() -> None:
    random, seen = np.random.default_rng(1), 0
    counts, total = np.geomspace(5, 500, 12).astype(int), np.full(12, 30)
    for _ in range(200):
        found = growth(random.binomial(total, 0.6), total, counts)
        seen += found.p_value < 0.05
    assert seen < 25  # 5 % of 200, and a little


def test_classes_that_are_all_right_or_unseen() -> None:
    found = growth([10, 10, 10, 0], [10, 10, 10, 0], [100, 10, 5, 1])
    assert np.isfinite(found.slope)
    assert np.isnan(found.share_K[3])
    assert np.isfinite(found.with_images([1, 1, 1, 1])).all()
    with pytest.raises(ValueError, match="three"):
        growth([1, 1], [1, 1], [1, 1])
