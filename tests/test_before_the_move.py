"""Nothing moved that should not: short trainings and a run folder of commit c575ed1, before modules became rooms.

tests/before_the_move/records.json: what ``fsgl train RECIPE --data digits --epochs 3 --batch-size 64
--imbalance-factor 50 --device cpu --threads 1`` ended in there, twice alike. With that torch, NumPy and kind of
processor the same bits are demanded; elsewhere the loss of the first epoch, up to rounding; everywhere the same images
and settings.
tests/before_the_move/run: that run of cross-entropy, without its checkpoints.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from fsgl.commands.cli import main
from fsgl.data.images.sources import ImageArrays
from fsgl.data.readers.digits import load_digits
from fsgl.engine.environment import environment
from fsgl.engine.runtime import Runtime
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import override
from fsgl.runs.train import train

BEFORE = Path(__file__).parent / "before_the_move"
RECORDS = json.loads((BEFORE / "records.json").read_text())


def digest(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 of named arrays, whatever file they come from."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def predictions(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "predictions.npz") as saved:
        return {name: saved[name] for name in saved.files}


def rounds_as_there() -> bool:
    here: dict[str, Any] = environment(torch.device("cpu"))
    now = {name: here["versions"][name] for name in ("torch", "numpy")}
    now |= {"processor": here["processor"], "capability": torch.backends.cpu.get_cpu_capability(), "threads": 1}
    return now == RECORDS["environment"]


@pytest.mark.parametrize("recipe", RECORDS["runs"])
def test_trainings_end_in_the_bits_they_ended_in(recipe: str, tmp_path: Path) -> None:
    before, folder = RECORDS["runs"][recipe], tmp_path / "run"
    torch.set_num_threads(1)
    experiment = override(make_experiment(recipe, "digits"), *RECORDS["settings"])
    if experiment.method.name == "glmc":
        experiment = override(experiment, "method.contrast_weight=1")  # the default on the digits then
    assert experiment.hash == before["hash"]
    record = train(experiment, folder, Runtime("cpu", trackers=()))
    assert record["data"]["split_hash"] == before["split_hash"]
    losses = [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert losses[0] == pytest.approx(before["loss"][0], rel=1e-2)  # later ones multiply every rounding
    if rounds_as_there():
        assert losses == before["loss"]
        assert digest(load_file(folder / "model.safetensors")) == before["weights"]
        assert digest(predictions(folder)) == before["predictions"]
        assert record["result"]["temperature"] == before["temperature"]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return shutil.copytree(BEFORE / "run", tmp_path / "old")


def test_old_run_is_evaluated(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(old), "--device", "cpu", "--json"]) == 0
    then = json.loads((old / "metrics.jsonl").read_text().splitlines()[-1])["test"]
    now = json.loads(capsys.readouterr().out)
    assert now["per_class"] == pytest.approx(then["per_class"], abs=2.1)  # an image of 50 may turn by rounding
    assert now["groups"].items() >= then["groups"].items()  # more is said now
    assert now["n"] == then["n"]


def test_old_run_is_reported(old: Path, tmp_path: Path) -> None:
    assert main(["report", str(old), "--device", "cpu", "--out", str(tmp_path / "page")]) == 0
    assert "cross-entropy on digits" in (tmp_path / "page" / "report.html").read_text()
    assert len(list((tmp_path / "page" / "figures").glob("*.svg"))) >= 7


def test_old_run_is_adjusted(old: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    assert main(["adjust", str(old), "logit-adjustment", "--value", "1", "--out", str(new), "--device", "cpu"]) == 0
    before, after = predictions(old), predictions(new)
    prior = before["class_counts"] / before["class_counts"].sum()
    np.testing.assert_allclose(after["logits"], before["logits"] - np.log(prior), atol=1e-3)


def test_old_run_predicts(old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    test = load_digits().test
    assert isinstance(test, ImageArrays)
    files = [tmp_path / f"{place}.png" for place in (0, 7, 300)]
    for file in files:
        Image.fromarray(test.images[int(file.stem), ..., 0]).save(file)
    assert main(["predict", str(old), *map(str, files), "--format", "json", "--device", "cpu"]) == 0
    named = [row["predictions"][0]["class"] for row in json.loads(capsys.readouterr().out)]
    assert named == [str(predictions(old)["logits"][int(file.stem)].argmax()) for file in files]
