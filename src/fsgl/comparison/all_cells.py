"""All cells of a grid on this machine's devices, watched, and what they say together."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import torch

from fsgl.comparison.grid import Cell, Launch, Word, launch_process, run_grid
from fsgl.comparison.looks import Looks
from fsgl.comparison.outlook import outlook
from fsgl.comparison.page import ComparisonReport, report_on_runs
from fsgl.engine.environment import usable_cores
from fsgl.engine.runtime import Runtime
from fsgl.evaluation.statistics import ALPHA
from fsgl.runs.saved import read_record

WATCH_SECONDS = 60


def local_devices(device: str, jobs: int | None = None) -> list[str]:
    """A device for each run at a time: every GPU for "auto", where there are some.

    jobs: runs at a time; None is one a GPU, or on a CPU one a core. Raises UserError.
    """
    if device == "auto" and torch.cuda.is_available():
        devices = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    else:
        devices = [str(Runtime(device).torch_device())]
    if jobs is None:
        jobs = len(devices) if devices[0] != "cpu" else usable_cores()
    return [devices[i % len(devices)] for i in range(jobs)]


def threads_each(devices: Sequence[str]) -> int | None:
    """CPU threads of each run where they share the cores; None leaves it to them."""
    return None if devices[0] != "cpu" else max(1, usable_cores() // len(devices))


def report_on_cells(
    cells: Sequence[Cell], words: Sequence[Word], against: str, folder: Path, planned_seeds: int | None = None
) -> ComparisonReport:
    """What is said of the complete cells of these words, and of which seeds there is none.

    folder: of the comparison; that it has been looked at, with so many seeds, is kept there (comparison/looks.py).
    planned_seeds: the most that there will be. Raises UserError where that is not what was planned.
    """
    asked = {word.text for word in words}
    shown = [cell for cell in cells if cell.word.text in asked]
    failures: dict[str, list[int]] = defaultdict(list)
    for cell in shown:
        if cell.status != "complete" and not cell.word.equal_cost:
            failures[cell.word.text].append(cell.seed)
    complete = [cell for cell in shown if cell.status == "complete"]
    same, costly = (
        [(cell.folder, read_record(cell.folder)) for cell in complete if cell.word.equal_cost == at_cost]
        for at_cost in (False, True)
    )
    looks = Looks.read(folder, planned_seeds)
    looks.look({text: n for text, n in Counter(cell.word.text for cell in complete).items() if n > 1})
    report = report_on_runs(same, failures, against, looks, costly)
    looks.write(folder)
    return report


def power_before(
    cells: Sequence[Cell], words: Sequence[Word], against: str, deviation: float | None, looks: Looks
) -> str | None:
    """How large a difference the seeds of a grid can find, in words; None where there is nothing to compare.

    deviation: between seeds, of the differences from ``against``, in points; None is what complete cells say.
    looks: until now, by which the row that was looked at most often is tested most strictly.
    """
    values: dict[str, dict[int, float]] = defaultdict(dict)
    for cell in cells:
        if cell.status == "complete":
            values[cell.word.text][cell.seed] = float(read_record(cell.folder)["result"]["last"]["balanced"])
    # Tuned rows are held against the reference as it is tuned, in a table of their own; the larger table decides.
    tables = []
    for kind in (False, True):
        reference = Word.read(against).with_tuning().text if kind else against
        tables.append((reference, [word.text for word in words
                                   if word.tuned is kind and word.text != reference and not word.equal_cost]))
    reference, rows = max(tables, key=lambda table: len(table[1]))
    seeds = len({cell.seed for cell in cells})
    level = min((looks.level_at(row, seeds) for row in rows), default=ALPHA) if seeds > 1 else ALPHA
    return outlook([values[row] for row in rows], values[reference], seeds, deviation, level)


def train_all(
    cells: Sequence[Cell], devices: list[str], options: list[str], threads: int | None,
    launch: Launch = launch_process, show: bool = True,
) -> None:  # fmt: skip
    """Bring every cell to its end; see ``run_grid``, whose arguments these are and whose ``Interrupted`` it raises.

    show: a line as each ends and one a minute: how far they are, and how long the rest will take.
    """
    todo = [cell for cell in cells if cell.status != "complete"]
    begun = {cell.folder: _share(cell) for cell in todo}
    start = said = time.monotonic()

    def left() -> str:
        done = sum(cell.work * (_share(cell) - begun[cell.folder]) for cell in todo if cell.status != "failed")
        rest = sum(cell.work * (1 - _share(cell)) for cell in todo)
        if done == 0:
            return "?" if rest else "0:00:00"
        return str(timedelta(seconds=round((time.monotonic() - start) * rest / done)))

    def watch() -> None:
        nonlocal said
        if show and time.monotonic() - said >= WATCH_SECONDS:
            said = time.monotonic()
            running = (f"{c.folder.name} {c.epochs_done()}/{c.experiment.optim.epochs}" for c in todo
                       if c.status == "running")  # fmt: skip
            print(f"     epochs: {', '.join(running)}  left {left()}", flush=True)

    for ended, cell in enumerate(run_grid(cells, devices, options, threads, launch, watch), start=1):
        if not show:
            continue
        how = f"failed: {cell.problem}" if cell.status == "failed" else f"{cell.seconds or 0:.0f} s"
        print(f"{ended:4d} of {len(todo)}  {cell.folder.name}: {how}  left {left()}", flush=True)


def _share(cell: Cell) -> float:
    """Of a cell's training that is behind it; there is nothing to wait for in one that failed."""
    if cell.status in ("complete", "failed"):
        return 1.0
    return min(1.0, cell.epochs_done() / cell.experiment.optim.epochs)
