"""A training that is killed at random moments, and resumed each time, ends with the same bits as one left alone.

Each attempt is a process of its own. Some kill themselves inside a write, at a random call of ``os.replace`` or
``os.fsync``; the others are killed from outside a random time after their first checkpoint. A checkpoint is due every
few hundredths of a second, so that most resumptions begin within an epoch.
"""

from __future__ import annotations

import io
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests import forked

from fsgl.engine.checkpoint import list_checkpoints
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import Experiment, override

KILLS = 10


def experiment() -> Experiment:
    return override(
        make_experiment("fsgl", "digits"), "optim.epochs=16", "data.imbalance_factor=60", "evaluation.every=2"
    )


def attempt(folder: str, resume: bool, die_at: tuple[str, int] | None) -> None:
    """One process's share of the training; die_at: (function of os, number of the call) at which to be killed."""
    import torch

    import fsgl.files
    from fsgl.runs.train import Runtime, train

    torch.set_num_threads(1)
    sys.stdout = io.StringIO()
    if die_at is not None:
        name, number = die_at
        real, calls = getattr(os, name), 0

        def deadly(*arguments: Any) -> Any:
            nonlocal calls
            # Of the renames, only those that make a checkpoint: dead then, its content is written but not yet there.
            calls += name != "replace" or str(arguments[1]).endswith(".pt")
            if calls == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments)

        setattr(fsgl.files.os, name, deadly)
    train(experiment(), Path(folder), Runtime("cpu", trackers=(), checkpoint_seconds=0.06), resume)


def run_until_it_ends(
    folder: Path, resume: bool, die_at: tuple[str, int] | None = None, kill_after: float | None = None
) -> int | None:
    """The exit code. kill_after: seconds after its first checkpoint at which to kill it from outside."""
    before = newest(folder)
    name = attempt.__name__
    process = forked.start(code=f"from tests.test_kill import {name}; {name}({str(folder)!r}, {resume}, {die_at})")
    if kill_after is not None:
        while process.poll() is None and newest(folder) == before:
            time.sleep(0.01)
        time.sleep(kill_after)
        process.kill()
    process.communicate()
    return process.returncode


def newest(folder: Path) -> Path | None:
    return next(iter(list_checkpoints(folder / "checkpoints")), None)


def rows(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_killed_again_and_again_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    assert run_until_it_ends(alone, False) == 0
    dice = random.Random(20261123)
    kills = within_a_checkpoint = 0
    while kills < KILLS:
        if kills % 3 == 2:
            die_at, kill_after = None, 0.3 * dice.random()
        elif kills % 3 == 1:
            die_at, kill_after = ("replace", dice.randrange(1, 5)), None
        else:
            die_at, kill_after = ("fsync", dice.randrange(2, 10)), None
        resume = (killed / "experiment.json").exists()
        code = run_until_it_ends(killed, resume, die_at, kill_after)
        assert code in (-signal.SIGKILL, 0), f"exit code {code}"
        if code == 0:
            break  # it reached the end in spite of everything
        kills += 1
        within_a_checkpoint += die_at is not None and die_at[0] == "replace"
    assert run_until_it_ends(killed, (killed / "experiment.json").exists()) == 0
    assert kills >= 10
    assert within_a_checkpoint >= 3
    for name in ("model.safetensors", "best-val.safetensors", "predictions.npz"):
        assert (killed / name).read_bytes() == (alone / name).read_bytes(), name
    assert rows(killed) == rows(alone)
    assert not list(killed.rglob("*.part"))
