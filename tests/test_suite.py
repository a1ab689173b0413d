"""The suite itself: a signal ends it, whatever test it meets."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from tests import forked

ROOT = Path(__file__).resolve().parents[1]
TESTS = """
import time

def test_waits():
    print("BEGUN", flush=True)
    time.sleep(300)

def test_takes_the_signal_as_a_request():
    from fsgl.engine.interrupts import Interrupts
    with Interrupts() as interrupts:
        print("BEGUN", flush=True)
        while not interrupts.signalled:
            time.sleep(0.01)
    raise AssertionError("stopped")

def test_after_it():
    print("WENT ON", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals on this system")
@pytest.mark.parametrize("chosen", ["waits or after", "request or after"])
def test_sigterm_ends_it(chosen: str, tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    options = ["-p", "tests.conftest", "--rootdir", str(tmp_path), "-s", "-q", "-p", "no:cacheprovider", "-k", chosen]
    process = forked.start("-c", os.devnull, *options, tmp_path, module="pytest", cwd=ROOT, stderr=None)
    assert process.stdout is not None
    for line in process.stdout:
        if "BEGUN" in line:
            process.send_signal(signal.SIGTERM)
            break
    rest, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "WENT ON" not in rest
