"""Runs that are stopped, crash or diverge, seen from inside one process: what is saved, and that going on from it
gives the same bits. From outside, by the command line: test_resume.py; by SIGKILL: test_kill.py."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from tests import forked

import fsgl.runs.train
from fsgl.engine.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from fsgl.engine.step import Update, training_step
from fsgl.errors import UserError
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import Experiment, override
from fsgl.runs.train import RunDiverged, RunInterrupted, Runtime, train

QUIET = Runtime("cpu", trackers=())
STEPS = 5  # of an epoch of ``tiny``


def rows(folder: Path, without: tuple[str, ...] = ("seconds",)) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in without} for line in lines]


def record_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "experiment.json").read_text())


def assert_same(first: Path, second: Path) -> None:
    for name in ("model.safetensors", "best-val.safetensors", "predictions.npz"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    assert rows(first) == rows(second)


class Steps:
    """In the display's place: told of each step, it may raise, or send a signal."""

    def __init__(self, act: Any) -> None:
        self.act, self.taken = act, 0

    def step(self, report: Any) -> None:
        self.taken += 1
        self.act(self.taken)

    def epoch(self, row: Any) -> None: ...
    def say(self, text: str) -> None: ...
    def close(self) -> None: ...


def test_stop_where_no_evaluation_is_due_leaves_no_trace(tiny: Experiment, tmp_path: Path) -> None:
    """--max-steps scores what it has; the run that goes on must not choose among more epochs than one left alone."""
    every_other, alone, stopped = override(tiny, "evaluation.every=2"), tmp_path / "alone", tmp_path / "stopped"
    train(every_other, alone, QUIET)
    record = train(every_other, stopped, replace(QUIET, max_steps=STEPS))
    (row,) = rows(stopped)
    assert row["test"] == record["result"]["last"] != None  # noqa: E711
    assert not (stopped / "best-val.safetensors").exists()
    train(every_other, stopped, QUIET, resume=True)
    assert_same(stopped, alone)


