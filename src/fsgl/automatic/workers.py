"""The processes of a search, from the side of the one that asks them."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from fsgl.errors import UserError

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    task: int | None = None
    rest: bytes = b""


class Workers:
    """So many processes, each with one thread. They import what they need while the caller does something else."""

    def __init__(self, count: int, said: IO[bytes]) -> None:
        self.count, self._said = count, said  # what they print
        self._selector = selectors.DefaultSelector()
        self._all = [self._start() for _ in range(count)]

    def _start(self) -> _Worker:
        package = Path(__file__).parents[2]  # the same fsgl, wherever the caller found it
        paths = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")]))
        process = subprocess.Popen(
            [sys.executable, "-m", "fsgl.automatic.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._said,
            env={**os.environ, **_ONE_THREAD, "PYTHONPATH": paths}, start_new_session=True, bufsize=0,
        )  # fmt: skip
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        worker = _Worker(process)
        self._selector.register(process.stdout, selectors.EVENT_READ, worker)
        return worker

    def begin(self, folder: Path) -> None:
        """Let all read the pool in this folder."""
        for worker in self._all:
            self._tell(worker, str(folder.absolute()))

    @property
    def idle(self) -> int:
        """How many have nothing to do."""
        return sum(worker.task is None for worker in self._all)

    def give(self, number: int, experiment: dict[str, Any]) -> None:
        """A candidate to an idle one."""
        worker = next(worker for worker in self._all if worker.task is None)
        worker.task = number
        self._tell(worker, json.dumps({"number": number, "experiment": experiment}))

    def answers(self, timeout: float) -> Iterator[dict[str, Any]]:
        """What has ended, within so many seconds. Raises UserError where a process died."""
        for key, _ in self._selector.select(timeout):
            worker: _Worker = key.data
            assert worker.process.stdout is not None
            some = worker.process.stdout.read()
            if some == b"":
                raise self._death(worker)
            *lines, worker.rest = (worker.rest + (some or b"")).split(b"\n")
            for line in lines:
                worker.task = None
                yield json.loads(line)

    def _tell(self, worker: _Worker, line: str) -> None:
        assert worker.process.stdin is not None
        try:
            worker.process.stdin.write(line.encode() + b"\n")
        except BrokenPipeError:
            raise self._death(worker) from None

    def _death(self, worker: _Worker) -> UserError:
        code = worker.process.wait()
        self._said.seek(0)
        last = (self._said.read().decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        return UserError(
            f"a process of the search died (code {code}): {last}; fewer at a time (--jobs) need less memory"
        )

    def close(self) -> None:
        """End them all, whatever they are at; again, nothing."""
        for worker in self._all:
            worker.process.kill()
        for worker in self._all:
            worker.process.wait()
            for pipe in (worker.process.stdin, worker.process.stdout):
                assert pipe is not None
                pipe.close()
        self._all = []
        self._selector.close()


@contextmanager
def workers(count: int) -> Iterator[Workers]:
    """Within: ``Workers``, none of which outlives it."""
    with tempfile.TemporaryFile() as said:
        found = Workers(count, said)
        try:
            yield found
        finally:
            found.close()
