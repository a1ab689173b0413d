"""Photographs shown twice at test, their middle and the whole of them: the same in training's scores and ever after."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fsgl.commands.cli import main
from fsgl.data.load import BOTH, DataSpec, load_data
from fsgl.deploy.export import export
from fsgl.deploy.predict import ImageFile
from fsgl.errors import UserError
from fsgl.recipes import make_experiment
from fsgl.report.why import attention
from fsgl.runs.saved import load_model, load_network, read_predictions


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of wide pictures."""
    folder, random = tmp_path_factory.mktemp("wide"), np.random.default_rng(0)
    for label, count in {"cat": 9, "dog": 6}.items():
        (folder / "wide" / label).mkdir(parents=True)
        for i in range(count):
            pixels = random.integers(0, 256, (40 + i, 90, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "wide" / label / f"{i}.png")
    options = ["--backbone", "resnet8-slim", "--epochs", "1", "--batch-size", "4", "--image-size", "16", "--val", "0"]
    words = ["train", "cross-entropy", "--data", str(folder / "wide"), "--run", str(folder / "run"), *options]
    assert main([*words, "--workers", "0", "--device", "cpu", "--track", "none", f"data.view={BOTH}"]) == 0
    return folder / "run"


def test_features_are_the_mean_of_both_views_and_logits_those_of_the_run(run: Path) -> None:
    network, trained = load_network(run), load_model(run)
    (shown,) = network.data.evaluation_batches(network.data.test, "cpu")
    assert shown.shape[2:] == trained.input_size == (32, 16)
    backbone = trained.model.backbone
    with torch.inference_mode():
        middle, whole = backbone(shown[:, :, :16]), backbone(shown[:, :, 16:])
        torch.testing.assert_close(trained.model.features(shown), (middle + whole) / 2)
        assert not torch.allclose(middle, whole, rtol=0.01)
        training = trained.model.features(shown[:, :, :16])  # a square image is one view, as in training
        torch.testing.assert_close(training, middle)
    np.testing.assert_allclose(trained.model.predict(shown).detach(), read_predictions(run)["logits"], atol=1e-5)
    where = attention(network, shown, np.zeros(len(shown), dtype=np.int64))
    assert where is not None
    assert where.shape[1] == 2 * where.shape[2]


@pytest.mark.parametrize("preprocess", [True, False])
def test_the_exported_graph_makes_both_views_itself(run: Path, tmp_path: Path, preprocess: bool) -> None:
    data = load_network(run).data
    paths = [Path(data.test.location(place)) for place in range(len(data.test))]  # type: ignore[union-attr]
    files = [ImageFile(path.parent, path.name, path.name) for path in paths]
    parity = export(load_model(run), "onnx", tmp_path / "model.onnx", files, preprocess)
    assert parity.ok
    assert parity.images == len(paths)


def test_it_is_the_default_of_photographs_on_pretrained_features_alone() -> None:
    pretrained, scratch = (make_experiment("fsgl", "own", scratch=scratch).data.view for scratch in (False, True))
    assert (pretrained, scratch) == (BOTH, "middle")
    assert make_experiment("fsgl", "own", side=200).data.view == "middle"  # arrays in memory
    with pytest.raises(UserError, match="images in memory are shown as they are"):
        load_data(replace(DataSpec("digits"), view=BOTH))
