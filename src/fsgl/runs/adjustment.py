"""A saved run, corrected without training: a new run folder with another classifier, tuned on validation images only.

The maths is in posthoc.py. What comes out is a run like any other (evaluate, predict, export, serve, report read it);
its experiment.json names the parent, what was done, and what it was chosen by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fsgl.data.load import LoadedData
from fsgl.engine.processes import ALONE
from fsgl.errors import UserError, unknown
from fsgl.evaluation.metrics import GROUPS, evaluate_predictions, shot_groups
from fsgl.evaluation.posthoc import (
    estimate_prior_bbse,
    estimate_prior_em,
    fit_group_temperatures,
    fit_temperature,
    groups_that_tell,
    max_normed,
    probabilities,
    tau_normalised,
)
from fsgl.models.assemble import RecognitionNet
from fsgl.models.heads import ScaledLinear
from fsgl.runs.aggregate import aggregate
from fsgl.runs.feature_cache import as_it_was_scored
from fsgl.runs.folder import RunFolder
from fsgl.runs.network import ModelWithData, readable
from fsgl.runs.saved import assumed_prior, load_network, read_history, read_record, require_complete
from fsgl.runs.scoring import Scorer

ESTIMATORS = ("em", "bbse")
RAREST = 1e-4  # of a class's even share, at least: with a frequency of 0 a logit would be -infinity


@dataclass(frozen=True)
class Adjustment:
    """What was done.  value: of its one number; None where it has none.  assumed_prior: class weights ``K`` that the
    new probabilities hold for."""

    name: str
    value: float | None
    tuned_on: str
    details: dict[str, Any]
    assumed_prior: np.ndarray


@dataclass(frozen=True)
class RunToAdjust:
    """A run's classifier as figures, and what it is judged by.

    weight_KD, bias_K: float64.  features, labels: of the validation images, None without any.
    """

    network: ModelWithData
    weight_KD: np.ndarray
    bias_K: np.ndarray
    features_ND: np.ndarray | None
    labels_N: np.ndarray | None
    assumed_prior: np.ndarray

    @property
    def data(self) -> LoadedData:
        return self.network.data

    def validation(self) -> tuple[np.ndarray, np.ndarray]:
        """Logits and labels. Raises UserError where the run had no validation images."""
        if self.features_ND is None or self.labels_N is None:
            raise UserError("the run had no validation images, and nothing is tuned on test images; give --value")
        return self.features_ND @ self.weight_KD.T + self.bias_K, self.labels_N

    def best(
        self, values: np.ndarray, usual: float, classifier: Callable[[float], tuple[np.ndarray, np.ndarray]]
    ) -> float:
        """Of these the value with the best balanced accuracy on the validation images; of equals the nearest to the
        usual one, as a small validation set tells few values apart."""
        self.validation()
        scores = []
        values = values[np.argsort(np.abs(values - usual), kind="stable")]
        for value in values:
            weight, bias = classifier(float(value))
            assert self.features_ND is not None
            assert self.labels_N is not None
            metrics = evaluate_predictions(self.features_ND @ weight.T + bias, self.labels_N, self.data.counts)
            scores.append(metrics["balanced"])
        return float(values[int(np.argmax(scores))])


# Given the saved run and a value, or None for one to be tuned: the new weight and bias, the adjustment.
Change = Callable[[RunToAdjust, float | None], tuple[np.ndarray, np.ndarray, Adjustment]]


def _tuned(
    name: str, symbol: str, usual: Callable[[RunToAdjust], float], values: Callable[[RunToAdjust], np.ndarray],
    classifier: Callable[[RunToAdjust, float], tuple[np.ndarray, np.ndarray]],
) -> Change:  # fmt: skip
    def change(saved: RunToAdjust, value: float | None) -> tuple[np.ndarray, np.ndarray, Adjustment]:
        tuned = value is None
        if value is None:
            value = saved.best(values(saved), usual(saved), lambda each: classifier(saved, each))
        weight, bias = classifier(saved, value)
        details = {symbol: value}
        uniform = np.ones(len(bias))
        return weight, bias, Adjustment(name, value, "validation" if tuned else "given", details, uniform)

    return change


def _log_prior(saved: RunToAdjust) -> np.ndarray:
    counts = np.maximum(saved.data.counts, 1)
    return np.asarray(np.log(counts / counts.sum()))


def _lengths(saved: RunToAdjust) -> np.ndarray:
    return np.linalg.norm(saved.weight_KD, axis=1)


def _temperature(saved: RunToAdjust, value: float | None) -> tuple[np.ndarray, np.ndarray, Adjustment]:
    tuned = value is None
    if value is None:
        value = fit_temperature(*saved.validation())
    done = Adjustment(
        "temperature", value, "validation" if tuned else "given", {"temperature": value}, saved.assumed_prior
    )
    return saved.weight_KD / value, saved.bias_K / value, done


# Each with its usual value: of logit adjustment the one that is optimal where the network has learned the posterior
# (Menon et al., section 4.1), of tau-norm the paper's for ImageNet-LT.
CHANGES: dict[str, Change] = {
    "tau-norm": _tuned(
        "tau-norm", "tau", lambda saved: 0.7, lambda saved: np.arange(0, 41) / 20,
        lambda saved, tau: (tau_normalised(saved.weight_KD, tau), np.zeros_like(saved.bias_K)),
    ),
    "max-norm": _tuned(
        "max-norm", "radius", lambda saved: float(np.median(_lengths(saved))),
        lambda saved: np.linspace(_lengths(saved).max(), 0.5 * _lengths(saved).min(), 41),
        lambda saved, radius: (max_normed(saved.weight_KD, radius), saved.bias_K),
    ),
    "logit-adjustment": _tuned(
        "logit-adjustment", "tau", lambda saved: 1.0, lambda saved: np.arange(0, 61) / 20,
        lambda saved, tau: (saved.weight_KD, saved.bias_K - tau * _log_prior(saved)),
    ),
    "temperature": _temperature,
}  # fmt: skip
WITHOUT_VALUE = ("group-temperature", "aggregation", "prior")
ADJUSTMENTS = (*CHANGES, *WITHOUT_VALUE)


def adjust(
    run: Path,
    out: Path,
    name: str,
    value: float | None = None,
    prior_K: np.ndarray | None = None,
    unlabelled: np.ndarray | None = None,
    estimator: str = "em",
    device: torch.device | str = "cpu",
    workers: int = 0,
    data: LoadedData | None = None,
    feature_cache: Path | None = None,
) -> dict[str, Any]:
    """Write the run ``out``, which is ``run`` with this adjustment, and return its record.

    name: of ``ADJUSTMENTS``.  value: tau, the radius or the temperature; None tunes it on the validation images.
    "prior" takes ``prior_K`` (weights of any sum), or estimates it from ``unlabelled`` images' logits ``N x K`` by an
    estimator of ``ESTIMATORS``.  data: the run's, where they are in memory.  feature_cache: as
    of ``as_it_was_scored``.  Raises UserError.
    """
    if name not in ADJUSTMENTS:
        raise unknown("adjustment", name, ADJUSTMENTS)
    if value is not None and name in WITHOUT_VALUE:
        raise UserError(f"{name} has no --value")
    lowest = 0 if name in ("tau-norm", "logit-adjustment") else np.finfo(float).tiny
    if value is not None and not lowest <= value < float("inf"):
        raise UserError(f"--value of {name} must be {'0 or more' if lowest == 0 else 'above 0'}, not {value}")
    record = read_record(run)
    require_complete(run, record, "only what is complete can be adjusted")
    network = load_network(run, device=device, data=data)
    if feature_cache is not None and network.experiment.transfer.cached_views:
        record["feature_cache"] = str(feature_cache.absolute())
    files, device = RunFolder(out), torch.device(device)
    files.claim(network.experiment)
    model = network.model
    assert isinstance(model, RecognitionNet)
    if model.temperature_K is not None:
        raise UserError(f"{run} has temperatures by group already; adjust its parent {record['parent']['run']}")
    if name == "aggregation":
        weights = aggregate(network, device, workers)
        prior = assumed_prior(record, network.experiment, network.data.counts)
        done = Adjustment(name, None, "test images, without labels", {"weights": weights}, prior)
        network = as_it_was_scored(network, record, feature_cache, device, workers)
        return _write(files, run, record, network, done, device, workers)
    network = as_it_was_scored(network, record, feature_cache, device, workers)
    saved = _to_adjust(run, record, network, device, workers)
    temperatures = None
    if name == "group-temperature":
        weight, bias = saved.weight_KD, saved.bias_K
        groups = shot_groups(saved.data.counts, many=network.experiment.evaluation.many,
                             few=network.experiment.evaluation.few)  # fmt: skip
        group_K = np.select([groups[group] for group in GROUPS], range(len(GROUPS)))
        temperatures = fit_group_temperatures(*saved.validation(), group_K)
        by_group = {group: float(temperatures[members][0]) for group, members in groups.items() if members.any()}
        own = {GROUPS[place] for place in groups_that_tell(*saved.validation(), group_K)}
        details = {"temperatures": by_group, "as_all_images": [group for group in by_group if group not in own]}
        done = Adjustment(name, None, "validation", details, saved.assumed_prior)
    elif name == "prior":
        weight, bias, done = _to_prior(saved, prior_K, unlabelled, estimator, record)
    else:
        weight, bias, done = CHANGES[name](saved, value)
    _put(model, weight, bias, temperatures)
    return _write(files, run, record, network, done, device, workers)


def _to_adjust(
    run: Path, record: dict[str, Any], network: ModelWithData, device: torch.device, workers: int
) -> RunToAdjust:
    classifier = network.model.classifier
    if not isinstance(classifier, nn.Linear):
        raise UserError(f"{run}: the classifier of {network.experiment.method.name} is not linear; it is not adjusted")
    weight, bias = classifier.weight.detach().cpu().double(), classifier.bias.detach().cpu().double()
    if isinstance(classifier, ScaledLinear):
        factors = classifier.factors_K.detach().cpu().double()
        weight = weight * factors[:, None]
        bias = bias * factors if classifier.scale_bias else bias
    val, features, labels = network.data.val, None, None
    if val is not None:
        features, labels = readable(network.features(val, device, workers), val.labels)
    return RunToAdjust(
        network, weight.numpy(), bias.numpy(),
        None if features is None else features.astype(np.float64), labels,
        assumed_prior(record, network.experiment, network.data.counts),
    )  # fmt: skip


def _to_prior(
    saved: RunToAdjust,
    prior: np.ndarray | None,
    unlabelled: np.ndarray | None,
    estimator: str,
    record: dict[str, Any],
) -> tuple[np.ndarray, np.ndarray, Adjustment]:
    if estimator not in ESTIMATORS:
        raise unknown("estimator", estimator, ESTIMATORS)
    if (prior is None) == (unlabelled is None):
        raise UserError("prior needs either --prior, or --unlabelled images to estimate it from")
    temperature = float((record["result"] or {}).get("temperature") or 1.0)
    assumed, how = saved.assumed_prior / saved.assumed_prior.sum(), "given"
    if prior is None:
        assert unlabelled is not None
        try:
            if estimator == "em":
                prior = estimate_prior_em(probabilities(unlabelled, temperature), assumed)
            else:
                logits, labels = saved.validation()
                prior = estimate_prior_bbse(logits.argmax(1), labels, unlabelled.argmax(1), len(assumed))
        except ValueError as error:
            raise UserError(f"the class frequencies cannot be estimated by {estimator}: {error}") from None
        how = f"{estimator} on {len(unlabelled)} unlabelled images"
    shares = np.maximum(prior / prior.sum(), RAREST / len(prior))
    shares = shares / shares.sum()
    # The probabilities are those of logits / T, so a shift of theirs is T times as large on the logits.
    bias = saved.bias_K + temperature * np.log(shares / assumed)
    return saved.weight_KD, bias, Adjustment("prior", None, how, {"prior": shares.tolist()}, shares)


def _put(model: RecognitionNet, weight: np.ndarray, bias: np.ndarray, temperatures: np.ndarray | None) -> None:
    classifier: Any = model.classifier
    with torch.no_grad():
        classifier.weight.copy_(torch.from_numpy(weight))
        classifier.bias.copy_(torch.from_numpy(bias))
        if isinstance(classifier, ScaledLinear):
            classifier.factors_K.fill_(1)  # they are in the rows now
    if temperatures is not None:
        model.register_buffer("temperature_K", torch.from_numpy(temperatures).to(classifier.weight))


def _write(
    files: RunFolder, run: Path, record: dict[str, Any], network: ModelWithData, done: Adjustment, device: torch.device,
    workers: int,
) -> dict[str, Any]:  # fmt: skip
    scorer = Scorer(network, device, workers, ALONE)
    with files.in_use():
        files.claim(network.experiment)
        scores = scorer.scores()
        predictions, temperature = scorer.predictions()
        row = {**read_history(run)[-1], **scores}
        new = {
            **record,
            "parent": {"run": str(run), "weights": "last"},
            "adjustment": {
                "name": done.name,
                "tuned_on": done.tuned_on,
                **done.details,
                "assumed_prior": (done.assumed_prior / done.assumed_prior.sum()).tolist(),
            },
            "result": {**record["result"], "last": scores["test"], "temperature": temperature},
        }
        files.predictions(**predictions)
        files.weights("model.safetensors", network.model, record["hash"])
        files.history([row])
        files.record(new)
    return new
