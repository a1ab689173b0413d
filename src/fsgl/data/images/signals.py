"""Processes that decode for another one: they leave Ctrl-C and SIGTERM to it, and do not outlive it.

A terminal and a scheduler signal all processes of a run at once. Only the one that was started knows what must be
saved first; a helper that dies of the signal makes it fail in the middle.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType

_LOOK = 1.0  # seconds between two looks at whether the parent is there


def leave_signals_to_parent(watch: bool = False) -> None:
    """For the beginning of a helper's life. SIGINT is passed over, and SIGTERM once: a second one is its parent's.

    watch: end when the parent is gone, for helpers that would not see it (DataLoader's do).
    """
    received = 0

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal received
        received += 1
        if received > 1:
            os._exit(128 + number)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, note)
    if watch:
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os._exit(1)
