"""A run on cached features is adjusted, evaluated and reported from them: no image passes the backbone, same logits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.stand_ins import counted_passes

import fsgl
from fsgl.commands.cli import main
from fsgl.engine.runtime import Runtime
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import override
from fsgl.report.examination import examine
from fsgl.runs.adjustment import adjust
from fsgl.runs.feature_cache import as_it_was_scored
from fsgl.runs.saved import load_network, read_predictions, read_record
from fsgl.runs.train import train

CPU = torch.device("cpu")
FROZEN = ("transfer.train=heads", "transfer.cached_views=1", "data.val=0.3", "optim.epochs=2", "evaluation.every=2")


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose features are in ``kept`` beside it."""
    folder = tmp_path_factory.mktemp("frozen")
    experiment = override(make_experiment("cross-entropy", "digits"), *FROZEN)
    train(experiment, folder / "run", Runtime("cpu", trackers=(), feature_cache=folder / "kept", show=False))
    return folder / "run"


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images have gone through a backbone, a call each."""
    return counted_passes(monkeypatch)


def of_images(run: Path) -> np.ndarray:
    """The run's test logits, image by image through the whole network."""
    network = load_network(run)
    return network.logits(network.data.test, CPU)


def test_no_image_passes_the_backbone_again(
    frozen: Path, tmp_path: Path, passed: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new"
    record = adjust(frozen, new, "tau-norm")
    assert record["adjustment"]["tuned_on"] == "validation"
    assert main(["evaluate", str(new), "--json", "--device", "cpu"]) == 0
    said = capsys.readouterr()
    assert (json.loads(said.out), said.err) == (record["result"]["last"], "")
    by_hand = fsgl.load(new, device="cpu")
    assert by_hand.evaluate() == record["result"]["last"]
    assert by_hand.adjust("temperature", out=tmp_path / "third").metrics["n"] == 500
    features = examine(frozen).features_ND
    assert passed == []

    network = load_network(frozen)
    np.testing.assert_allclose(features, network.features(network.data.test, CPU), rtol=1e-4, atol=1e-5)
    assert sum(passed) == 500
    for run in (new, tmp_path / "third"):
        np.testing.assert_allclose(read_predictions(run)["logits"], of_images(run), rtol=1e-4, atol=1e-4)


def test_without_the_cache_they_are_computed_and_it_says_so(
    frozen: Path, tmp_path: Path, passed: list[int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fsgl.runs.feature_cache.TELL_EVERY", 0.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    run = tmp_path / "run"
    shutil.copytree(frozen, run)
    record = read_record(run) | {"feature_cache": str(tmp_path / "gone")}
    (run / "experiment.json").write_text(json.dumps(record))
    command = ["evaluate", str(run), "--json", "--device", "cpu"]
    assert main(command) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["n"] == sum(passed) == 500
    assert said.err.startswith("features of test: ")
    assert f"features are kept in {tmp_path / 'fsgl' / 'features'} (" in said.err
    assert main(command) == 0
    assert sum(passed) == 500

    command = ["adjust", str(run), "logit-adjustment", "--feature-cache", str(tmp_path / "x")]
    assert main([*command, "--device", "cpu"]) == 0
    assert "features of val: " in capsys.readouterr().out
    new = tmp_path / "run+logit-adjustment"
    assert read_record(new)["feature_cache"] == str(tmp_path / "x")
    np.testing.assert_allclose(read_predictions(new)["logits"], of_images(new), rtol=1e-4, atol=1e-4)


def test_another_backbone_is_not_given_these_features(frozen: Path, tmp_path: Path, passed: list[int]) -> None:
    run = tmp_path / "run"
    shutil.copytree(frozen, run)
    weights, path = load_file(run / "model.safetensors"), run / "model.safetensors"
    changed = {name: 1.1 * value if name == "backbone.stem.0.weight" else value for name, value in weights.items()}
    assert any(not torch.equal(changed[name], weights[name]) for name in weights)
    save_file(changed, path, {"experiment": read_record(run)["hash"]})
    adjust(run, tmp_path / "new", "logit-adjustment", 0.0, feature_cache=tmp_path / "kept")
    assert sum(passed) > 500
    logits = read_predictions(tmp_path / "new")["logits"]
    np.testing.assert_allclose(logits, of_images(run), rtol=1e-4, atol=1e-4)
    assert not np.allclose(logits, read_predictions(frozen)["logits"], atol=1e-2)


def test_what_was_trained_on_images_is_scored_on_images(finished: Path) -> None:
    network = load_network(finished)
    assert as_it_was_scored(network, read_record(finished), finished, CPU) is network
