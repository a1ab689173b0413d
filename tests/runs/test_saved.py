from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from fsgl.errors import UserError
from fsgl.recipes.experiment import Experiment, override
from fsgl.runs.saved import load_network, read_experiment, read_history, read_record
from fsgl.runs.train import Runtime, train

CPU = torch.device("cpu")


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, to be spoilt."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def refused(read: Callable[[], Any], *words: str) -> str:
    with pytest.raises(UserError) as error:
        read()
    text = str(error.value)
    assert "\n" not in text
    for word in words:
        assert word in text
    return text


def change_record(folder: Path, **changes: Any) -> None:
    record = json.loads((folder / "experiment.json").read_text())
    (folder / "experiment.json").write_text(json.dumps({**record, **changes}))


def test_record_and_experiment_are_read_back(tiny: Experiment, finished: Path, tmp_path: Path) -> None:
    assert read_record(finished)["hash"] == tiny.hash
    assert read_experiment(finished / "experiment.json") == tiny
    (tmp_path / "settings.json").write_text(json.dumps(tiny.to_json()))  # settings alone will do
    assert read_experiment(tmp_path / "settings.json") == tiny


def test_network_scores_as_it_did_in_training(finished: Path) -> None:
    network = load_network(finished)
    test = network.data.test
    logits = network.logits(test, CPU)
    with np.load(finished / "predictions.npz") as saved:
        np.testing.assert_array_equal(logits, saved["logits"])
    assert network.measure(test, logits) == read_history(finished)[-1]["test"]


def test_folder_without_a_run_names_those_inside(finished: Path, tmp_path: Path) -> None:
    refused(lambda: read_record(tmp_path / "nowhere"), "nowhere holds no run", "fsgl train")
    refused(lambda: read_record(finished.parent), "holds no run", f"it holds the runs {finished}")
    refused(lambda: load_network(tmp_path), "holds no run")


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "3", "null", '{"settings": 3}', "[" * 100_000, '{"settings": {}, "data": {"split_hash": 1}}'],
    ids=lambda content: content[:20],
)
def test_record_that_is_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "experiment.json").write_text(content)
    refused(lambda: read_record(tmp_path), "experiment.json: not ")
    refused(lambda: load_network(tmp_path), "experiment.json: not ")


def test_record_that_is_no_text(folder: Path) -> None:
    (folder / "experiment.json").write_bytes(b"\xff\xfe{}")
    refused(lambda: read_record(folder), "experiment.json: not valid JSON")
    (folder / "experiment.json").unlink()
    (folder / "experiment.json").mkdir()
    refused(lambda: read_record(folder), "experiment.json: cannot be read")


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("backbone", "resnet-34", "did you mean 'resnet34'"),
        ("seed", 1.5, "seed must be int"),
        ("seed", True, "seed must be int"),
        ("method", {"name": ["glmc"]}, "unknown method"),
        ("method", {"name": "glmc", "betta": 1}, "did you mean 'method.beta'"),
        ("optim", {"epochs": 0}, "optim.epochs must be 1 or more"),
        ("schedule", {"lr": float("nan")}, "schedule.lr must be a finite number"),
        ("data", [], "'data' must be an object"),
        ("dada", {}, "did you mean 'data'"),
    ],
)
def test_settings_changed_by_hand_to_nonsense(
    setting: str, value: Any, said: str, tiny: Experiment, folder: Path
) -> None:
    change_record(folder, settings={**tiny.to_json(), setting: value})
    refused(lambda: read_experiment(folder / "experiment.json"), "experiment.json: ", said)
    refused(lambda: load_network(folder), "experiment.json: ", said)


def test_settings_without_a_necessary_one(tiny: Experiment, folder: Path) -> None:
    settings = tiny.to_json()
    del settings["backbone"]
    change_record(folder, settings=settings)
    refused(lambda: load_network(folder), "the setting 'backbone' is missing")


def test_history_is_read_and_a_torn_last_line_passed_over(folder: Path) -> None:
    whole = read_history(folder)
    assert [row["epoch"] for row in whole] == [0, 1, 2]
    path = folder / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    assert read_history(folder) == whole[:2]
    path.write_bytes(b"")
    assert read_history(folder) == []


@pytest.mark.parametrize("line", [b"{torn", b"\xff\xfe", b"17", b"{}", b'{"epoch": 1}', b"[" * 100_000])
def test_history_with_a_bad_line_is_refused_by_its_number(line: bytes, folder: Path) -> None:
    path = folder / "metrics.jsonl"
    first, _, third = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([first, line, third]))
    refused(lambda: read_history(folder), f"{path}, line 2: not ")


def test_absent_history_is_refused(folder: Path) -> None:
    (folder / "metrics.jsonl").unlink()
    refused(lambda: read_history(folder), "metrics.jsonl: cannot be read (No such file or directory)")


@pytest.mark.parametrize("content", [b"", b"\0" * 8, b"torn", b"\xff" * 100, None])
def test_weights_that_are_none_are_refused(content: bytes | None, folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] if content is None else content)
    refused(lambda: load_network(folder), "model.safetensors: does not hold this run's weights")


def test_weights_of_another_shape_or_name_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "heads.fc.weight": tensors["heads.fc.weight"][:5].copy()}, path)
    refused(lambda: load_network(folder), "does not hold this run's weights")
    del tensors["heads.fc.weight"]
    save_file(tensors, path)
    refused(lambda: load_network(folder), "does not hold this run's weights")


def test_weights_of_another_run_are_refused(tiny: Experiment, folder: Path, tmp_path: Path) -> None:
    train(override(tiny, "seed=1"), tmp_path / "other", Runtime("cpu", max_steps=1, trackers=()))
    shutil.copy(tmp_path / "other" / "model.safetensors", folder)
    refused(lambda: load_network(folder), "model.safetensors: belongs to another run")
    save_file(load_file(folder / "model.safetensors"), folder / "model.safetensors")  # by whom, it does not say
    refused(lambda: load_network(folder), "model.safetensors: belongs to another run")


def test_weights_that_are_not_there_say_how_the_run_stands(tiny: Experiment, folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    refused(lambda: load_network(folder), "no such weights", "'complete'")
    train(override(tiny, "data.val=0"), tmp_path / "other", Runtime("cpu", max_steps=1, trackers=()))
    refused(lambda: load_network(tmp_path / "other", "best-val"), "best-val.safetensors: no such weights", "1 steps")


def test_other_images_are_refused(folder: Path) -> None:
    change_record(folder, data={**read_record(folder)["data"], "split_hash": "0" * 64})
    refused(lambda: load_network(folder), "other images")
