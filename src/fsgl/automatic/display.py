"""What the search looks like while it runs: trials, the best so far, the time left."""

from __future__ import annotations

import sys
import time

from fsgl.automatic.clock import Clock, minutes
from fsgl.automatic.search import Study, Trial

TELL_EVERY = 15.0  # seconds between two lines where there is no terminal


class Display:
    """Lines on standard output; on a terminal, one that is kept up to date below them."""

    def __init__(self, show: bool, clock: Clock) -> None:
        self._show, self._clock = show, clock
        self._live = show and sys.stdout.isatty()
        self._told, self._best = time.monotonic(), -1

    def say(self, text: str) -> None:
        """A line."""
        if self._show:
            print(("\r\033[K" if self._live else "") + text, flush=True)
            self._told = time.monotonic()

    def ended(self, trial: Trial, study: Study) -> None:
        """A trial is over."""
        best = study.best
        if best is not None and best.number != self._best:
            self._best = best.number
            self.say(f"{minutes(trial.at):>7}  {best.accuracy:5.1f}  {best.candidate}")
        elif trial.failed and not self._live:
            self.say(f"{minutes(trial.at):>7}  failed: {trial.candidate}: {trial.failed}")

    def tick(self, study: Study) -> None:
        """Now and then."""
        best = study.best
        sofar = "nothing yet" if best is None else f"best {best.accuracy:.1f} %"
        line = f"{len(study.trials)} tried, {sofar}, {minutes(self._clock.left)} left"
        if self._live:
            print(f"\r\033[K{line}", end="", flush=True)
        elif time.monotonic() - self._told >= TELL_EVERY:
            self.say(line)
