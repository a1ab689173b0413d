"""A training that is killed at random moments, and resumed each time, ends with the same bits as one left alone.

Each attempt is a process of its own. Some kill themselves inside a write, at a random call of ``os.replace`` or
``os.fsync``; the others are killed from outside after a random time. A checkpoint is due every few hundredths of a
second, so that most resumptions begin within an epoch.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from fsgl.experiment import Experiment, override
from fsgl.recipes import make_experiment

KILLS = 12


def experiment() -> Experiment:
    return override(
        make_experiment("fsgl", "digits"), "optim.epochs=16", "data.imbalance_factor=60", "evaluation.every=2"
    )


def attempt(folder: Path, resume: bool, die_at: tuple[str, int] | None) -> None:
    """One process's share of the training; die_at: (function of os, number of the call) at which to be killed."""
    import torch

    import fsgl.files
    from fsgl.run import Runtime, train

    torch.set_num_threads(1)
    sys.stdout = io.StringIO()
    if die_at is not None:
        name, number = die_at
        real, calls = getattr(os, name), 0

        def deadly(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments)

        setattr(fsgl.files.os, name, deadly)
    train(experiment(), folder, Runtime("cpu", trackers=(), checkpoint_minutes=0.001), resume)


def run_until_it_ends(folder: Path, resume: bool, die_at: tuple[str, int] | None, seconds: float | None) -> int | None:
    process = multiprocessing.get_context("spawn").Process(target=attempt, args=(folder, resume, die_at))
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode


def rows(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_killed_again_and_again_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    assert run_until_it_ends(alone, False, None, None) == 0
    dice = random.Random(20261123)
    kills = within_a_write = 0
    while kills < KILLS:
        if kills % 3 == 2:
            die_at, seconds = None, 3 + 2 * dice.random()
        else:
            die_at, seconds = (dice.choice(["replace", "fsync"]), dice.randrange(2, 12)), None
        resume = (killed / "experiment.json").exists()
        code = run_until_it_ends(killed, resume, die_at, seconds)
        assert code in (-signal.SIGKILL, 0), f"exit code {code}"
        if code == 0:
            break  # it reached the end in spite of everything
        kills += 1
        within_a_write += die_at is not None
    assert run_until_it_ends(killed, (killed / "experiment.json").exists(), None, None) == 0
    assert kills >= 10
    assert within_a_write >= 5
    for name in ("model.safetensors", "best-val.safetensors", "predictions.npz"):
        assert (killed / name).read_bytes() == (alone / name).read_bytes(), name
    assert rows(killed) == rows(alone)
    assert not list(killed.rglob("*.part"))
