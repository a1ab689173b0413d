"""The time that was asked for: what is spent, what is left, and what of it went where."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

LEAST_ENDING, ENDING_SHARE = 8.0, 0.04  # seconds for the end at least, and the share of all
SCORED = 3  # times that a training scores: its last epoch, and twice at the end (runs/budget.py)


@dataclass(frozen=True)
class Cost:
    """Seconds of fine-tuning, measured.  epoch, scoring: of the first fold, and its images.  heads: of beginning with
    them alone.  share, tested: how many times as many images the last training has, to train on and to score."""

    epoch: float
    scoring: float
    heads: float
    share: float
    tested: float

    def fold(self, epochs: int) -> float:
        """Of so many epochs on a fold."""
        return self.heads + epochs * self.epoch + SCORED * self.scoring

    def last(self, epochs: int) -> float:
        """Of so many on all images."""
        return self.heads + epochs * self.share * self.epoch + SCORED * self.tested * self.scoring


class Clock:
    """minutes: for everything.  spent: seconds of earlier sessions.  began: of this one, by ``time.monotonic``."""

    def __init__(self, minutes: float, spent: float, began: float) -> None:
        self._all, self._earlier, self._began = 60 * minutes, spent, began
        self.parts: dict[str, float] = {}
        """Seconds of this session, by what they went into."""
        self.last = 0.0
        """Seconds that training the chosen one is expected to take."""

    @property
    def spent(self) -> float:
        """Seconds, over all sessions."""
        return self._earlier + time.monotonic() - self._began

    @property
    def session(self) -> float:
        """Seconds of this session."""
        return self.spent - self._earlier

    @property
    def left(self) -> float:
        """Seconds until the end."""
        return self._all - self.spent

    @property
    def to_try(self) -> float:
        """Seconds until the search must end: training the chosen one, scoring and the page want theirs."""
        return self.left - self.ending - self.last

    @property
    def ending(self) -> float:
        """Seconds that are kept for the end: the choice, calibration, the page."""
        return max(LEAST_ENDING, ENDING_SHARE * self._all)

    @staticmethod
    def enough(seconds: float) -> int:
        """Whole minutes in which so many seconds are left over for all but the end."""
        return max(1, math.ceil(max((seconds + LEAST_ENDING) / 60, seconds / (1 - ENDING_SHARE) / 60)))

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Within: time goes into this."""
        since = time.monotonic()
        try:
            yield
        finally:
            self.parts[name] = self.parts.get(name, 0.0) + time.monotonic() - since


def minutes(seconds: float) -> str:
    """As 1:05, or 1:02:03."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
