"""The one progress bar, on a terminal's standard error; nothing is shown elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bar:
    """What is told how far a command is, in either way."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar, self._task = bar, task

    def advance(self, count: int = 1) -> None:
        """So many more are done."""
        self._bar.advance(self._task, count)

    def at(self, done: int, total: int) -> None:
        """So many are done, of all."""
        self._bar.update(self._task, completed=done, total=total)


@contextmanager
def progress(what: str, unit: str = "images", total: int | None = None) -> Iterator[Bar]:
    """A bar with the time that remains. total: None where ``Bar.at`` will say it, or where it is not known."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        yield Bar(bar, bar.add_task(what, total=total))
