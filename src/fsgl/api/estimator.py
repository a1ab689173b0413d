"""``fsgl.LongTailClassifier``: a recipe as a scikit-learn estimator, for images."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils import Tags

from fsgl.api.given import logits_of, prior_weights, setting_name, split_settings
from fsgl.data.images.sources import ImageArrays, Source
from fsgl.data.load import load_data
from fsgl.data.readers.arrays import read_arrays
from fsgl.engine.runtime import Runtime
from fsgl.errors import UserError
from fsgl.evaluation.posthoc import probabilities
from fsgl.recipes import RECIPES, SAM, make_experiment
from fsgl.recipes.experiment import earlier_names, setting_names
from fsgl.recipes.on_data import SHORT_NAMES, experiment_on
from fsgl.runs.saved import TrainedModel, load_model, read_history
from fsgl.runs.train import train

_OWN = ("recipe", "epochs", "val", "device", "show")
_RUNTIME = ("workers", "precision", "compile", "cuda_graphs")


class LongTailClassifier(ClassifierMixin, BaseEstimator):
    """A network trained by a recipe, with scikit-learn's interface.

    recipe: one of ``fsgl recipes``.  epochs: passes over the images; None as the recipe has it.  val: the share of the
    images of ``fit`` that is set aside, by which the probabilities are calibrated; 0 trains on all.
    device: "auto", "cpu", "cuda", ...  show: print progress.
    settings: any setting by its short name (lr=0.1, backbone="resnet20-slim", seed=1) or its own, with two underscores
    for a dot (sam__rho=0.1). ``get_params`` has those that were given; a grid search may set any.

    X is images: ``N x H x W``, ``N x H x W x C`` or ``N x C x H x W``, 8-bit, or from 0 to 1 or 255. y is labels: whole
    numbers, names or booleans. ``score`` is accuracy; for the tail's sake pass ``scoring="balanced_accuracy"``.

    After ``fit``: ``classes_``, the labels in the order of ``predict_proba``'s columns; ``history_``, a row for each
    epoch; ``network_``, the network with what it needs to be used. Nothing is left on the disk.
    Raises ValueError, a sentence, for what cannot be understood.

    >>> import fsgl
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> model = fsgl.LongTailClassifier("cross-entropy", epochs=1, backbone="resnet8-slim", device="cpu")
    >>> model.fit(digits.images[:300], digits.target[:300]).predict_proba(digits.images[300:310]).shape
    (10, 10)
    >>> model.get_params()["backbone"]
    'resnet8-slim'
    """

    def __init__(
        self, recipe: str = "fsgl", *, epochs: int | None = None, val: float = 0.1, device: str = "auto",
        show: bool = False, **settings: Any,
    ) -> None:  # fmt: skip
        self.recipe = recipe
        self.epochs = epochs
        self.val = val
        self.device = device
        self.show = show
        self.__dict__.update(settings)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Everything that was given, by name."""
        given = {name for name in vars(self) if not name.startswith("_") and not name.endswith("_")}
        return {name: getattr(self, name) for name in sorted(given)}

    def set_params(self, **params: Any) -> Self:
        """Change what is to be fitted. Raises ValueError for a name that is no setting of this recipe."""
        recipe = params.get("recipe", self.recipe)
        for name in params:
            self._require_setting(name, recipe)
        self.__dict__.update(params)
        return self

    def fit(self, X: Any, y: Any) -> Self:
        """Train on images and labels."""
        with _as_value_errors():
            source = read_arrays((X, y))
            own = {name: value for name, value in self.get_params().items() if name not in ("recipe", "device", "show")}
            if own["epochs"] is None:
                del own["epochs"]
            assignments, runtime = split_settings(own)
            # No images are spared for a test: whoever fits has them elsewhere. A run needs some to be scored on; these
            # few are of no account, and nobody is told their figures.
            kept = replace(source, test=_first_of_each(source))
            experiment, _ = experiment_on(self.recipe, "arrays.npz", {}, assignments, kept)
            how = Runtime(**{"trackers": (), "show": self.show, "device": self.device, **runtime})
            data = load_data(experiment.data, kept)
            experiment = replace(experiment, evaluation=replace(experiment.evaluation, every=experiment.optim.epochs))
            with tempfile.TemporaryDirectory(prefix="fsgl-") as folder:
                train(experiment, Path(folder) / "run", how, data=data)
                self.network_: TrainedModel = load_model(Path(folder) / "run")
                history = read_history(Path(folder) / "run")
        self.history_ = [{name: value for name, value in row.items() if name != "test"} for row in history]
        self.classes_ = np.array(source.given["classes"])
        self._white = source.given["white"]
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The most probable label of each image, ``N``."""
        best = self._logits(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def predict_proba(self, X: Any, prior: Any = None) -> np.ndarray:
        """Probabilities ``N x K``, calibrated where a validation share was set aside. prior: as of ``fsgl.Run``."""
        logits = self._logits(X)
        with _as_value_errors():
            weights = None if prior is None else prior_weights(self.network_, prior)
        return probabilities(logits, self.network_.temperature, weights, self.network_.assumed_prior)

    def decision_function(self, X: Any) -> np.ndarray:
        """Logits ``N x K``; of two classes, by scikit-learn's custom, the second one's less the first's, ``N``."""
        logits = self._logits(X).astype(np.float64)
        return np.asarray(logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits)

    def _logits(self, X: Any) -> np.ndarray:
        if not hasattr(self, "network_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet; call fit(images, labels)")
        with _as_value_errors():
            device = Runtime(self.device).torch_device()
            self.network_.model.to(device)
            return logits_of(self.network_, X, device, white=self._white)

    def _require_setting(self, name: str, recipe: str) -> None:
        if name in _OWN or name in _RUNTIME or name in SHORT_NAMES:
            return
        if str(recipe).removesuffix(SAM) not in RECIPES:
            return  # what is wrong then is the recipe, and fit says so
        experiment = make_experiment(recipe, "own")
        known = {*setting_names(experiment), *earlier_names(experiment)}
        if setting_name(name) not in known:
            there_are = ", ".join((*_OWN, *SHORT_NAMES))
            raise ValueError(
                f"Invalid parameter {name!r} for estimator {type(self).__name__} with the recipe {recipe!r}; there are "
                f"{there_are}, and, with __ for a dot, what 'fsgl train {recipe} --settings' lists"
            )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = False, True
        tags.input_tags.allow_nan = False
        tags.non_deterministic = False
        return tags


def _first_of_each(source: Source) -> ImageArrays:
    assert isinstance(source.train, ImageArrays)
    return source.train.take(np.unique(source.train.labels, return_index=True)[1])


class _as_value_errors:
    """Within: a UserError becomes the ValueError that scikit-learn's tools expect."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, UserError):
            raise ValueError(str(error)) from None
