"""Every method on every data set: ``make_experiment("fsgl", "cifar100")``.

Published results to compare with are in docs/results.md, ours beside them, generated from results/.
The settings are METHOD section 7's table (the authors' README; its run.sh differs for ImageNet-LT).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from fsgl.data.known import DATA_SETS, OWN
from fsgl.data.load import BOTH, DataSpec
from fsgl.data.readers.small_images import SMALL_SIDE
from fsgl.errors import UserError, unknown
from fsgl.methods import Glmc
from fsgl.models.feature_scaling import FeatureScalingSpec
from fsgl.models.packaged import missing
from fsgl.models.transfer import PACKAGE, TransferSpec
from fsgl.optim.sam import SamSpec
from fsgl.optim.schedule import Schedule
from fsgl.recipes.evidence import EVIDENCE
from fsgl.recipes.experiment import EvaluationSpec, Experiment, OptimSpec
from fsgl.recipes.rivals import RIVALS, rival


@dataclass(frozen=True)
class Settings:
    """What a data set's experiments share.  gamma: FSGL's published FSM strength;  rho: SAM's radius.

    transfer: what they begin with; where it says cached views, each method takes as many as it is shown.
    """

    backbone: str
    optim: OptimSpec
    schedule: Schedule
    glmc: Glmc
    gamma: float
    rho: float = 0.05
    transfer: TransferSpec = field(default_factory=TransferSpec)


_IMAGENET = Settings(
    "resnext50_32x4d",
    OptimSpec(epochs=135, batch_size=120, weight_decay=2e-4),
    Schedule(lr=0.1, kind="warmup-cosine"),
    Glmc(resample_weighting=0.2, label_weighting=1.0),
    gamma=0.1,
)
# Ours, for photographs of which nothing is known: heads on ImageNet's features, which take seconds where training from
# scratch takes hours. Rate, decay, epochs, network and side: folds of three folders (results/frozen-defaults.json).
_PHOTOGRAPHS = Settings(
    "timm:tf_efficientnet_lite0",
    OptimSpec(epochs=40, batch_size=64, weight_decay=5e-4),
    Schedule(lr=0.05),
    Glmc(resample_weighting=0.2, label_weighting=1.0),
    gamma=0.1,
    transfer=TransferSpec(weights=PACKAGE, train="heads", cached_views=1),
)
# The same from scratch (--scratch): most sets of one's own are far smaller than ImageNet-LT, and want a smaller
# network, smaller batches with a rate to match, and more decay.
_PHOTOGRAPHS_FROM_SCRATCH = Settings(
    "resnet18-imagenet",
    OptimSpec(epochs=100, batch_size=64, weight_decay=5e-4),
    Schedule(lr=0.05, kind="warmup-cosine"),
    Glmc(resample_weighting=0.2, label_weighting=1.0),
    gamma=0.1,
)
# Ours, for small images: the network that learnt most from a CPU-minute (results/network-search.json), at 1/37 of
# resnet34's work, and a rate and decay to match.
_THUMBNAILS = Settings("resnet8-lite", OptimSpec(epochs=100, weight_decay=2e-3), Schedule(lr=0.05), Glmc(), gamma=0.5)
SETTINGS: dict[str, Settings] = {
    "cifar10": Settings("resnet34", OptimSpec(), Schedule(), Glmc(), gamma=0.5),
    "cifar100": Settings("resnet34", OptimSpec(), Schedule(), Glmc(), gamma=1.0),
    # Ours: small enough for two minutes on two cores. Few images want larger steps and less decay.
    "digits": Settings(
        "resnet8-slim",
        OptimSpec(epochs=40, batch_size=32, weight_decay=5e-4),
        Schedule(lr=0.1),
        Glmc(),
        gamma=0.5,
    ),
    "imagenet-lt": _IMAGENET,
    "inaturalist2018": _IMAGENET,
    "places-lt": _IMAGENET,
    "lists": _PHOTOGRAPHS,
    "own": _PHOTOGRAPHS,
}


def fsgl(data: DataSpec, settings: Settings) -> Experiment:
    """FSGL as this project understands it: GLMC + SAM + FSM, every departure of METHOD section 8 set to ours."""
    return _glmc("fsgl", data, settings, settings.rho, FeatureScalingSpec(settings.gamma))


def release(data: DataSpec, settings: Settings) -> Experiment:
    """FSGL as the authors' release behaves (METHOD section 8): for finding out what each departure is worth.

    It trains on all images and reports the best epoch on the test set, which is marked as not a fair figure.
    """
    scaling = FeatureScalingSpec(settings.gamma, rank="index", decimals=2)
    base = _glmc("release", replace(data, normalization="release", val=0.0), settings, settings.rho, scaling)
    method = replace(settings.glmc, beta=1.0, cutmix_label="lambda", feature_scaling=scaling)
    return replace(
        base,
        method=method,
        sam=replace(base.sam, batch_norm="both"),
        schedule=replace(base.schedule, first_epoch="full"),
        evaluation=EvaluationSpec(headline="test"),
    )


def glmc(data: DataSpec, settings: Settings) -> Experiment:
    """GLMC (Du et al., CVPR 2023): no SAM, no FSM."""
    return _glmc("glmc", data, settings, 0.0, FeatureScalingSpec())


def glmc_sam(data: DataSpec, settings: Settings) -> Experiment:
    """GLMC with SAM, no FSM: what FSGL has to beat."""
    return _glmc("glmc-sam", data, settings, settings.rho, FeatureScalingSpec())


def fsgl_same(data: DataSpec, settings: Settings) -> Experiment:
    """Ablation: every feature scaled by the same 1 + gamma."""
    return _glmc("fsgl-same", data, settings, settings.rho, FeatureScalingSpec(settings.gamma, "same"))


def fsgl_half(data: DataSpec, settings: Settings) -> Experiment:
    """Ablation: only the frequent half of the classes is scaled."""
    return _glmc("fsgl-half", data, settings, settings.rho, FeatureScalingSpec(settings.gamma, "half"))


def fsgl_inverse(data: DataSpec, settings: Settings) -> Experiment:
    """Ablation: the tail is scaled up instead of the head."""
    return _glmc("fsgl-inverse", data, settings, settings.rho, FeatureScalingSpec(settings.gamma, "inverse"))


def glmc_balanced_softmax(data: DataSpec, settings: Settings) -> Experiment:
    """GLMC with Balanced Softmax in its rebalanced loss, no SAM, no FSM."""
    base = _glmc("glmc-balanced-softmax", data, settings, 0.0, FeatureScalingSpec())
    return replace(base, method=replace(settings.glmc, rebalancing="balanced-softmax"))


def _glmc(recipe: str, data: DataSpec, settings: Settings, rho: float, scaling: FeatureScalingSpec) -> Experiment:
    method = replace(settings.glmc, feature_scaling=scaling)
    return Experiment(recipe, data, settings.backbone, method, settings.optim, settings.schedule, SamSpec(rho))


def _rival(name: str) -> Callable[[DataSpec, Settings], Experiment]:
    def recipe(data: DataSpec, settings: Settings) -> Experiment:
        return rival(name, data, settings.backbone, settings.optim, settings.schedule)

    recipe.__doc__ = RIVALS[name]
    return recipe


RECIPES: dict[str, Callable[[DataSpec, Settings], Experiment]] = {
    "fsgl": fsgl,
    "release": release,
    "glmc": glmc,
    "glmc-sam": glmc_sam,
    "fsgl-same": fsgl_same,
    "fsgl-half": fsgl_half,
    "fsgl-inverse": fsgl_inverse,
    "glmc-balanced-softmax": glmc_balanced_softmax,
    **{name: _rival(name) for name in RIVALS},
}
for _name, _recipe in RECIPES.items():  # command, published figure, ours: generated, so that they cannot go stale
    _recipe.__doc__ = f"{_recipe.__doc__}\n\n{EVIDENCE.get(_name, '')}"
SAM = "+sam"


def make_experiment(
    recipe: str,
    data: str = "cifar100",
    root: str = "data",
    train_list: str | None = None,
    test_list: str | None = None,
    val_list: str | None = None,
    images: str | None = None,
    side: int | None = None,
    scratch: bool = False,
) -> Experiment:
    """A recipe's experiment on a data set, with the published settings where there are any.

    recipe: one of ``RECIPES``, or one without SAM and "+sam", which is that with SAM of the data set's radius.
    root, train_list, test_list, val_list, images: see ``DataSpec``.  side: of somebody's own images, the longer one in
    pixels, where all are of one size and in memory; None is photographs of any size.  scratch: photographs of one's own
    begin with random weights instead of ImageNet's. Raises UserError for an unknown recipe or data set, and where those
    weights are not installed.
    """
    name = recipe.removesuffix(SAM)
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    if data not in DATA_SETS:
        raise unknown("data set", data, DATA_SETS)
    factor = DATA_SETS[data].default_factor
    spec = DataSpec(data, root, train_list, test_list, factor, val_list=val_list, images=images)
    if data in OWN:
        spec = replace(spec, copies="together")
    small = data in OWN and side is not None and side <= SMALL_SIDE
    settings = _THUMBNAILS if small else SETTINGS[data]
    if settings is _PHOTOGRAPHS and scratch:
        settings = _PHOTOGRAPHS_FROM_SCRATCH
    if settings is _PHOTOGRAPHS and side is None:
        spec = replace(spec, view=BOTH)  # docs/auto.md has what it is worth
    experiment = _transferred(RECIPES[name](spec, settings), settings.transfer)
    if name == recipe:
        return experiment
    if experiment.sam.rho > 0:
        raise UserError(f"the recipe '{name}' has SAM already; leave {SAM} off")
    return replace(experiment, recipe=recipe, sam=SamSpec(settings.rho))


def _transferred(experiment: Experiment, transfer: TransferSpec) -> Experiment:
    if transfer.weights is None:
        return experiment
    if transfer.weights == PACKAGE and (to_do := missing(experiment.backbone)):
        raise UserError(
            f"your own photographs begin with ImageNet's weights, which are not installed: {to_do}; "
            "--scratch trains without"
        )
    # What is mixed by pixels cannot be trained on features: the backbone is then run in every step.
    views = 0 if experiment.method.mixes_pixels else experiment.method.views
    return replace(experiment, transfer=replace(transfer, cached_views=views))
