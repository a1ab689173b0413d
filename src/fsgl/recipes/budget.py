"""How much training the classifier gets that GLMC and FSGL use at test.

The weight of the rebalanced loss, 1 - alpha = (t / T)^2, is small while the learning rate is high and large when it has
gone, so ``fc_cb`` learns late and, in a short run, hardly at all. In steps at the base rate and full weight:

    budget = sum over steps of  rate(t) / lr x (t / T)^2 x w        w: mean class weight of an image of the training set
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fsgl.losses.class_weights import power_class_weights
from fsgl.methods import Glmc
from fsgl.recipes.experiment import Experiment, override

PUBLISHED_EPOCHS = 200
# By docs/horizon.md, GLMC, GLMC + SAM and FSGL pass cross-entropy at some 5, 11 and 22 steps.
ENOUGH_EPOCHS, ENOUGH_BUDGET = 40, 20.0


def fc_cb_budget(experiment: Experiment, class_counts: Sequence[int]) -> float | None:
    """Full-rate steps' worth of training of ``fc_cb``; None for methods that have no such classifier.

    class_counts: ``K``, training images of each class.

    >>> from fsgl.recipes import make_experiment
    >>> from fsgl.recipes.experiment import override
    >>> counts = [5000, 500, 50]
    >>> full = make_experiment("fsgl", "cifar10")
    >>> short = override(full, "optim.epochs=10")
    >>> round(fc_cb_budget(short, counts) / fc_cb_budget(full, counts), 3)
    0.042
    """
    method, optim, schedule = experiment.method, experiment.optim, experiment.schedule
    if not isinstance(method, Glmc):
        return None
    images = sum(class_counts)
    steps = math.ceil(images / optim.batch_size)
    rates = (schedule.rate(t, optim.epochs) / schedule.lr for t in range(optim.epochs))
    share = sum(rate * (t / optim.epochs) ** 2 for t, rate in enumerate(rates))
    power = method.label_weighting if method.rebalancing == "weights" else 0.0
    weights = power_class_weights(class_counts, power).tolist()
    return steps * share * sum(w * n for w, n in zip(weights, class_counts, strict=True)) / images


def is_short(runs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether runs of one comparison had too short a schedule for their methods to be judged by.

    Features that are good from the start, as of pretrained weights, need few epochs: those are none.
    """
    found = _budgets(runs)
    return not from_weights(runs[0]) and (
        bool(runs[0]["settings"]["optim"]["epochs"] < ENOUGH_EPOCHS)
        or (found is not None and found[0] < ENOUGH_BUDGET)
    )


def from_weights(run: Mapping[str, Any]) -> bool:
    """Whether a run began with pretrained weights."""
    return (run["settings"].get("transfer") or {}).get("weights") is not None


def budget_note(runs: Sequence[Mapping[str, Any]]) -> str | None:
    """The sentence below a short comparison from scratch of methods which predict by ``fc_cb``; None for others."""
    found = _budgets(runs)
    if found is None or not is_short(runs):
        return None
    return (
        "Short runs: the classifier that GLMC and FSGL use at test, fc_cb, was trained for as much as "
        f"{found[0]:.0f} steps at full rate ({found[1]:.0f} in {PUBLISHED_EPOCHS} epochs), as its weight grows with "
        "(t/T)² while the learning rate falls. Their rows say how far it has come, and little of the methods "
        "(docs/horizon.md)."
    )


def _budgets(runs: Sequence[Mapping[str, Any]]) -> tuple[float, float] | None:
    """Of ``fc_cb``, as trained and in 200 epochs; the least of those that have one."""
    found = []
    for run in runs:
        settings = run["settings"]
        if "feature_scaling" in settings["method"] and not from_weights(run):
            experiment = Experiment.from_json({**settings, "data": {**settings["data"], "root": ""}}, "record")
            full = override(experiment, f"optim.epochs={PUBLISHED_EPOCHS}")
            own, published = (fc_cb_budget(each, run["class_counts"]) for each in (experiment, full))
            if own is not None and published is not None:
                found.append((own, published))
    return min(found, default=None)
