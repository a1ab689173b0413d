"""Many runs at once: each cell a run folder and a process, as many at a time as there are devices.

What is complete is not redone, what was begun is resumed, and a cell that fails fails alone. Nothing is kept in memory
that the folders do not hold, so the same command goes on wherever it was stopped.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fsgl.engine.interrupts import Interrupts
from fsgl.errors import UserError, unknown
from fsgl.files import write_json
from fsgl.recipes.experiment import Experiment
from fsgl.runs.adjustment import ADJUSTMENTS
from fsgl.runs.saved import read_experiment, read_record

POLL_SECONDS = 0.2
CACHE = "--feature-cache"
TUNED, EQUAL_COST = "tuned", "cost"


@dataclass(frozen=True)
class Word:
    """A row of a comparison, as it is typed: RECIPE, then +sam, +cost, +tuned and +ADJUSTMENT, each or none, in this
    order.

    equal_cost: trained for as many epochs as cost what the reference's do (comparison/rows.py).
    """

    text: str
    recipe: str
    adjustment: str | None
    tuned: bool = False
    equal_cost: bool = False

    @property
    def trained(self) -> str:
        """The row without its adjustment."""
        return _joined(self.recipe, self.equal_cost, self.tuned, None)

    def with_tuning(self) -> Word:
        """The same row, tuned."""
        return Word.read(_joined(self.recipe, self.equal_cost, True, self.adjustment))

    def at_equal_cost(self) -> Word:
        """The same row, at equal cost."""
        return Word.read(_joined(self.recipe, True, self.tuned, self.adjustment))

    @staticmethod
    def read(text: str) -> Word:
        """Raises UserError for an unknown adjustment; recipes are looked up later."""
        recipe, *more = text.split("+")
        if more[:1] == ["sam"]:
            recipe, more = f"{recipe}+sam", more[1:]
        cost = more[:1] == [EQUAL_COST]
        more = more[1:] if cost else more
        tuned = more[:1] == [TUNED]
        more = more[1:] if tuned else more
        if len(more) > 1:
            raise UserError(f"'{text}': one adjustment at most, as in {recipe}+{more[0]}")
        if more and more[0] not in ADJUSTMENTS[:-1]:
            raise unknown("adjustment", more[0], ADJUSTMENTS[:-1])
        return Word(text, recipe, more[0] if more else None, tuned, cost)


def _joined(recipe: str, equal_cost: bool, tuned: bool, adjustment: str | None) -> str:
    return "+".join(filter(None, [recipe, EQUAL_COST if equal_cost else None, TUNED if tuned else None, adjustment]))


@dataclass
class Cell:
    """One run of the grid.

    experiment: of the training.  adjustment: done to the run of ``parent``; None for training itself.
    status: waiting, running, complete, or failed.  problem: the last line of a failed one's log.
    """

    word: Word
    seed: int
    experiment: Experiment
    folder: Path
    parent: Cell | None = None
    status: str = "waiting"
    problem: str | None = None
    seconds: float | None = field(default=None, repr=False)

    @property
    def log(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def ready(self) -> bool:
        return self.status == "waiting" and (self.parent is None or self.parent.status == "complete")

    @property
    def work(self) -> float:
        """How much there is to do, for weighing cells: passes of the backbone over the images."""
        if self.parent is not None:
            return 0.0
        return self.experiment.optim.epochs * max(1, self.experiment.passes_per_step)

    def epochs_done(self) -> int:
        """As far as its folder says."""
        path = self.folder / "metrics.jsonl"
        with contextlib.suppress(OSError):
            return path.read_bytes().count(b"\n")
        return 0

    def look(self) -> None:
        """Take over what the folder holds. Raises UserError for a run of other settings."""
        if not (self.folder / "experiment.json").exists():
            return
        record = read_record(self.folder)
        found = read_experiment(self.folder / "experiment.json")
        adjusted = (record.get("adjustment") or {}).get("name")
        if found.hash != self.experiment.hash or adjusted != self.word.adjustment:
            raise UserError(f"{self.folder} holds a run of other settings; name another folder with --runs")
        if record["status"] == "complete":
            self.status = "complete"

    def command(self, options: Sequence[str], device: str) -> list[str]:
        """What brings the cell from where it stands to its end. options: of ``fsgl train``."""
        start = [sys.executable, "-m", "fsgl"]
        if self.parent is not None:
            assert self.word.adjustment is not None
            parent, new = str(self.parent.folder), str(self.folder)
            cache = list(options[options.index(CACHE) :][:2]) if CACHE in options else []
            where = ["--out", new, "--device", device, "--workers", "0", *cache]
            return [*start, "adjust", parent, self.word.adjustment, *where]
        common = ["--run", str(self.folder), "--device", device, "--track", "none", *options]
        if (self.folder / "experiment.json").exists():
            return [*start, "train", *common, "--resume"]
        settings = self.folder.with_name(f"{self.folder.name}.settings.json")
        write_json(settings, self.experiment.to_json())
        return [*start, "train", "--from", str(settings), *common]


def make_cells(
    words: Sequence[Word], seeds: Sequence[int], runs: Path, experiment: Callable[[str, int], Experiment]
) -> list[Cell]:
    """Seed by seed, so that an unfinished grid has whole seeds. experiment: of RECIPE or RECIPE+tuned and a seed.

    A run that an adjustment starts from and that is not among the words is there too, before it.
    """
    cells: dict[tuple[str, int], Cell] = {}
    for seed in seeds:
        for word in sorted(words, key=lambda word: word.adjustment is not None):
            trained = (word.trained, seed)
            if trained not in cells:
                plain = Word.read(word.trained)
                cells[trained] = Cell(plain, seed, experiment(word.trained, seed), runs / f"{word.trained}-seed{seed}")
            if word.adjustment is not None:
                parent = cells[trained]
                cells[word.text, seed] = Cell(word, seed, parent.experiment, runs / f"{word.text}-seed{seed}", parent)
    for cell in cells.values():
        cell.look()
    return list(cells.values())


class Interrupted(Exception):
    """A signal stopped the grid; every cell saved where it stood."""

    def __init__(self, signal_number: int) -> None:
        self.signal_number = signal_number
        super().__init__("stopped, and every run saved where it stood; the same command goes on from there")


# Runs a command, writes what it prints into a file, and returns its exit code once there is one, else None.
Poll = Callable[[], int | None]
Launch = Callable[[list[str], Path, Mapping[str, str]], tuple[Poll, Callable[[], None]]]


def launch_process(command: list[str], log: Path, environment: Mapping[str, str]) -> tuple[Poll, Callable[[], None]]:
    """On this machine. Returns how to ask for the exit code, and how to ask the process to save and end."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
            env={**os.environ, **environment}, start_new_session=True,  # Ctrl-C is ours to pass on
        )  # fmt: skip
    return process.poll, process.terminate