@pytest.mark.parametrize("recipe", ["fsgl", "cross-entropy"])
def test_crash_between_checkpoints_within_an_epoch(
    recipe: str, tiny: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = override(make_experiment(recipe, "digits"), "optim.epochs=2", "optim.batch_size=64")
    alone, crashed = tmp_path / "alone", tmp_path / "crashed"
    train(experiment, alone, QUIET)

    def crash(step: int) -> None:
        if step == 4:
            raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(fsgl.runs.train, "make_display", lambda *_: Steps(crash))
        with pytest.raises(ZeroDivisionError):
            train(experiment, crashed, replace(QUIET, checkpoint_seconds=0))
    newest = load_checkpoint(list_checkpoints(crashed / "checkpoints")[0])
    assert (newest["state"]["epoch"], newest["state"]["step"]) == (0, 3)
    spent = newest["state"]["seconds"]
    train(experiment, crashed, QUIET, resume=True)
    assert_same(crashed, alone)
    assert rows(crashed, ())[0]["seconds"] > spent > 0  # the time before the crash counts


def test_checkpoint_at_the_last_step_of_an_epoch(
    tiny: Experiment, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saved within the step, before the epoch is counted as finished: nothing is left of it but its end."""

    def fail(*_: Any) -> NoReturn:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(fsgl.runs.train._Session, "_row", fail)
        with pytest.raises(ZeroDivisionError):
            train(tiny, tmp_path / "run", replace(QUIET, checkpoint_seconds=0))
    newest = load_checkpoint(list_checkpoints(tmp_path / "run" / "checkpoints")[0])
    assert (newest["state"]["epoch"], newest["state"]["step"]) == (0, STEPS)
    train(tiny, tmp_path / "run", QUIET, resume=True)
    assert_same(tmp_path / "run", finished)


@pytest.mark.parametrize("step", [2, STEPS, STEPS + 1])
def test_signal_stops_after_the_step_in_hand(
    step: int, tiny: Experiment, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(taken: int) -> None:
        if taken == step:
            os.kill(os.getpid(), signal.SIGTERM)

    steps = Steps(interrupt)
    with monkeypatch.context() as patched:
        patched.setattr(fsgl.runs.train, "make_display", lambda *_: steps)
        with pytest.raises(RunInterrupted, match=f"--run {tmp_path}/run --resume") as stop:
            train(tiny, tmp_path / "run", QUIET)
    assert stop.value.signal_number == signal.SIGTERM
    assert steps.taken == step
    assert record_of(tmp_path / "run")["status"] == f"interrupted after {step} steps"
    train(tiny, tmp_path / "run", QUIET, resume=True)
    assert_same(tmp_path / "run", finished)


def test_signal_in_the_last_step_of_all_lets_the_run_finish(
    tiny: Experiment, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would follow it, the second half of a demonstration say, does not begin."""

    def interrupt(taken: int) -> None:
        if taken == 3 * STEPS:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(fsgl.runs.train, "make_display", lambda *_: Steps(interrupt))
    with pytest.raises(RunInterrupted, match="is finished and saved"):
        train(tiny, tmp_path / "run", QUIET)
    assert record_of(tmp_path / "run")["status"] == "complete"
    assert_same(tmp_path / "run", finished)


def test_finished_run_resumed_stays_as_it_is(finished: Path, tiny: Experiment, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    assert train(tiny, folder, QUIET, resume=True)["result"] == record_of(finished)["result"]
    assert_same(folder, finished)


def test_older_checkpoint_spelt_another_way_is_taken_up(
    tiny: Experiment, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An absolute path with a relative run folder: the newer, torn one must not outlive the choice."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, "run")
    newest, before = list_checkpoints(Path("run/checkpoints"))
    newest.write_bytes(newest.read_bytes()[:1000])
    train(tiny, Path("run"), QUIET, resume=before.absolute())
    assert_same(tmp_path / "run", finished)
    for path in list_checkpoints(tmp_path / "run" / "checkpoints"):
        load_checkpoint(path)


def test_weights_that_are_no_numbers_are_not_saved(
    tiny: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step of an unscored epoch ends in an infinite weight: its loss was still finite."""
    taken = 0

    def spoilt(update: Update, *arguments: Any, **named: Any) -> Any:
        nonlocal taken
        losses = training_step(update, *arguments, **named)
        taken += 1
        if taken == 2 * STEPS:
            with torch.no_grad():
                next(update.model.parameters()).view(-1)[3] = float("inf")
        return losses

    monkeypatch.setattr("fsgl.engine.fit.training_step", spoilt)
    with pytest.raises(RunDiverged, match="a weight is nan"):
        train(override(tiny, "evaluation.every=3"), tmp_path / "run", QUIET)
    (kept,) = list_checkpoints(tmp_path / "run" / "checkpoints")
    state = load_checkpoint(kept)["state"]
    assert state["epoch"] == 1
    assert all(bool(torch.isfinite(value).all()) for value in state["model"].values())
    assert record_of(tmp_path / "run")["status"].startswith(f"diverged after {2 * STEPS} steps")


def test_divergence_before_the_first_checkpoint(tiny: Experiment, tmp_path: Path) -> None:
    with pytest.raises(RunDiverged, match=r"diverged at epoch 1, step \d: .* is .*; no epoch was finished"):
        train(override(tiny, "schedule.lr=1e30"), tmp_path / "run", QUIET)
    assert not list_checkpoints(tmp_path / "run" / "checkpoints")
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_two_processes_do_not_train_in_one_folder(tiny: Experiment, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    code = f"""
import sys
from pathlib import Path
from fsgl.files import sole_user
with sole_user(Path({str(tmp_path / "run")!r})):
    print("in", flush=True)
    sys.stdin.readline()
"""
    with forked.start(code=code, stdin=forked.PIPE) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "in\n"
        with pytest.raises(UserError, match="another process"):
            train(tiny, tmp_path / "run", QUIET, resume=True)
        other.stdin.close()
    assert_same(tmp_path / "run", finished)
    train(tiny, tmp_path / "run", QUIET, resume=True)


def test_checkpoint_of_another_run_is_refused(tiny: Experiment, finished: Path, tmp_path: Path) -> None:
    other = override(tiny, "seed=1")
    train(other, tmp_path / "run", replace(QUIET, max_steps=1))
    with pytest.raises(UserError, match="belongs to another experiment"):
        train(other, tmp_path / "run", QUIET, resume=list_checkpoints(finished / "checkpoints")[0])


def spoilt(**changes: Any) -> Any:
    return lambda good: {**good, **changes}


PAYLOADS = {
    "empty state": spoilt(state={}),
    "list for state": spoilt(state=[1]),
    "no history": spoilt(history=None),
    "word for number": spoilt(best_validation="high"),
    "nothing else": lambda good: {"experiment": good["experiment"]},
    "no weights": lambda good: {**good, "state": {**good["state"], "model": {}}},
}


@pytest.mark.parametrize("spoil", PAYLOADS.values(), ids=PAYLOADS)
def test_checkpoint_that_does_not_fit_is_refused_in_one_line(spoil: Any, tiny: Experiment, tmp_path: Path) -> None:
    train(tiny, tmp_path / "run", replace(QUIET, max_steps=1))
    folder = tmp_path / "run" / "checkpoints"
    path = save_checkpoint(folder, spoil(load_checkpoint(list_checkpoints(folder)[0])), 9, 0)
    with pytest.raises(UserError, match="does not fit the network") as error:
        train(tiny, tmp_path / "run", QUIET, resume=True)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
