"""Ctrl-C and SIGTERM as requests: the step is finished, the state saved, and only then the program ends."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType, TracebackType

NOTICE = b"\nfsgl: stopping after this step, once it is saved; Ctrl-C again leaves at once\n"


class Interrupts:
    """Within: a first SIGINT or SIGTERM is noted in ``signal_number``; a SIGINT after it interrupts at once.

    quiet: say nothing of it, as another process does.
    Outside the main thread signals cannot be caught; then nothing is noted and nothing changes.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self.signal_number: int | None = None
        self._before: dict[int, object] = {}
        self._last_save = time.monotonic()

    def __enter__(self) -> Interrupts:
        with contextlib.suppress(ValueError):  # not the main thread
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is not None:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.signal_number = number
        if self._quiet:
            return
        with contextlib.suppress(OSError):
            os.write(2, NOTICE)  # not print, which the signal may have found at work

    def saved(self) -> None:
        """A checkpoint was written just now."""
        self._last_save = time.monotonic()

    @property
    def signalled(self) -> bool:
        return self.signal_number is not None

    def seconds_since_save(self) -> float:
        return time.monotonic() - self._last_save


_own_process = False


def own_process() -> None:
    """This process is a command's and nothing else's: ``leave`` ends it."""
    global _own_process
    _own_process = True


def leave(code: int) -> None:
    """End a command that was interrupted, now: its helpers first, and deaf to a further Ctrl-C, which would print a
    traceback out of whatever was being tidied up. Of a process that is not a command's own nothing is ended."""
    if not _own_process:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for child in multiprocessing.active_children():
        child.kill()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


@contextlib.contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Within: SIGTERM raises KeyboardInterrupt, so that what must be tidied up is. Nothing outside the main thread."""
    try:
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
