"""How much training the classifier gets that GLMC and FSGL use at test.

The weight of the rebalanced loss, 1 - alpha = (t / T)^2, is small while the learning rate is high and large when it has
gone, so ``fc_cb`` learns late and, in a short run, hardly at all. In steps at the base rate and full weight:

    budget = sum over steps of  rate(t) / lr x (t / T)^2 x w        w: mean class weight of an image of the training set
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from fsgl.losses.class_weights import power_class_weights
from fsgl.methods import Glmc
from fsgl.recipes.experiment import Experiment

PUBLISHED_EPOCHS = 200


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
