"""Ctrl-C and SIGTERM as requests: the step is finished, the state saved, and only then the program ends."""

from __future__ import annotations

import signal
import time
from types import FrameType, TracebackType


class Interrupts:
    """Within: a first SIGINT or SIGTERM is noted in ``signal_number``; a second SIGINT interrupts at once.

    Outside the main thread signals cannot be caught; then nothing is noted and nothing changes.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._before: dict[int, object] = {}
        self._last_save = time.monotonic()

    def __enter__(self) -> Interrupts:
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        except ValueError:
            self._before = {}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal_number = number

    def saved(self) -> None:
        """A checkpoint was written just now."""
        self._last_save = time.monotonic()

    def minutes_since_save(self) -> float:
        return (time.monotonic() - self._last_save) / 60
