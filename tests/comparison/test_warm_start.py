"""What is started by a fork behaves as what ``python -m fsgl`` starts."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fsgl.comparison.grid import Launch, Poll, launch_process
from fsgl.comparison.warm_start import local_launcher

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forked on Linux alone")

FSGL = [sys.executable, "-m", "fsgl"]
TRAIN = [*FSGL, "train", "cross-entropy", "--data", "digits", "--backbone", "resnet8-slim", "--workers", "0",
         "--track", "none"]  # fmt: skip


@pytest.fixture(scope="module")
def launch() -> Iterator[Launch]:
    with local_launcher(["cpu", "cpu"]) as launch:
        yield launch


def end_of(poll: Poll) -> int:
    deadline = time.monotonic() + 300
    while (code := poll()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return code


def test_codes_and_words_are_those_of_a_process(launch: Launch, tmp_path: Path) -> None:
    commands = {"shown": [*FSGL, "recipes"], "mistake": [*FSGL, "train", "fsgk"], "odd": [*FSGL, "--nonsense"]}
    ends = {}
    for how, start in (("forked", launch), ("process", launch_process)):
        asked = {name: start(command, tmp_path / f"{how}-{name}", {})[0] for name, command in commands.items()}
        ends[how] = {name: (end_of(poll), (tmp_path / f"{how}-{name}").read_text()) for name, poll in asked.items()}
    assert ends["forked"] == ends["process"]
    assert [code for code, _ in ends["forked"].values()] == [0, 2, 2]


def wait_for(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_asked_to_stop_it_saves_and_so_does_what_the_end_of_the_grid_leaves(launch: Launch, tmp_path: Path) -> None:
    """And each set of variables has a process to be forked: threads are counted when libraries are loaded."""

    def begin(name: str, start: Launch, **own: str) -> tuple[Poll, Callable[[], None]]:
        handles = start([*TRAIN, "--epochs", "500", "--run", str(tmp_path / name)], tmp_path / f"{name}.log", own)
        metrics = tmp_path / name / "metrics.jsonl"
        wait_for(lambda: metrics.exists() and metrics.stat().st_size > 0)
        return handles

    poll, stop = begin("stopped", launch)
    assert poll() is None
    stop()
    assert end_of(poll) == 128 + signal.SIGTERM
    assert list((tmp_path / "stopped").glob("checkpoints/*.pt"))
    with local_launcher(["cpu"]) as other:
        begin("left", other, OMP_NUM_THREADS="2")
    assert "--resume" in (tmp_path / "left.log").read_text()
    assert '"threads": 2' in (tmp_path / "left" / "experiment.json").read_text()


def test_where_what_is_forked_dies_the_cells_have_failed(tmp_path: Path) -> None:
    with local_launcher(["cpu"]) as launch:
        poll, _ = launch([*FSGL, "recipes"], tmp_path / "first", {})
        assert end_of(poll) == 0
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        starters = [int(pid) for pid in children if b"warm_start" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(starters[-1], signal.SIGKILL)  # the youngest
        poll, stop = launch([*FSGL, "recipes"], tmp_path / "second", {})
        assert end_of(poll) == 1
        stop()
    assert not (tmp_path / "second").exists()


def test_a_gpus_cells_are_processes() -> None:
    with local_launcher(["cuda:0"]) as launch:
        assert launch is launch_process
