from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from tests import forked

from fsgl.engine.interrupts import NOTICE, Interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_is_noted_and_answered(number: signal.Signals, capfd: pytest.CaptureFixture[str]) -> None:
    with Interrupts() as interrupts:
        assert interrupts.signal_number is None
        os.kill(os.getpid(), number)
        assert interrupts.signal_number == number
        os.kill(os.getpid(), signal.SIGTERM)  # an impatient scheduler changes nothing
        assert interrupts.signal_number == number
    assert capfd.readouterr().err == NOTICE.decode()


def test_second_ctrl_c_leaves_at_once() -> None:
    interrupts = Interrupts()
    with pytest.raises(KeyboardInterrupt), interrupts:  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_out_of_patience_shows_nothing_of_what_is_tidied_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a finalizer, such as that of torch's decoding processes, and on the way out, in the block and after it."""
    swallowed: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", swallowed.append)
    monkeypatch.setattr("fsgl.engine.interrupts._own_process", True)

    def ctrl_c() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    class Finalized:
        def __del__(self) -> None:
            finalized.append(None)
            ctrl_c()

    finalized: list[None] = []
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt), Interrupts(), Interrupts():  # noqa: PT012
            ctrl_c()
            Finalized()
            assert finalized == [None]
            try:
                ctrl_c()
            finally:
                ctrl_c()
                Finalized()
        ctrl_c()
        Finalized()
    finally:
        signal.signal(signal.SIGINT, before)
    assert finalized == [None] * 3
    assert swallowed == []


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(ZeroDivisionError), Interrupts():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)  # of a process that is not a command's own
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_outside_the_main_thread_nothing_changes() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with Interrupts() as interrupts:
            seen.append((signal.getsignal(signal.SIGINT), interrupts.signal_number))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(before, None)]


def test_seconds_since_the_last_save(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 60.0
    monkeypatch.setattr("fsgl.engine.interrupts.time.monotonic", lambda: now)
    interrupts = Interrupts()
    now = 240.0
    assert interrupts.seconds_since_save() == 180
    interrupts.saved()
    assert interrupts.seconds_since_save() == 0


# The training's third step lasts a minute.
SLOW = """
import sys, time
from fsgl.commands.cli import main
from fsgl.engine import fit
step, taken = fit.training_step, 0
def slow(*arguments, **named):
    global taken
    taken += 1
    if taken == 3:
        print("in the step", flush=True)
        time.sleep(60)
    return step(*arguments, **named)
fit.training_step = slow
sys.exit(main(sys.argv[1:]))
"""


def test_two_ctrl_c_in_a_long_step_leave_at_once_and_say_how_to_go_on(tmp_path: Path) -> None:
    """The first one waits for the step, and says so; the second does not wait."""
    arguments = ["train", "fsgl", "--data", "digits", "--epochs", "3", "--track", "none", "--run", "a run"]
    with forked.start(*arguments, code=SLOW, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert any("in the step" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline() == "\n"
        assert process.stderr.readline() == NOTICE.decode().lstrip()
        assert process.poll() is None
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=300)
    assert process.returncode == 130
    assert time.monotonic() - began < 40
    assert said.strip() == "fsgl: left at once; to go on from the last save: fsgl train --run 'a run' --resume"

# What Python does at its end lasts a minute.
LINGERING = """
import atexit, sys, time
from fsgl.commands.cli import main
@atexit.register
def linger():
    print("at the end", flush=True)
    time.sleep(60)
sys.exit(main())
"""


def test_sigterm_at_the_end_of_a_command_is_no_traceback() -> None:
    with forked.start("recipes", code=LINGERING) as process:
        assert process.stdout is not None
        assert any("at the end" in line for line in process.stdout)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGTERM
    assert said == ""
