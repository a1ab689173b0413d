"""Trials, choices and long runs: what is scored, what is chosen, and that nothing is done twice."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import pytest
from tests.stand_ins import cells_here

from fsgl.data.readers.cifar import load_cifar
from fsgl.files import read_json, write_json
from fsgl.models.backbones import BACKBONES

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def programs() -> Iterator[dict[str, ModuleType]]:
    with pytest.MonkeyPatch.context() as patch, mock.patch.dict(BACKBONES):  # trials add theirs for the whole process
        patch.syspath_prepend(BENCHMARKS)  # as for a script that is started there
        yield {name: importlib.import_module(name) for name in ("trials", "settings_search", "long_runs")}


def rows_of(images: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in images}


def test_trials_are_scored_on_training_images_held_out_before_the_draw(
    programs: dict[str, ModuleType], tmp_path: Path, make_cifar: Any
) -> None:
    trials = programs["trials"]
    root = make_cifar(tmp_path / "images", "cifar10", 5).parent
    experiment = trials.experiment_of("resnet8-slim", "cross-entropy", ["data.imbalance_factor=2"], str(root))
    data, archive = trials.held_out_data(experiment.data), load_cifar("cifar10", root)
    trained, held = rows_of(data.train.images), rows_of(data.test.images)
    assert data.val is None
    assert held <= rows_of(archive.train.images)
    assert not held & trained
    assert not held & rows_of(archive.test.images)
    assert len(set(np.bincount(data.test.labels).tolist())) == 1  # as many of every class
    assert data.counts.max() == len(archive.train.labels) // 10 - len(held) // 10


def test_a_trial_goes_on_from_its_record_alone(
    programs: dict[str, ModuleType], tmp_path: Path, make_cifar: Any
) -> None:
    trials = programs["trials"]
    root = str(make_cifar(tmp_path / "images", "cifar10", 5).parent)
    settings = ["optim.epochs=1", "data.imbalance_factor=2"]

    def make(known: dict[str, Any], more: Sequence[str] = ()) -> Any:
        return trials.make_trial(tmp_path, "one", "resnet8-slim", "cross-entropy", [*settings, *more], root, known)

    trial = make({})
    assert trial.status == "waiting"
    told = json.loads(trial.command([], "cpu")[-1])
    assert trials.run_trial(told) == 0
    row = trials.outcome(make({}))
    assert row["status"] == "complete"
    assert row["cpu_seconds"] > 0
    assert 0 <= row["held_out"]["balanced"] <= 100
    write_json(tmp_path / "record.json", {"content": {"trials": [row]}})
    shutil.rmtree(tmp_path / "one")
    known = trials.known_trials(tmp_path / "record.json")
    again = make(known)
    assert again.status == "complete"
    assert trials.outcome(again) == row
    assert make(known, ["schedule.lr=0.3"]).status == "waiting"  # other settings, another trial


def test_settings_are_chosen_by_the_mean_of_a_familys_trials(programs: dict[str, ModuleType]) -> None:
    search = programs["settings_search"]

    def row(recipe: str, lr: float, decay: float, score: float) -> dict[str, Any]:
        own = {"recipe": recipe, "lr": lr, "weight_decay": decay}
        return {**own, "status": "complete", "held_out": {"balanced": score}}

    pairs = [(lr, decay) for lr in search.RATES for decay in search.DECAYS]
    rows = [row("cross-entropy", *pair, score) for pair, score in zip(pairs, (10, 20, 30, 0), strict=True)]
    rows += [row("balanced-softmax", *pair, score) for pair, score in zip(pairs, (50, 42, 31, 60), strict=True)]
    glmc = [row("glmc", *pair, score) for pair, score in zip(pairs, (1, 2, 3, 4), strict=True)]
    chosen = search.choose([*rows, *glmc])
    assert (chosen["one view"]["lr"], chosen["one view"]["weight_decay"]) == pairs[1]  # 62 of 60, 62, 61, 60
    assert chosen["one view"]["held_out"] == 31
    assert (chosen["glmc"]["lr"], chosen["glmc"]["weight_decay"]) == pairs[3]
    assert search.choose([*rows, *glmc[:3]]).keys() == {"one view"}  # a trial is missing
    assert search.choose([*rows[1:], {**rows[0], "status": "failed"}, *glmc]).keys() == {"glmc"}


@pytest.fixture
def long_runs(
    programs: dict[str, ModuleType], tmp_path: Path, make_cifar: Any, monkeypatch: pytest.MonkeyPatch
) -> ModuleType:
    module = programs["long_runs"]
    for data in ("cifar10", "cifar100"):
        make_cifar(tmp_path / "images", data, 5)
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(module, "FIRST", ("cross-entropy", "glmc"))
    monkeypatch.setattr(module, "SECOND", ())
    chosen = {"one view": {"lr": 0.02, "weight_decay": 0.001}, "glmc": {"lr": 0.03, "weight_decay": 0.002}}
    (tmp_path / "results").mkdir()
    write_json(tmp_path / "results" / module.RECORD, {"content": {"chosen": chosen}})
    return module


def test_long_runs_end_once_and_need_only_their_records_to_know_it(
    long_runs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []
    monkeypatch.setattr(long_runs, "run_grid", cells_here(trained))
    command = ["--root", str(tmp_path / "images"), "--runs", str(tmp_path / "runs"), "--network", "resnet8-slim",
               "--record", str(tmp_path / "records"), "--epochs", "1", "--seeds", "1"]  # fmt: skip
    assert long_runs.main(command) == 0
    assert trained == ["cross-entropy-seed0", "glmc-seed0", "fsgl-inverse-seed0"]
    records = [read_json(path)["content"] for path in sorted((tmp_path / "records").iterdir())]
    assert len(records) == 3
    by_recipe = {record["settings"]["recipe"]: record for record in records}
    assert by_recipe["cross-entropy"]["settings"]["schedule"]["lr"] == 0.02
    assert by_recipe["fsgl-inverse"]["settings"]["optim"]["weight_decay"] == 0.002
    glmc = by_recipe["glmc"]
    assert glmc["heads"].keys() == {"predict", "fc", "fc minus log prior", "fc, rows of length 1"}
    assert glmc["heads"]["predict"]["balanced"] == pytest.approx(glmc["epochs"][-1]["test"]["balanced"])
    assert glmc["calibration"]["ece"] == pytest.approx(glmc["epochs"][-1]["test"]["ece"], abs=0.05)

    for folder in (tmp_path / "runs", tmp_path / "elsewhere"):  # the folders are there; they are gone
        assert long_runs.main(command) == 0
        assert len(trained) == 3
        if folder.exists():
            shutil.rmtree(folder)


@pytest.mark.usefixtures("programs")
def test_published_cells_have_their_authors_settings() -> None:
    """LDAM-DRW's cifar_train.py, typed again: its rates by epoch, batch, decay, and when it re-weights."""
    published = importlib.import_module("published_rivals")
    experiment = published.published("data")("ldam-drw", 1)
    rates = [experiment.schedule.rate(epoch, 200) for epoch in (0, 4, 159, 160, 179, 180)]
    assert rates == pytest.approx([0.02, 0.1, 0.1, 1e-3, 1e-3, 1e-5])
    assert (experiment.optim.batch_size, experiment.optim.weight_decay, experiment.optim.epochs) == (128, 2e-4, 200)
    assert (experiment.backbone, experiment.data.draw, experiment.data.val) == ("resnet32-slim", "ldam", 0)
    assert experiment.method.deferred * 200 == 160
