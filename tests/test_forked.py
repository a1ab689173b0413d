"""A forked program is as one that ``python`` starts."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest
from tests import forked

SHOWS = """
import atexit, os, sys
atexit.register(lambda: print("at exit", flush=True))
print(sys.argv, os.getcwd(), os.environ.get("SAID"), os.environ.get("HOME"), __name__, sys.stdin.read())
print("problem", file=sys.stderr)
raise RuntimeError("no") if "raise" in sys.argv else SystemExit(7)
"""


def test_words_streams_and_code_are_its_own(tmp_path: Path) -> None:
    done = forked.run("a b", code=SHOWS, cwd=tmp_path, env={"SAID": "é"}, input="read")
    assert done.stdout == f"['-c', 'a b'] {tmp_path.resolve()} é None __main__ read\nat exit\n"
    assert (done.stderr, done.returncode) == ("problem\n", 7)
    raised = forked.run("raise", code=SHOWS, stdin=forked.DEVNULL)
    assert raised.returncode == 1
    assert raised.stderr.startswith("problem\nTraceback (most recent call last):\n")
    assert 'File "<string>", line 6, in <module>\nRuntimeError: no\n' in raised.stderr


def test_signals_reach_it_and_its_group() -> None:
    code = "import time; print('up', flush=True); time.sleep(600)"
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT):
        with forked.start(code=code, start_new_session=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            assert process.poll() is None
            assert os.getpgid(process.pid) == process.pid != os.getpgid(0)
            with contextlib.suppress(ProcessLookupError):  # ended by something else, which its code says below
                os.killpg(process.pid, number)
            _, said = process.communicate(timeout=300)
        assert process.returncode == -number
        assert ("KeyboardInterrupt" in said) == (number == signal.SIGINT)


def test_the_command_and_a_time_that_is_over() -> None:
    assert forked.run("--version").stdout.startswith("fsgl 0")
    refused = forked.run("train", "--bogus")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    with pytest.raises(forked.subprocess.TimeoutExpired):
        forked.run(code="import time; time.sleep(600)", timeout=0.1)
