from __future__ import annotations

import io
import os
import re
import struct
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests import forked

from fsgl.engine.fit import StepReport
from fsgl.runs import display as module
from fsgl.runs.display import Eta, LineDisplay, LiveDisplay, describe_epoch, make_display, pack

LOSS = {"total": 2.345678, "conventional": 5.825, "rebalanced": 11.966, "consistency": -0.843}


def report(step: int, epoch: int = 0) -> StepReport:
    return StepReport(epoch, step, 10, 0.0973, LOSS, 1234.5)


def row(epoch: int, val: float | None = 71.25, test: float | None = 64.5) -> dict[str, Any]:
    def scored(top1: float | None) -> dict[str, float] | None:
        return None if top1 is None else {"top1": top1}

    scores = {"val": scored(val), "test": scored(test)}
    return {"epoch": epoch, "lr": 0.1, "loss": LOSS, "seconds": 2.0, "images": 3000, **scores}


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_eta_goes_by_this_sessions_speed(clock: Clock) -> None:
    eta = Eta(total_steps=1000, done=500)
    assert eta.text(500) == "–"
    clock.now += 60
    assert eta.text(600) == "4:00"  # 400 more at 0.6 s
    clock.now += 7140
    assert eta.text(600) == "8:00:00"
    assert eta.text(1000) == "0:00"


def test_line_of_an_epoch() -> None:
    assert describe_epoch(row(1), 40) == "epoch   2/40  loss 2.3457  lr 0.1  val 71.2 %  test 64.5 %  1500 images/s"
    assert "val" not in describe_epoch(row(1, val=None), 40)
    assert "test" not in describe_epoch(row(1, test=None), 40)


def test_without_a_terminal_it_is_calm(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    display = make_display(2, 10, 0)
    assert isinstance(display, LineDisplay)
    for step in range(1, 11):
        clock.now += 3
        display.step(report(step))
    display.epoch(row(0))
    display.close()
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("epoch   1/2  loss 2.3457")
    assert line.endswith("left 0:30")
    assert "\x1b" not in line


def test_long_epoch_says_something_once_a_minute(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    display = LineDisplay(2, 10, 0)
    for step in range(1, 11):
        clock.now += 25
        display.step(report(step))
    lines = capsys.readouterr().out.splitlines()
    assert [re.search(r"step (\d+)/10", line)[1] for line in lines] == ["3", "6", "9"]  # type: ignore[index]
    for part in ("total 2.3457", "conventional 5.8250", "consistency -0.8430", "1234 images/s", "left 7:05"):
        assert part in lines[0]


def test_lines_every_so_many_steps(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    display = LineDisplay(2, 10, 0, print_every=4)
    for step in range(1, 11):
        display.step(report(step))
    assert len(capsys.readouterr().out.splitlines()) == 2


def drawn(width: int, act: Any, **named: Any) -> list[str]:
    """What stands on a terminal of this width, drawn once, without colours."""
    from rich.console import Console

    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None, legacy_windows=False)
    display = LiveDisplay(40, 10, **{"done": 0, **named}, console=console)
    act(display)
    display.close()
    with console.capture() as captured:
        console.print(display._render())
    return captured.get().splitlines()


@pytest.mark.parametrize("width", [80, 100, 200])
def test_live_bar_says_everything_and_fits(width: int) -> None:
    def act(display: LiveDisplay) -> None:
        display.step(report(4))
        time.sleep(0.01)
        display.epoch(row(0))
        display.step(report(4, epoch=12))

    lines = drawn(width, act)
    assert len(lines) <= 3
    assert all(len(line.rstrip()) <= width for line in lines)
    assert re.match(r"epoch 13/40 [━╸╺ ]{5,} 31 %  left \d+:\d\d  1234 images/s  lr 0.0973", lines[0])
    text = "  ".join(lines)
    for part in ("loss 2.346", "conventional 5.825", "rebalanced 11.966", "consistency -0.843"):
        assert part in text, part
    assert "val 71.2 %  test 64.5 %" in text


@pytest.mark.parametrize("width", [1, 20, 40])
def test_narrow_terminal_is_no_reason_to_fail(width: int) -> None:
    lines = drawn(width, lambda display: display.step(report(4)))
    assert all(len(line.rstrip()) <= width for line in lines)


def test_live_bar_before_the_first_step_and_after_a_resumption() -> None:
    assert drawn(80, lambda display: None)[0].startswith("epoch 1/40 ")
    assert drawn(80, lambda display: None, done=125)[0].startswith("epoch 13/40 ")
    assert "31 %" in drawn(80, lambda display: None, done=125)[0]
    assert drawn(80, lambda display: None, done=400)[0].startswith("epoch 40/40 ")


def test_last_accuracy_stays_while_none_is_measured() -> None:
    def act(display: LiveDisplay) -> None:
        display.epoch(row(0))
        display.epoch(row(1, val=None, test=None))
        display.step(report(1, 2))

    assert "val 71.2 %" in "  ".join(drawn(80, act))


def test_items_are_packed_whole() -> None:
    assert pack(["aa", "bb", "cc"], 6) == ["aa  bb", "cc"]
    assert pack(["aaaaaaaa", "b"], 3) == ["aaaaaaaa", "b"]
    assert pack([], 10) == []


TRAIN = ["train", "fsgl", "--data", "digits", "--epochs", "2", "--device", "cpu"]


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals on this system")
@pytest.mark.parametrize("width", [80])
def test_training_on_a_terminal(width: int, tmp_path: Path) -> None:
    """The program on a pseudo-terminal: what it leaves there when it has ended, and while it ran."""
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    removed = {"COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"}
    environment = {name: value for name, value in os.environ.items() if name not in removed}
    environment |= {"TERM": "xterm-256color"}
    command = [*TRAIN, "--track", "none", "--run", "run"]
    process = forked.start(*command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait(300) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    for part in ("images/s", "left ", "consistency -", "lr 0.1", "val ", "test ", "run folder  run"):
        assert part in text, part
    assert re.search(r"epoch 2/2 [━╸╺]+", text)
    assert shown.count(b"\x1b[?25l") == shown.count(b"\x1b[?25h") == 1  # the cursor is there again
    assert text.count("ECE: expected calibration error") == 1
    assert all(len(line) <= width for line in re.split(r"[\r\n]+", text))
