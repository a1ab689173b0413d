"""Signals to the whole process group, as terminals and schedulers send them, to a run with decoding processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests import forked

from fsgl.engine.environment import differences, environment
from fsgl.runs.folder import recorded

ARGUMENTS = "--epochs 500 --batch-size 8 --backbone resnet8-slim --image-size 24 --device cpu --workers 2 --track none"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, random = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for name in "ab":
        (folder / name).mkdir()
        for i in range(20):
            Image.fromarray(random.integers(0, 256, (80, 90, 3), dtype=np.uint8)).save(folder / name / f"{i}.jpg")
    return folder


def run_and_signal(run: Path, images: Path, number: signal.Signals, times: int) -> tuple[int, str]:
    """Exit code and standard error of a training whose whole group is signalled after its first epoch."""
    command = ["train", "cross-entropy", "--data", images, "--run", run, *ARGUMENTS.split()]
    with forked.start(*command, stdout=forked.DEVNULL, start_new_session=True) as process:
        history = run / "metrics.jsonl"
        while process.poll() is None and not (history.exists() and history.read_text()):
            time.sleep(0.05)
        assert recorded(run)["status"] == "running"
        for _ in range(times):
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):  # it has ended, and its parent has not said so yet
                    os.killpg(process.pid, number)
                time.sleep(0.1)
        _, said = process.communicate(timeout=300)
        return process.wait(), said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "times", "code", "status", "words"),
    [
        (signal.SIGTERM, 1, 143, "interrupted after", "stopped and saved; to go on: fsgl train --run"),
        (signal.SIGINT, 4, 130, "interrupted after", "to go on"),
        (signal.SIGKILL, 1, -9, "interrupted, as its process is gone", ""),
    ],
)
def test_a_signalled_group_ends_without_a_traceback_and_with_an_honest_status(
    images: Path, tmp_path: Path, number: signal.Signals, times: int, code: int, status: str, words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from fsgl.commands.cli import main

    run = tmp_path / "run"
    returned, said = run_and_signal(run, images, number, times)
    assert returned == code, said
    assert "Traceback" not in said
    assert "Exception" not in said
    assert words in said
    assert recorded(run)["status"].startswith(status)
    if number != signal.SIGKILL:
        return
    assert json.loads((run / "experiment.json").read_text())["status"] == "running"  # it could not say more
    for command in ("evaluate", "report", "adjust"):
        assert main([command, str(run), *["temperature"] * (command == "adjust")]) == 2
        assert f"as its process is gone'{'; there' if command == 'report' else ''}" in (err := capsys.readouterr().err)
        assert f"; to go on: fsgl train --run {run} --resume" in err
    steps = str(json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["steps"] + 9)
    assert main(["train", "--run", str(run), "--resume", "--max-steps", steps, "--workers", "0"]) == 0
    assert "the run began with torch" not in capsys.readouterr().out
    assert recorded(run)["status"].startswith(f"stopped after {steps} steps")


def test_only_another_release_of_torch_is_another_torch() -> None:
    import torch

    now = environment(torch.device("cpu"))
    release = torch.__version__.partition("+")[0]
    for same in (release, release + "+cu130", release + "+cpu"):
        assert differences({"versions": {"torch": same}}, now) == []
    (said,) = differences({"versions": {"torch": "1.0.0"}}, now)
    assert "began with torch 1.0.0" in said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_command_that_has_nothing_to_save_ends_at_once_with_a_sentence(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """It waits for a file that nobody writes."""
    os.mkfifo(tmp_path / "never.json")
    with forked.start("train", "--from", tmp_path / "never.json", stdout=forked.DEVNULL) as process:
        writer = None
        while writer is None and process.poll() is None:
            try:
                writer = os.open(tmp_path / "never.json", os.O_WRONLY | os.O_NONBLOCK)
            except OSError:  # nobody reads yet
                time.sleep(0.02)
        assert writer is not None
        process.send_signal(number)
        _, said = process.communicate(timeout=300)
        os.close(writer)
    assert said == "fsgl: interrupted\n"
    assert process.returncode == code
