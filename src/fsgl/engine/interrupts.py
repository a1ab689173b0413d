"""Ctrl-C and SIGTERM as requests: the step is finished, the state saved, and only then the program ends."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from types import FrameType, TracebackType

NOTICE = b"\nfsgl: stopping after this step, once it is saved; Ctrl-C again leaves at once\n"


class Interrupts:
    """Within: a first SIGINT or SIGTERM is noted in ``signal_number``; a SIGINT after it interrupts at once.

    One after that, or within a finalizer (``__del__``, where Python swallows what is raised, with a traceback), is
    passed over, as the program is on its way out. In a process that is a command's own it is so after the block too,
    where a signal ended it: what is left to be tidied up may take a second, and none of it should be seen.

    quiet: say nothing of it, as another process does.
    Outside the main thread signals cannot be caught; then nothing is noted and nothing changes.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self.signal_number: int | None = None
        self._leaving = False
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
        ends = error is not None and self.signalled and _own_process
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._note:  # a block within this one may have made the process deaf
                signal.signal(number, signal.SIG_IGN if ends and number == signal.SIGINT else handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is not None:
            if number == signal.SIGINT and not self._leaving and not _in_finalizer(frame):
                self._leaving = True
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


def _in_finalizer(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None


class Terminated(KeyboardInterrupt):
    """SIGTERM, where nothing had to be saved first: what Ctrl-C is to a terminal, of a scheduler."""


_own_process = False


def own_process() -> None:
    """This process is a command's and nothing else's: ``leave`` ends it, and SIGTERM raises ``Terminated``."""
    global _own_process
    _own_process = True
    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGTERM, _terminate)


def ends() -> None:
    """The command is over: in what Python does at its end an exception would be a traceback, so SIGTERM raises none."""
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(number: int, frame: FrameType | None) -> None:
    if _in_finalizer(frame):  # where an exception would be lost
        leave(128 + number)
    raise Terminated


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
