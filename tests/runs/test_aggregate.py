"""SADE's aggregation as an adjustment of a run: learnt without labels, kept in the new folder, refused to others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fsgl.engine.runtime import Runtime
from fsgl.errors import UserError
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import override
from fsgl.runs.adjustment import adjust
from fsgl.runs.saved import load_network
from fsgl.runs.train import train


def test_weights_are_learnt_from_images_alone_and_kept(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(override(make_experiment("sade", "digits"), "optim.epochs=2"), run, Runtime("cpu", trackers=()))
    record = adjust(run, tmp_path / "new", "aggregation")
    weights = record["adjustment"]["weights"]
    assert record["adjustment"]["tuned_on"] == "test images, without labels"
    assert sum(weights) == pytest.approx(1)
    assert len({round(weight, 6) for weight in weights}) == 3
    network = load_network(tmp_path / "new")
    assert network.model.classifier.weights_E.tolist() == pytest.approx(weights)
    with torch.inference_mode(), np.load(tmp_path / "new" / "predictions.npz") as saved:
        images = next(iter(network.data.evaluation_batches(network.data.test, "cpu")))
        each = network.model.eval().classifier.each(network.model.features(images)).numpy()
        by_hand = sum(weight * each[:, expert] for expert, weight in enumerate(weights))
        np.testing.assert_allclose(saved["logits"][: len(images)], by_hand, rtol=1e-3, atol=1e-3)
    labels = network.data.test.labels
    labels[:] = np.roll(labels, 7)  # other labels, the same images: the same weights
    again = adjust(run, tmp_path / "again", "aggregation", data=network.data)
    assert again["adjustment"]["weights"] == pytest.approx(weights, rel=1e-5)
    with pytest.raises(UserError, match="aggregation has no --value"):
        adjust(run, tmp_path / "x", "aggregation", 1.0)


def test_networks_without_experts_are_refused(tmp_path: Path) -> None:
    experiment = override(make_experiment("cross-entropy", "digits"), "optim.epochs=1")
    train(experiment, tmp_path / "run", Runtime("cpu", trackers=()))
    with pytest.raises(UserError, match="cross-entropy has no experts to aggregate; sade has"):
        adjust(tmp_path / "run", tmp_path / "new", "aggregation")
    assert not (tmp_path / "new" / "experiment.json").exists()
