"""What a trained run tells beyond its own scores: by its two classifiers, by a temperature, by the length of features.

``closer_look(folder)`` of a complete run gives, for its record:

    heads         accuracy of the classifier used at test ("predict"), of ``fc``, of ``fc`` minus log prior (Menon et
                  al. 2021, tau = 1) and of its rows at length 1 without bias (tau-norm, Kang et al. 2020, tau = 1);
                  of methods with one linear classifier the first two are the same
    calibration   expected calibration error on the test images as they are, and at a temperature
    norms         mean length of the backbone's features of test images, by group of their class

The temperature is fitted on one half of the test images and judged on the other, both ways (halves drawn with seed 0),
so that runs without validation images have one too; no accuracy depends on it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from fsgl.data.load import LoadedData
from fsgl.evaluation.metrics import GROUPS, evaluate_predictions, expected_calibration_error, shot_groups
from fsgl.evaluation.posthoc import fit_temperature, tau_normalised
from fsgl.models.assemble import FourHeadNet, RecognitionNet
from fsgl.runs.saved import load_network


def closer_look(
    folder: Path, data: LoadedData | None = None, device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """data: the run's, None reads them. Raises UserError where the folder holds no complete run, or its images are
    others now."""
    network = load_network(folder, device=device, data=data)
    model, data = network.model, network.data
    assert isinstance(model, RecognitionNet)
    device = next(model.parameters()).device
    features, labels = network.features(data.test, device), data.test.labels
    bounds = {"many": network.experiment.evaluation.many, "few": network.experiment.evaluation.few}
    heads = {name: evaluate_predictions(logits, labels, data.counts, **bounds)
             for name, logits in head_logits(model, features, data.counts).items()}  # fmt: skip
    groups = shot_groups(data.counts, **bounds)
    lengths = np.linalg.norm(features, axis=1)
    return {
        "heads": {name: {key: found[key] for key in ("balanced", *GROUPS)} for name, found in heads.items()},
        "calibration": calibration(classified(model.classifier, features), labels),
        "norms": {name: float(lengths[members[labels]].mean()) if members.any() else None
                  for name, members in groups.items()},
    }  # fmt: skip


def head_logits(model: RecognitionNet, features_ND: np.ndarray, counts_K: np.ndarray) -> dict[str, np.ndarray]:
    """Logits ``N x K`` by name; ``fc`` only where it is linear."""
    logits = {"predict": classified(model.classifier, features_ND)}
    conventional = model.heads.fc if isinstance(model, FourHeadNet) else model.classifier
    if isinstance(conventional, torch.nn.Linear):
        logits["fc"] = classified(conventional, features_ND)
        logits["fc minus log prior"] = logits["fc"] - np.log(counts_K / counts_K.sum())
        rows = tau_normalised(conventional.weight.detach().cpu().numpy(), 1.0)
        logits["fc, rows of length 1"] = features_ND @ rows.T
    return logits


def classified(classifier: torch.nn.Module, features_ND: np.ndarray) -> np.ndarray:
    """Logits ``N x K`` of features."""
    device = next(classifier.parameters()).device
    with torch.inference_mode():
        logits: np.ndarray = classifier.eval()(torch.from_numpy(features_ND).to(device)).cpu().numpy()
    return logits


def calibration(logits_NK: np.ndarray, labels_N: np.ndarray) -> dict[str, float]:
    """Errors in percent, before and after a temperature; the temperature is the mean of both halves'."""
    order = np.random.default_rng(0).permutation(len(labels_N))
    halves = order[::2], order[1::2]
    scaled, temperatures = np.empty_like(logits_NK), []
    for fitted, judged in (halves, halves[::-1]):
        temperatures.append(fit_temperature(logits_NK[fitted], labels_N[fitted]))
        scaled[judged] = logits_NK[judged] / temperatures[-1]
    return {
        "ece": expected_calibration_error(logits_NK, labels_N),
        "ece_at_temperature": expected_calibration_error(scaled, labels_N),
        "temperature": float(np.mean(temperatures)),
    }