def run_grid(
    cells: Sequence[Cell], devices: Sequence[str], options: Sequence[str], threads: int | None,
    launch: Launch = launch_process, watch: Callable[[], None] = lambda: None,
) -> Iterator[Cell]:  # fmt: skip
    """Bring every cell to its end, one on each of ``devices`` at a time, yielding each as it ends.

    options: of ``fsgl train``, for each cell.  threads: of the CPU, of each cell.  watch: called while they run.
    Raises Interrupted.
    """
    free, running = list(devices), dict[int, tuple[Cell, str, Poll, Callable[[], None], float]]()
    environment = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    with Interrupts(quiet=True) as interrupts, _ended_with(running):
        while running or any(cell.ready for cell in cells):
            while free and not interrupts.signalled and (cell := next((c for c in cells if c.ready), None)):
                device = free.pop(0)
                cell.log.parent.mkdir(parents=True, exist_ok=True)
                poll, stop = launch(cell.command(options, device), cell.log, environment)
                cell.status = "running"
                running[id(cell)] = (cell, device, poll, stop, time.monotonic())
            if interrupts.signalled:
                for _, _, _, stop, _ in running.values():
                    stop()
            ended = [entry for entry in running.values() if entry[2]() is not None]
            for cell, device, poll, _, began in ended:
                del running[id(cell)]
                free.append(device)
                cell.seconds = time.monotonic() - began
                _judge(cell, poll(), interrupts.signalled)
                if not interrupts.signalled:
                    yield cell
                    yield from _orphans(cells, cell)
            if interrupts.signalled and not running:
                raise Interrupted(interrupts.signal_number or 15)
            if not ended:
                watch()
                time.sleep(POLL_SECONDS)


@contextlib.contextmanager
def _ended_with(running: Mapping[int, tuple[Cell, str, Poll, Callable[[], None], float]]) -> Iterator[None]:
    """Whatever ends the grid, no process outlives it."""
    try:
        yield
    finally:
        for _, _, _, stop, _ in running.values():
            stop()


def _judge(cell: Cell, code: int | None, stopping: bool) -> None:
    complete = (cell.folder / "experiment.json").exists() and read_record(cell.folder)["status"] == "complete"
    if complete:
        cell.status = "complete"
    elif stopping:
        cell.status = "waiting"
    else:
        cell.status, cell.problem = "failed", last_line(cell.log) or f"ended with exit code {code}"


def _orphans(cells: Sequence[Cell], failed: Cell) -> Iterator[Cell]:
    for cell in cells:
        if failed.status == "failed" and cell.parent is failed:
            cell.status, cell.problem = "failed", f"{failed.word.text} failed, which it starts from"
            yield cell


def last_line(log: Path) -> str:
    """The last line of a log that says something."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()] if log.exists() else []
    return next((line for line in reversed(lines) if line), "")


def describe(cells: Sequence[Cell]) -> dict[str, Any]:
    """Where the grid stands, for a file."""
    return {
        cell.folder.name: {"status": cell.status, **({"problem": cell.problem} if cell.problem else {})}
        for cell in cells
    }
