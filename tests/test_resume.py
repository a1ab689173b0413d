"""Interrupted, broken and diverging runs: what was saved stays, and going on gives the same bits."""

from __future__ import annotations

import json
import os
import pickle
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import forked

from fsgl.commands.cli import main
from fsgl.engine.checkpoint import _digest, list_checkpoints
from fsgl.methods import Glmc
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import Experiment, override
from fsgl.runs.train import RunDiverged, Runtime, train

QUIET = Runtime("cpu", trackers=())
FILES = ("model.safetensors", "best-val.safetensors", "predictions.npz")


def experiment(*changes: str) -> Experiment:
    return override(
        make_experiment("fsgl", "digits"), "optim.epochs=3", "optim.batch_size=64", "data.imbalance_factor=60", *changes
    )


def rows(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]


def assert_same(first: Path, second: Path) -> None:
    for name in FILES:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    assert rows(first) == rows(second)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone") / "run"
    train(experiment(), folder, QUIET)
    return folder


@pytest.mark.parametrize("steps", [1, 4, 10])
def test_stopped_within_any_epoch_and_resumed(steps: int, alone: Path, tmp_path: Path) -> None:
    stopped = train(experiment(), tmp_path / "run", replace(QUIET, max_steps=steps))
    assert stopped["status"].startswith(f"stopped after {steps} steps")
    assert train(experiment(), tmp_path / "run", QUIET, resume=True)["status"] == "complete"
    assert_same(tmp_path / "run", alone)


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_saves_and_says_how_to_go_on(number: int, code: int, tmp_path: Path) -> None:
    folder = tmp_path / "a run"
    command = ["train", "fsgl", "--data", "digits", "--epochs", "400", "--track", "none", "evaluation.every=1000"]
    process = forked.start(*command, "--run", folder)
    deadline = time.monotonic() + 400
    while not list_checkpoints(folder / "checkpoints"):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=400)
    assert process.returncode == code
    assert f"fsgl train --run '{folder}' --resume" in last_line(said)
    assert "Traceback" not in said
    assert json.loads((folder / "experiment.json").read_text())["status"].startswith("interrupted after")
    before = len(rows(folder))
    assert main(["train", "--run", str(folder), "--resume", "--max-steps", "1"]) == 2  # nothing is left to try
    assert len(rows(folder)) == before


@pytest.mark.parametrize("damage", ["torn", "flipped", "emptied", "renamed"])
def test_damaged_checkpoint_is_refused_by_name_and_the_one_before_offered(
    damage: str, alone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    train(experiment(), folder, replace(QUIET, max_steps=10))
    newest, before = list_checkpoints(folder / "checkpoints")
    content = bytearray(newest.read_bytes())
    if damage == "renamed":
        newest = newest.rename(newest.with_name(newest.name.replace("step-0", "step-1")))
    else:
        content[len(content) // 2] ^= 1
        newest.write_bytes({"torn": content[:-100], "flipped": content, "emptied": b""}[damage])
    capsys.readouterr()
    assert main(["train", "--run", str(folder), "--resume", "--track", "none"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert str(newest) in said
    assert f"--resume {before}" in said
    assert main(["train", "--run", str(folder), "--resume", str(before), "--track", "none"]) == 0
    assert_same(folder, alone)


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return os.system, (f"touch '{self.target}'",)


def test_checkpoint_cannot_execute_anything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, proof = tmp_path / "run", tmp_path / "executed"
    train(experiment(), folder, replace(QUIET, max_steps=2))
    (checkpoint,) = list_checkpoints(folder / "checkpoints")
    for content in (pickle.dumps(Malicious(proof)), _saved({"state": Malicious(proof)})):
        place = "epoch-0009-step-00000"
        planted = checkpoint.with_name(f"{place}-{_digest(place, content)}.pt")
        planted.write_bytes(content)
        assert main(["train", "--run", str(folder), "--resume"]) == 2
        assert capsys.readouterr().err.count("\n") == 1
        assert not proof.exists()
        planted.unlink()


def _saved(value: object) -> bytes:
    import io

    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def test_full_disk_loses_nothing_that_was_saved(alone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(experiment(), folder, replace(QUIET, max_steps=4))
    kept = {path: path.read_bytes() for path in list_checkpoints(folder / "checkpoints")}
    small = max(map(len, kept.values())) // 2

    limit = f"""
import resource, signal, sys
from fsgl.commands.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({small}, {small}))
sys.exit(main())
"""
    full = forked.run("train", "--run", folder, "--resume", "--track", "none", code=limit)
    assert full.returncode == 2
    assert full.stderr.count("\n") == 1
    assert "cannot be written" in full.stderr
    assert {path: path.read_bytes() for path in list_checkpoints(folder / "checkpoints")} == kept
    assert not list(folder.rglob("*.part"))
    train(experiment(), folder, QUIET, resume=True)
    assert_same(folder, alone)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_loss_that_is_no_number_stops_in_that_step_and_is_named(
    value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    train(experiment(), folder, replace(QUIET, max_steps=7))
    good = list_checkpoints(folder / "checkpoints")[0]
    content = good.read_bytes()
    honest = Glmc.loss

    def spoilt(self: Glmc, model: Any, mixed: Any, progress: float) -> Any:
        losses = honest(self, model, mixed, progress)
        return replace(losses, total=losses.total * value, terms={**losses.terms, "rebalanced": torch.tensor(value)})

    monkeypatch.setattr(Glmc, "loss", spoilt)
    with pytest.raises(RunDiverged, match=rf"rebalanced is {value}; the last good state is {good}"):
        train(experiment(), folder, QUIET, resume=True)
    assert good.read_bytes() == content
    monkeypatch.undo()
    assert train(experiment(), folder, QUIET, resume=True)["status"] == "complete"


def test_a_rate_far_too_high_ends_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "glmc", "--data", "digits", "--epochs", "2", "--lr", "1e30", "--track", "none"]
    assert main([*command, "--run", str(tmp_path / "run")]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "training diverged at epoch 1, step" in said


def test_folders_and_data_are_not_mixed_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    train(experiment(), folder, replace(QUIET, max_steps=1))
    assert main(["train", "fsgl", "--data", "digits", "--run", str(folder)]) == 2
    assert "holds a run already" in capsys.readouterr().err
    record = json.loads((folder / "experiment.json").read_text())
    record["data"]["split_hash"] = "0" * 64
    (folder / "experiment.json").write_text(json.dumps(record))
    assert main(["train", "--run", str(folder), "--resume", "--track", "none"]) == 2
    assert "other images" in capsys.readouterr().err


def test_signal_while_finishing_ends_what_would_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fsgl.runs.train import _Session

    honest = _Session._finish

    def interrupted(self: _Session, history: list) -> dict:
        os.kill(os.getpid(), signal.SIGINT)
        return honest(self, history)

    monkeypatch.setattr(_Session, "_finish", interrupted)
    assert main(["train", "digits", "--epochs", "1", "--track", "none", "--run", str(tmp_path / "both")]) == 130
    assert [path.name for path in (tmp_path / "both").iterdir()] == ["cross-entropy"]
    record = json.loads((tmp_path / "both" / "cross-entropy" / "experiment.json").read_text())
    assert record["status"] == "complete"
    assert "finished and saved" in capsys.readouterr().err
