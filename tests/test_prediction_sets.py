"""Prediction sets from end to end: predict, the report, the exported reader, the served page."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import fsgl
from fsgl.commands.cli import main
from fsgl.data.readers.digits import load_digits
from fsgl.deploy.export import describe
from fsgl.deploy.serve.app import make_app
from fsgl.deploy.standalone import Classifier
from fsgl.report.sets import sets_table
from fsgl.runs.prediction_sets import exported_sets, prediction_sets
from fsgl.runs.saved import load_model, read_predictions

BEFORE = Path(__file__).parent / "before_the_move" / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of before there were prediction sets, with 33 validation images."""
    return shutil.copytree(BEFORE, tmp_path_factory.mktemp("sets") / "run")


def files(folder: Path) -> list[str]:
    for place in (0, 7, 90, 300):
        pixels = load_digits().test.images[place, ..., 0]  # type: ignore[union-attr]
        Image.fromarray(pixels).save(folder / f"{place}.png")
    return sorted(str(path) for path in folder.glob("*.png"))


def test_predict_answers_with_the_sets_of_a_loop(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Cross-entropy: the score is -p(k | x) / p(k), and the quantile that of sorted validation scores."""
    typed = ["predict", str(run), *files(tmp_path), "--device", "cpu", "--top-k", "10", "--coverage", "0.9"]
    assert main([*typed, "--format", "json"]) == 0
    said = capsys.readouterr()
    rows, record = json.loads(said.out), json.loads((run / "experiment.json").read_text())
    saved, temperature = read_predictions(run), record["result"]["temperature"] or 1.0
    prior = dict(zip(record["class_names"], np.array(record["class_counts"]), strict=True))
    own = []
    for logits, label in zip(saved["val_logits"].astype(float) / temperature, saved["val_labels"], strict=True):
        shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        own.append(-shares[label] / record["class_counts"][label])
    threshold = sorted(own)[int(np.ceil((len(own) + 1) * 0.9)) - 1]
    for row in rows:
        fit = {each["class"]: -each["probability"] / prior[each["class"]] for each in row["predictions"]}
        expected = [name for name in fit if fit[name] <= threshold * (1 - 1e-9)] or [min(fit, key=lambda k: fit[k])]
        assert row["set"] == expected
    assert f"90 % of cases over all images together, if images are like the {len(own)} validation images" in said.err
    assert main([*typed, "--format", "csv"]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [json.loads(line["set"]) for line in table] == [row["set"] for row in rows]
    assert [found.tolist() for found in fsgl.load(run).predict_sets(files(tmp_path))] == [row["set"] for row in rows]
    capsys.readouterr()
    assert main(typed) == 0
    assert ", ".join(rows[0]["set"]) in capsys.readouterr().out


def test_the_page_and_the_exported_reader_answer_alike(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained, paths = load_model(run), files(tmp_path)
    assert main(["predict", str(run), *paths, "--coverage", "0.8", "--by-class", "0.5", "--format", "json"]) == 0
    expected = [row["set"] for row in json.loads(capsys.readouterr().out)]
    app = make_app(trained, "run", None, ["127.0.0.1"], prediction_sets(run, 0.8, 0.5))
    client, found = TestClient(app, base_url="http://127.0.0.1"), []
    for path in paths:
        answer = client.post("/predict", content=Path(path).read_bytes(), headers={"Content-Type": "image/png"})
        found.append(answer.json()["set"])
    assert [each["classes"] for each in found] == expected
    assert (found[0]["coverage"], found[0]["by_class"]) == (0.8, 0.5)
    metadata = describe(trained, "onnx", True, "", exported_sets(run))
    reader = Classifier.__new__(Classifier)  # without a graph, whose logits are compared elsewhere
    reader.metadata = json.loads(json.dumps(metadata))
    reader.class_names = reader.metadata["class_names"]
    logits = dict(zip(paths, _logits(trained, paths), strict=True))
    monkeypatch.setattr(reader, "logits", logits.__getitem__)
    assert [reader.classes(path, 0.8, 0.5) for path in paths] == expected
    with pytest.raises(ValueError, match=r"no sets of coverage 0.7; there are: 0.8, 0.9"):
        reader.classes(paths[0], 0.7)


def _logits(trained: Any, paths: list[str]) -> list[np.ndarray]:
    from fsgl.deploy.predict import find_images, predict_files

    return [np.asarray(answer) for _, answer in predict_files(trained, find_images(paths)[0])]


def test_the_reports_figures_are_those_of_the_test_images(run: Path) -> None:
    saved, sets = read_predictions(run), prediction_sets(run, 0.9)
    table = sets_table(run, saved, {"many": 100, "few": 20})
    members = sets.members(saved["logits"])
    held = 100 * members[np.arange(len(members)), saved["labels"]].mean()
    assert table.rows[0][:2] == ("over all images", f"{held:.1f} % ({members.sum(axis=1).mean():.1f})")
    assert [row[0] for row in table.rows] == ["over all images", "between", "by class"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--coverage", "1.5"], "above 0 and below 1"),
        (["--coverage", "0.9", "--by-class", "2"], "--by-class must be from 0"),
        (["--by-class", "1"], "--by-class goes with --coverage"),
        (["--coverage", "0.9", "--prior", "uniform"], "leave --prior off, or take --by-class 1"),
        (["--coverage", "0.9", "--weights", "best-val"], "leave --weights off"),
        (["--coverage", "0.9999"], "needs 9999 validation images or more, and the run had"),
    ],
)
def test_refusals_are_one_line(
    run: Path, tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(run / "model.safetensors", run / "best-val.safetensors")
    assert main(["predict", str(run), *files(tmp_path), *options]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)


def test_a_run_without_validation_images_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shutil.copytree(BEFORE, tmp_path / "run")
    kept = {name: array for name, array in read_predictions(folder).items() if not name.startswith("val_")}
    np.savez(folder / "predictions.npz", **kept)  # type: ignore[arg-type]
    assert main(["predict", str(folder), *files(tmp_path), "--coverage", "0.9"]) == 2
    assert "the run had none; train with --val 0.1" in capsys.readouterr().err
