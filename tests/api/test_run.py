"""A run in Python's hands."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

import fsgl
from fsgl.errors import UserError
from fsgl.runs.saved import load_network, read_predictions

Tail = Callable[..., tuple[Any, Any]]


def test_it_predicts_what_it_was_scored_by(tail: Tail, run: fsgl.Run) -> None:
    (images, words), saved = tail()[1], read_predictions(run.folder)
    predicted = run.predict(images)
    np.testing.assert_array_equal(predicted, np.array(run.class_names)[saved["logits"].argmax(axis=1)])
    assert 100 * np.mean(predicted == words) == pytest.approx(run.metrics["top1"])
    temperature = run.record["result"]["temperature"]
    scaled = np.exp(saved["logits"] / temperature)
    np.testing.assert_allclose(run.predict_proba(images), scaled / scaled.sum(1, keepdims=True), atol=1e-4)


def test_images_in_any_dress_are_predicted_alike(tail: Tail, run: fsgl.Run, tmp_path: Path) -> None:
    images = tail()[1][0][:4]
    levels = np.rint(images * 255).astype(np.uint8)
    expected = run.predict_proba(images)
    for place, image in enumerate(levels):
        Image.fromarray(image).save(tmp_path / f"{place}.png")
    others = (levels, levels[:, None], np.repeat(levels[..., None], 3, axis=3), torch.tensor(images), tmp_path,
              sorted(tmp_path.iterdir()), list(levels))  # fmt: skip
    for given in others:
        np.testing.assert_allclose(run.predict_proba(given), expected, atol=1e-5)
    assert run.predict(np.kron(levels, np.ones((1, 2, 2), dtype=np.uint8))).shape == (4,)  # resized
    with pytest.raises(UserError, match="white is 1"):
        run.predict(images * 255)
    (tmp_path / "x.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"x\.png"):
        run.predict(tmp_path)


def test_priors_move_the_probabilities(tail: Tail, names: np.ndarray, run: fsgl.Run) -> None:
    images = tail()[1][0]
    only = {name: float(name in ("eins", "neun")) for name in names}
    assert set(run.predict(images, prior=only)) <= {"eins", "neun"}
    weights = [only[name] for name in run.class_names]
    np.testing.assert_array_equal(run.predict_proba(images, weights), run.predict_proba(images, only))
    for wrong, said in ({"eins": 1}, "of each class"), ([1, 2], "10 weights"), ([0] * 10, "all weights are 0"):
        with pytest.raises(UserError, match=said):
            run.predict(images, prior=wrong)


def test_it_is_evaluated_on_other_images(tail: Tail, run: fsgl.Run) -> None:
    images, words = tail()[1]
    assert run.evaluate() == run.metrics
    half = run.evaluate((images[::2], words[::2].tolist()))
    assert half["n"] == len(images[::2])
    assert half["top1"] == pytest.approx(100 * np.mean(run.predict(images[::2]) == words[::2]))
    assert half["groups"] == run.metrics["groups"]
    network = load_network(run.folder, "best-val")
    assert run.evaluate(weights="best-val") == network.measure(
        network.data.test, network.logits(network.data.test, torch.device("cpu"))
    )
    with pytest.raises(UserError, match="label zwölf is no class"):
        run.evaluate((images[:1], ["zwölf"]))
    with pytest.raises(UserError, match="labels are int64"):
        run.evaluate(TensorDataset(torch.tensor(images), torch.arange(len(images)) % 10))


def test_it_is_evaluated_on_a_folder_and_on_arrays_in_a_file(tail: Tail, run: fsgl.Run, tmp_path: Path) -> None:
    images, words = tail()[1]
    some = np.concatenate([np.flatnonzero(words == name)[:3] for name in ("eins", "null", "neun")])
    for place in some:
        path = tmp_path / "photos" / words[place] / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rint(images[place] * 255).astype(np.uint8)).save(path)
    found, expected = run.evaluate(tmp_path / "photos"), run.evaluate((images[some], words[some]))
    assert found["n"] == 9
    assert found["top1"] == expected["top1"]
    assert found["per_class"] == expected["per_class"]
    # Of parts the test part counts.
    (tmp_path / "photos" / "zehn").mkdir()
    shutil.copytree(tmp_path / "photos" / "eins", tmp_path / "parts" / "test" / "eins")
    shutil.copytree(tmp_path / "photos", tmp_path / "parts" / "train")
    assert run.evaluate(str(tmp_path / "parts"))["n"] == 3
    Image.new("L", (8, 8)).save(tmp_path / "photos" / "zehn" / "1.png")
    with pytest.raises(UserError, match="'zehn' is no class of this run, which knows"):
        run.evaluate(tmp_path / "photos")
    with pytest.raises(UserError, match="no such file or folder"):
        run.evaluate("nowhere/photos")


def test_it_is_adjusted_into_another_run(tail: Tail, run: fsgl.Run, tmp_path: Path) -> None:
    images = tail()[1][0]
    adjusted = run.adjust("logit-adjustment", 1, out=tmp_path / "adjusted")
    counts = np.array(run.record["class_counts"])
    before, after = (read_predictions(each.folder)["logits"] for each in (run, adjusted))
    np.testing.assert_allclose(after, before - np.log(counts / counts.sum()), atol=1e-3)
    assert adjusted.predict(images).tolist() == np.array(run.class_names)[after.argmax(axis=1)].tolist()
    shifted = run.adjust("prior", unlabelled=images, out=tmp_path / "shifted")
    assert shifted.record["adjustment"]["tuned_on"] == f"em on {len(images)} unlabelled images"
    with pytest.raises(UserError, match="did you mean 'tau-norm'"):
        run.adjust("tau", out=tmp_path / "not")
    assert not (tmp_path / "not").exists()


def test_it_is_exported_by_the_files_suffix(run: fsgl.Run, tmp_path: Path) -> None:
    assert run.export(tmp_path / "model.safetensors").stat().st_size > 1000
    with pytest.raises(UserError, match=r"unknown format '\.onx'"):
        run.export(tmp_path / "model.onx")


def test_it_is_reported_and_shown(run: fsgl.Run, tmp_path: Path) -> None:
    assert run.report(tmp_path / "page", images=False) == tmp_path / "page" / "report.html"
    shown = run._repr_html_()
    assert "<table>" in shown
    assert "&lt;" not in shown
    assert "f\u00fcnf" in shown
    assert f"{run.metrics['balanced']:.1f}" in shown
    assert f"accuracy {run.metrics['balanced']:.1f} %" in repr(run)
    assert "last epoch" in str(run.tables()[0])


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run"):
        fsgl.load(tmp_path)
