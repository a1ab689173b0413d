from __future__ import annotations

import math

import pytest

from fsgl.recipes import make_experiment
from fsgl.recipes.budget import fc_cb_budget
from fsgl.recipes.experiment import override


def test_budget_against_a_loop_over_steps() -> None:
    counts, epochs = [400, 40, 10], 7
    experiment = override(make_experiment("fsgl", "cifar10"), f"optim.epochs={epochs}", "optim.batch_size=32")
    weights = [n**-1.2 for n in counts]
    weights = [3 * weight / sum(weights) for weight in weights]
    mean_weight = sum(weight * n for weight, n in zip(weights, counts, strict=True)) / 450
    total = 0.0
    for step in range(epochs * 15):  # 450 images in batches of 32
        t = step // 15
        total += 0.5 * (1 + math.cos(math.pi * t / epochs)) * (t / epochs) ** 2 * mean_weight
    assert fc_cb_budget(experiment, counts) == pytest.approx(total)
    assert fc_cb_budget(override(experiment, "schedule.lr=0.3"), counts) == pytest.approx(total)
    assert fc_cb_budget(make_experiment("cross-entropy", "cifar10"), counts) is None


def test_balanced_softmax_has_no_class_weights() -> None:
    counts = [400, 40, 10]
    plain = override(make_experiment("glmc", "cifar10"), "method.label_weighting=0")
    assert fc_cb_budget(make_experiment("glmc-balanced-softmax", "cifar10"), counts) == fc_cb_budget(plain, counts)
    assert (fc_cb_budget(make_experiment("glmc", "cifar10"), counts) or 0) < (fc_cb_budget(plain, counts) or 0) / 5
