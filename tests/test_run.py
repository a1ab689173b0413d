"""The run folder and what is in it. Interruptions and divergence: test_run_interrupted.py."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from fsgl.engine.checkpoint import list_checkpoints
from fsgl.errors import UserError
from fsgl.evaluation.metrics import evaluate_predictions
from fsgl.evaluation.posthoc import fit_temperature
from fsgl.models.cifar_resnet import CifarResNet
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import Experiment, override
from fsgl.runs.saved import load_network
from fsgl.runs.train import Runtime, train

QUIET = Runtime("cpu", trackers=())
STEPS = 5  # of an epoch of ``tiny``


def strict_json(text: str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def rows(folder: Path, without: tuple[str, ...] = ("seconds",)) -> list[dict[str, Any]]:
    lines = [strict_json(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in without} for line in lines]


def record_of(folder: Path) -> dict[str, Any]:
    return strict_json((folder / "experiment.json").read_text())


def test_folder_holds_what_its_page_says(finished: Path) -> None:
    files = {path.name for path in finished.iterdir() if not path.name.startswith(".")}
    assert files == {
        "experiment.json", "metrics.jsonl", "predictions.npz", "model.safetensors", "best-val.safetensors",
        "checkpoints",
    }  # fmt: skip
    assert len(list_checkpoints(finished / "checkpoints")) == 2
    page = (Path(__file__).parents[1] / "docs" / "run-folder.md").read_text()
    assert all(f"`{name}" in page for name in files)


def test_record_says_what_was_run_on_what(tiny: Experiment, finished: Path) -> None:
    record = record_of(finished)
    assert Experiment.from_json(record["settings"], "here") == tiny
    assert record["hash"] == tiny.hash
    assert record["status"] == "complete"
    data = record["data"]
    assert len(data["split_hash"]) == 64
    assert (data["classes"], data["train"], data["test"]) == (10, sum(record["class_counts"]), 500)
    assert record["class_counts"] == sorted(record["class_counts"], reverse=True)
    assert record["class_names"] == [str(k) for k in range(10)]
    assert {"commit", "python", "versions", "threads", "device"} <= record["environment"].keys()


def test_history_has_an_epoch_a_line(finished: Path) -> None:
    history = rows(finished, without=())
    assert [row["epoch"] for row in history] == [0, 1, 2]
    assert [row["steps"] for row in history] == [STEPS, 2 * STEPS, 3 * STEPS]
    assert all(row["finished"] and row["seconds"] > 0 for row in history)
    assert all(row["images"] == record_of(finished)["data"]["train"] for row in history)
    assert set(history[0]["loss"]) == {"total", "conventional", "rebalanced", "consistency"}
    assert record_of(finished)["result"] == {
        "epochs": 3,
        "steps": 3 * STEPS,
        "train_seconds": sum(row["seconds"] for row in history),
        "last": history[-1]["test"],
        "temperature": fitted_again(finished),
    }


def fitted_again(finished: Path) -> float:
    network = load_network(finished)
    val = network.data.val
    assert val is not None
    return pytest.approx(fit_temperature(network.logits(val, torch.device("cpu")), val.labels), rel=1e-4)  # type: ignore[return-value]


def test_predictions_give_every_figure_again(finished: Path) -> None:
    with np.load(finished / "predictions.npz") as saved:
        logits, labels, counts = saved["logits"], saved["labels"], saved["class_counts"]
    assert logits.shape == (500, 10)
    assert logits.dtype == np.float32
    last = rows(finished)[-1]["test"]
    assert evaluate_predictions(logits, labels, counts) == last
    assert last["top1"] == pytest.approx(100 * np.mean(logits.argmax(axis=1) == labels))
    assert counts.tolist() == record_of(finished)["class_counts"]


def test_best_validation_weights_are_those_of_the_earliest_best_epoch(finished: Path) -> None:
    balanced = [row["val"]["balanced"] for row in rows(finished)]
    network = load_network(finished, "best-val")
    assert network.data.val is not None
    scores = network.measure(network.data.val, network.logits(network.data.val, torch.device("cpu")))
    assert scores["balanced"] == max(balanced)
    last, best = (load_file(finished / name) for name in ("model.safetensors", "best-val.safetensors"))
    same = all(np.array_equal(last[name], best[name]) for name in last)
    assert same == (balanced.index(max(balanced)) == len(balanced) - 1)


def test_without_validation_everything_is_trained_on(tiny: Experiment, finished: Path, tmp_path: Path) -> None:
    record = train(override(tiny, "data.val=0"), tmp_path / "run", replace(QUIET, max_steps=1))
    with_validation = record_of(finished)["data"]
    assert with_validation["val"] > 0
    assert record["data"]["val"] == 0
    assert record["data"]["train"] == with_validation["train"] + with_validation["val"]
    assert not (tmp_path / "run" / "best-val.safetensors").exists()
    (row,) = rows(tmp_path / "run")
    assert row["val"] is None
    assert row["test"]["n"] == 500


@pytest.mark.parametrize(
    ("recipe", "changes", "passes"),
    [("cross-entropy", (), 1), ("glmc", (), 2), ("glmc-sam", (), 4), ("fsgl", (), 4), ("fsgl", ("sam.rho=0",), 2)],
)
def test_passes_of_a_step_are_recorded_as_they_are_run(
    recipe: str, changes: tuple[str, ...], passes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    forward = CifarResNet.forward

    def counted(self: CifarResNet, images: torch.Tensor) -> torch.Tensor:
        if self.training and images.device.type != "meta":
            seen.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(CifarResNet, "forward", counted)
    experiment = override(make_experiment(recipe, "digits"), "optim.batch_size=16", *changes)
    record = train(experiment, tmp_path / "run", replace(QUIET, max_steps=1))
    assert seen == [16] * passes
    assert record["cost"]["passes_per_step"] == passes


def test_cost_is_that_of_the_network_by_hand(finished: Path) -> None:
    """resnet8-slim on 8 x 8 grey images, four heads for 10 classes, added up from the widths."""
    widths, sides = (16, 32, 64), (8, 4, 2)
    parameters, multiply_adds, channels = 9 * 16 + 2 * 16, 9 * 16 * 64, 16
    for width, side in zip(widths, sides, strict=True):
        weights = 9 * channels * width + 9 * width * width
        parameters += weights + 4 * width
        multiply_adds += weights * side * side
        channels = width
    heads = 2 * (64 * 10 + 10) + (64 * 128 + 128) + (128 * 128 + 128)
    assert record_of(finished)["cost"] == {
        "parameters": parameters + heads,
        "backbone_parameters": parameters,
        "multiply_adds_per_image": multiply_adds,
        "passes_per_step": 4,
    }


def test_evaluation_every_other_epoch_and_at_the_end(tiny: Experiment, tmp_path: Path, finished: Path) -> None:
    train(override(tiny, "evaluation.every=2"), tmp_path / "run", QUIET)
    assert [row["test"] is not None for row in rows(tmp_path / "run")] == [False, True, True]
    assert rows(tmp_path / "run")[-1]["test"] == rows(finished)[-1]["test"]  # measuring changes nothing


def test_partial_epoch_is_scored_and_counted(tiny: Experiment, tmp_path: Path) -> None:
    record = train(tiny, tmp_path / "run", replace(QUIET, max_steps=STEPS + 2))
    first, second = rows(tmp_path / "run")
    assert (first["finished"], second["finished"]) == (True, False)
    assert second["images"] == 2 * 64
    assert record["result"]["last"] == second["test"]
    assert record["status"] == f"stopped after {STEPS + 2} steps (--max-steps)"
    with np.load(tmp_path / "run" / "predictions.npz") as saved:
        assert evaluate_predictions(saved["logits"], saved["labels"], saved["class_counts"]) == second["test"]


def test_folder_in_use_and_other_settings_are_refused(tiny: Experiment, finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    with pytest.raises(UserError, match="holds a run already"):
        train(tiny, finished, QUIET)
    with pytest.raises(UserError, match="other settings"):
        train(override(tiny, "schedule.lr=0.2"), finished, QUIET, resume=True)
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


@pytest.mark.parametrize("content", ["[]", "{}", "null", '{"settings": 1}', "{", '{"settings": {}, "data": {}}'])
def test_record_that_is_none_is_refused_in_one_line(content: str, tiny: Experiment, tmp_path: Path) -> None:
    (tmp_path / "experiment.json").write_text(content)
    with pytest.raises(UserError, match=r"experiment\.json") as error:
        train(tiny, tmp_path, QUIET, resume=True)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("device", ["gpu", "meta", "cuda:99", "", "cpu:x"])
def test_device_that_cannot_be_used(device: str, tiny: Experiment, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"device '{device}' cannot be used") as error:
        train(tiny, tmp_path / "run", Runtime(device, trackers=()))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_tracker_that_does_not_exist_leaves_no_folder(tiny: Experiment, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'tensorboard'"):
        train(tiny, tmp_path / "run", Runtime("cpu", trackers=("tensorbord",)))
    assert not (tmp_path / "run").exists()
