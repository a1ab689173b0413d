"""What training looks like while it runs: a live bar on a terminal, one line an epoch elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol

from fsgl.engine.fit import StepReport


class Display(Protocol):
    """Told of every step and epoch."""

    def step(self, report: StepReport) -> None: ...
    def epoch(self, row: dict[str, Any]) -> None: ...
    def say(self, text: str) -> None: ...
    def close(self) -> None: ...


def make_display(
    epochs: int, steps_per_epoch: int, done: int, print_every: int | None = None, show: bool = True
) -> Display:
    """The display for this terminal, or for none.

    done: steps that an earlier session took.  print_every: also a line after every so many steps of an epoch.
    show: False shows nothing.
    """
    if not show:
        return NoDisplay()
    if sys.stdout.isatty():
        return LiveDisplay(epochs, steps_per_epoch, done, print_every)
    return LineDisplay(epochs, steps_per_epoch, done, print_every)


def describe_epoch(row: dict[str, Any], epochs: int) -> str:
    """One line for a row of metrics.jsonl."""
    parts = [f"epoch {row['epoch'] + 1:>3}/{epochs}", f"loss {row['loss']['total']:.4f}", f"lr {row['lr']:.4g}"]
    for name in ("val", "test"):
        if row[name] is not None:
            parts.append(f"{name} {row[name]['top1']:.1f} %")
    parts.append(f"{row['images'] / row['seconds']:.0f} images/s")
    return "  ".join(parts)


def describe_step(report: StepReport, epochs: int) -> str:
    """One line for a step within an epoch: the loss terms are means over the epoch so far."""
    terms = "  ".join(f"{name} {value:.4f}" for name, value in report.loss.items())
    where = f"epoch {report.epoch + 1:>3}/{epochs}  step {report.step}/{report.steps_per_epoch}"
    return f"{where}  {terms}  {report.images_per_second:.0f} images/s"


class Eta:
    """Remaining time from the speed of this session, evaluations included."""

    def __init__(self, total_steps: int, done: int) -> None:
        self._total, self._first = total_steps, done
        self._start = time.monotonic()

    def text(self, done: int) -> str:
        taken = done - self._first
        if taken <= 0:
            return "–"
        seconds = round((time.monotonic() - self._start) / taken * (self._total - done))
        hours, rest = divmod(seconds, 3600)
        return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


class NoDisplay:
    """Silence."""

    def step(self, report: StepReport) -> None:
        pass

    def epoch(self, row: dict[str, Any]) -> None:
        pass

    def say(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass


class LineDisplay:
    """Calm: a line an epoch, with what remains, and within it one a minute and one every ``print_every`` steps."""

    def __init__(self, epochs: int, steps_per_epoch: int, done: int, print_every: int | None = None) -> None:
        self._epochs, self._steps, self._print_every = epochs, steps_per_epoch, print_every
        self._eta = Eta(epochs * steps_per_epoch, done)
        self._last = time.monotonic()

    def step(self, report: StepReport) -> None:
        asked = self._print_every is not None and report.step % self._print_every == 0
        if asked or time.monotonic() - self._last >= 60:
            done = report.epoch * self._steps + report.step
            self.say(f"{describe_step(report, self._epochs)}  left {self._eta.text(done)}")

    def epoch(self, row: dict[str, Any]) -> None:
        self.say(f"{describe_epoch(row, self._epochs)}  left {self._eta.text((row['epoch'] + 1) * self._steps)}")

    def say(self, text: str) -> None:
        print(text, flush=True)
        self._last = time.monotonic()

    def close(self) -> None:
        pass


class LiveDisplay:
    """A bar with ETA, speed and learning rate, and below it the loss terms and the accuracy of the last evaluation.

    console: a rich Console to draw on; None is the terminal.
    """

    def __init__(
        self, epochs: int, steps_per_epoch: int, done: int, print_every: int | None = None, console: Any = None
    ) -> None:
        from rich.console import Console
        from rich.live import Live

        self._epochs, self._steps, self._print_every, self._done = epochs, steps_per_epoch, print_every, done
        self._eta = Eta(epochs * steps_per_epoch, done)
        self._report: StepReport | None = None
        self._accuracy: list[str] = []
        self._console = console or Console()
        self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=4, transient=True)
        self._live.start()

    def step(self, report: StepReport) -> None:
        self._report = report
        if self._print_every is not None and report.step % self._print_every == 0:
            self.say(describe_step(report, self._epochs))

    def epoch(self, row: dict[str, Any]) -> None:
        scored = [f"{name} {row[name]['top1']:.1f} %" for name in ("val", "test") if row[name] is not None]
        self._accuracy = scored or self._accuracy
        self.say(describe_epoch(row, self._epochs))

    def say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False)

    def close(self) -> None:
        self._live.stop()

    def _render(self) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        report, total = self._report, self._epochs * self._steps
        done = self._done if report is None else report.epoch * self._steps + report.step
        bar = Table.grid(padding=(0, 1), expand=True)
        bar.add_column(no_wrap=True)
        bar.add_column(ratio=1)
        bar.add_column(no_wrap=True)
        epoch = min(done // self._steps, self._epochs - 1) if report is None else report.epoch
        facts = [f"{100 * done // total} %", f"left {self._eta.text(done)}"]
        terms: list[str] = []
        if report is not None:
            facts += [f"{report.images_per_second:.0f} images/s", f"lr {report.lr:.3g}"]
            terms = [f"{'loss' if name == 'total' else name} {value:.3f}" for name, value in report.loss.items()]
        bar.add_row(f"epoch {epoch + 1}/{self._epochs}", ProgressBar(total=total, completed=done), "  ".join(facts))
        lines = pack([*terms, *self._accuracy], self._console.width)
        return Group(bar, *(Text(line, no_wrap=True, overflow="ellipsis") for line in lines))


def pack(items: list[str], width: int) -> list[str]:
    """The items in lines of at most ``width`` characters, none parted (but for one that is longer itself)."""
    lines: list[str] = []
    for item in items:
        if lines and len(lines[-1]) + 2 + len(item) <= width:
            lines[-1] += f"  {item}"
        else:
            lines.append(item)
    return lines
