"""The embedded demonstration: FSGL beside plain cross-entropy on scikit-learn's digits, IF 20, no download."""

from __future__ import annotations

from fsgl.recipes.experiment import Experiment
from fsgl.recipes.long_tail import make_experiment


def digits() -> tuple[Experiment, ...]:
    """Both at the same data, backbone, optimiser, epochs and batch size, hence the same number of gradient steps."""
    return (make_experiment("cross-entropy", "digits"), make_experiment("fsgl", "digits"))
