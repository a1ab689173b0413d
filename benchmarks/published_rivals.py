"""A rival's published cell at its authors' settings: CIFAR-10-LT, IF 100, the field's slim ResNet-32, 200 epochs.

LDAM-DRW (Cao et al., NeurIPS 2019, table 2): top-1 error 22.97 %, so 77.03 % accuracy, of the best test epoch as its
code reports it. Settings from that code (cifar_train.py): batch 128, SGD with momentum 0.9 and weight decay 2e-4, rate
0.1 with a warm-up of 5 epochs, 1e-2 and 1e-4 of it after epochs 160 and 180; all training images, its own draw.
Balanced Softmax (Ren et al., NeurIPS 2020) and cross-entropy at the same settings, which are the field's.

    nohup nice -n 19 .venv/bin/python benchmarks/long_runs.py --published --root data > published.log 2>&1 &
"""

from __future__ import annotations

from collections.abc import Callable

from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import Experiment, override

WORDS = ("ldam-drw", "balanced-softmax", "cross-entropy")
SETTINGS = (
    "backbone=resnet32-slim", "optim.epochs=200", "optim.batch_size=128", "optim.momentum=0.9",
    "optim.weight_decay=2e-4", "schedule.lr=0.1", "schedule.kind=warmup-steps", "schedule.warmup=5",
    "schedule.drop=0.01", "data.imbalance_factor=100", "data.draw=ldam", "data.val=0", "evaluation.every=5",
)  # fmt: skip


def published(root: str) -> Callable[[str, int], Experiment]:
    """A recipe and a seed -> its run.  root: folder of the CIFAR archives."""

    def experiment(recipe: str, seed: int) -> Experiment:
        return override(make_experiment(recipe, "cifar10", root), *SETTINGS, f"seed={seed}")

    return experiment
