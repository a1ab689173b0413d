"""The rivals: one network and a data set's own optimiser, schedule and epochs, so that rows can be compared.

Every method but GLMC is a recipe by itself. Its own settings are those that its paper or its authors' code has for the
data set (``Method.published``), or for the one that it was made on (``Method.origins`` says which); none is tuned here.
"""

from __future__ import annotations

from fsgl.data.load import DataSpec
from fsgl.methods import METHODS, CrossEntropy, Glmc
from fsgl.optim.averaging import AveragingSpec
from fsgl.optim.sam import SamSpec
from fsgl.optim.schedule import Schedule
from fsgl.recipes.experiment import Experiment, OptimSpec

WEIGHT_AVERAGING = "weight-averaging"
# Name to what it says of itself. Cross-entropy first, as what all are compared with.
RIVALS: dict[str, str] = {
    CrossEntropy.name: CrossEntropy.summary,
    **{name: method.summary for name, method in METHODS.items() if method is not Glmc},
    WEIGHT_AVERAGING: "Cross-entropy, weights averaged over late epochs (SWA, Izmailov et al. 2018).",
}
AVERAGED_FROM = 0.75  # share of the epochs, as the paper's CIFAR runs


def rival(recipe: str, data: DataSpec, backbone: str, optim: OptimSpec, schedule: Schedule) -> Experiment:
    """The experiment of a rival, with a data set's shared settings."""
    averaging = AveragingSpec(AVERAGED_FROM) if recipe == WEIGHT_AVERAGING else AveragingSpec()
    method = CrossEntropy() if recipe == WEIGHT_AVERAGING else METHODS[recipe].on(data.name)
    return Experiment(recipe, data, backbone, method, optim, schedule, SamSpec(0.0), averaging=averaging)
