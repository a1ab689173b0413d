"""Processes that begin with everything imported: one process imports it once and is forked for each command.

Importing torch and what a training needs takes some eight seconds of a core; a cell of a comparison on kept features
trains in fifteen. On Linux, and for cells on the CPU alone: a driver of a GPU does not survive a fork, and neither do
Apple's libraries. Everything else about a process is as ``launch_process`` has it: a session, a log and an exit code of
its own, SIGTERM as a request to save and end.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from fsgl.comparison.grid import Launch, Poll, launch_process

PRELOADED = (
    "torch", "torch._dynamo", "scipy.optimize", "safetensors.torch", "matplotlib.figure",
    "matplotlib.backends.backend_agg", "fsgl.commands.cli", "fsgl.runs.train", "fsgl.recipes.on_data",
    "fsgl.report.summary", "fsgl.comparison.page",
)  # fmt: skip


@contextlib.contextmanager
def local_launcher(devices: list[str]) -> Iterator[Launch]:
    """Within: how to start a cell on this machine, in the way that is fastest for ``devices``."""
    if sys.platform != "linux" or any(device != "cpu" for device in devices):
        yield launch_process
        return
    starters: dict[tuple[tuple[str, str], ...], _Starter] = {}

    def launch(command: list[str], log: Path, environment: Mapping[str, str]) -> tuple[Poll, Callable[[], None]]:
        key = tuple(sorted(environment.items()))
        if key not in starters:  # variables such as OMP_NUM_THREADS are read when libraries are loaded
            starters[key] = _Starter(environment)
        assert command[:3] == [sys.executable, "-m", "fsgl"]
        return starters[key].start(command[3:], log)

    try:
        yield launch
    finally:
        for starter in starters.values():
            starter.close()


class _Starter:
    """The process that is forked, from the side of the one that asks."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
            env={**os.environ, **environment}, start_new_session=True,
        )  # fmt: skip
        self._codes: dict[int, int] = {}
        self._rest = b""
        self._started = 0

    def start(self, arguments: list[str], log: Path) -> tuple[Poll, Callable[[], None]]:
        self._started += 1
        number = self._started
        self._ask({"start": number, "arguments": arguments, "log": str(log.resolve())})
        return lambda: self._code(number), lambda: self._ask({"stop": number})

    def close(self) -> None:
        """Ask what still runs to save and end, and wait for it."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _ask(self, request: Mapping[str, object]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it is gone: then _code says so
            self._process.stdin.write(json.dumps(request).encode() + b"\n")

    def _code(self, number: int) -> int | None:
        assert self._process.stdout is not None
        gone = self._process.poll() is not None
        while select.select([self._process.stdout], [], [], 0)[0]:
            received = os.read(self._process.stdout.fileno(), 65536)
            if not received:
                gone = True
                break
            *lines, self._rest = (self._rest + received).split(b"\n")
            self._codes.update(json.loads(line) for line in lines)
        return self._codes.get(number, 1 if gone else None)


def _serve() -> None:
    """Read requests until there are no more, a line of JSON each; answer [number, exit code] for each that ended."""
    answers = os.dup(1)
    os.dup2(2, 1)
    for name in PRELOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # what is shared with every child is not copied by its collector
    ended, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    running: dict[int, int] = {}  # process id -> number
    rest, reading = b"", True
    while reading or running:
        ready, _, _ = select.select([0, ended] if reading else [ended], [], [])
        if 0 in ready:
            received = os.read(0, 65536)
            *lines, rest = (rest + received).split(b"\n")
            for request in map(json.loads, lines):
                if "start" in request:
                    running[_fork(request, (answers, ended, woken))] = request["start"]
                else:
                    _stop(*(pid for pid, number in running.items() if number == request["stop"]))
            if not received:
                reading = False
                _stop(*running)
        if ended in ready:
            os.read(ended, 65536)
        for pid in list(running):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                answer = [running.pop(pid), os.waitstatus_to_exitcode(status)]
                with contextlib.suppress(OSError):  # nobody listens any more
                    os.write(answers, json.dumps(answer).encode() + b"\n")


def _stop(*processes: int) -> None:
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def _fork(request: Mapping[str, object], not_its_own: tuple[int, ...]) -> int:
    """The process id of the command, in whose own process nothing returns: it ends as ``python -m fsgl`` does."""
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for descriptor in not_its_own:
        os.close(descriptor)
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(str(request["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for descriptor, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, target)
    os.close(nothing)
    os.close(log)
    arguments = request["arguments"]
    assert isinstance(arguments, list)
    sys.argv = ["fsgl", *arguments]
    runpy.run_module("fsgl", run_name="__main__", alter_sys=True)
    raise SystemExit


if __name__ == "__main__":
    _serve()
