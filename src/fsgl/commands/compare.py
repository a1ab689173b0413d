"""``fsgl compare``: the grid is trained, then read from its run folders and told in tables and words."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import torch

from fsgl.commands.numbers import within
from fsgl.commands.train import assignments_of, given_images
from fsgl.compare.grid import Cell, Interrupted, Launch, Word, describe, launch_process, make_cells, run_grid
from fsgl.compare.page import tell
from fsgl.engine.runtime import Runtime
from fsgl.errors import UserError
from fsgl.recipes.experiment import Experiment, override
from fsgl.recipes.on_data import experiment_on
from fsgl.report.recording import record
from fsgl.report.summary import print_table
from fsgl.runs.saved import read_record

WATCH_SECONDS = 60


def run(options: argparse.Namespace, settings: list[str]) -> int:
    """``fsgl compare``. Returns 1 where a cell failed."""
    words = [Word.read(text) for text in dict.fromkeys(options.recipes)]
    if not words:
        raise UserError("name the recipes to compare (fsgl recipes lists them)")
    against = options.against or words[0].text
    if against not in {word.text for word in words}:
        raise UserError(f"--against {against}: it is none of {', '.join(word.text for word in words)}")
    seeds = range(within("--seeds", options.seeds, 1))
    data = "cifar100" if options.data is None else options.data
    runs = options.runs or Path("runs") / f"compare-{Path(data).stem or 'data'}"
    experiments: dict[str, Experiment] = {}

    def experiment(recipe: str, seed: int) -> Experiment:
        if recipe not in experiments:
            given = given_images(options)
            experiments[recipe], _ = experiment_on(recipe, data, given, assignments_of(options) + settings)
        return override(experiments[recipe], f"seed={seed}")

    cells = make_cells(words, seeds, runs, experiment)
    done = sum(cell.status == "complete" for cell in cells)
    print(f"{len(cells)} runs in {runs}" + (f", {done} of them complete already" if done else ""), flush=True)
    with _launcher(options) as (launch, devices):
        threads = options.threads or (None if devices[0] != "cpu" else max(1, (os.cpu_count() or 1) // len(devices)))
        passed = ["--workers", str(within("--workers", options.workers, 0)), "--precision", options.precision]
        if options.feature_cache is not None:
            passed += ["--feature-cache", str(options.feature_cache)]
        try:
            _train(cells, devices, passed, threads, launch)
        except Interrupted as stop:
            print(f"fsgl: {stop}", file=sys.stderr)
            return 128 + stop.signal_number
    asked = {word.text for word in words}
    shown = [cell for cell in cells if cell.word.text in asked]
    failures: dict[str, list[int]] = defaultdict(list)
    for cell in shown:
        if cell.status != "complete":
            failures[cell.word.text].append(cell.seed)
    complete = [cell.folder for cell in shown if cell.status == "complete"]
    told = tell([(folder, read_record(folder)) for folder in complete], failures, against)
    for table in told.tables.values():
        print_table(table)
    told.write(runs, {"cells": describe(cells)})
    print(f"page        {runs / 'comparison.html'}\nfigures     {runs / 'comparison.json'}, {runs / 'figures'}")
    print(f"tables      {runs / 'tables'} (Markdown, CSV, LaTeX)")
    if options.record is not None:
        command = f"fsgl compare {' '.join(options.recipes)} ..."
        for cell in cells:
            if cell.status == "complete" and cell.word.text in asked:
                record(cell.folder, options.record, command)
        print(f"records     {options.record}")
    failed = [cell for cell in cells if cell.status == "failed"]
    for cell in failed:
        print(f"fsgl: {cell.folder.name} failed: {cell.problem} (all it said: {cell.log})", file=sys.stderr)
    return 1 if failed else 0


@contextlib.contextmanager
def _launcher(options: argparse.Namespace) -> Iterator[tuple[Launch, list[str]]]:
    """How to start a cell, and a device for each that runs at a time."""
    if options.ray is not None:
        from fsgl.compare.ray_launch import ray_cluster

        with ray_cluster(options.ray, options.device) as (launch, slots):
            jobs = len(slots) if options.jobs is None else within("--jobs", options.jobs, 1)
            yield launch, [slots[i % len(slots)] for i in range(jobs)]
        return
    if options.device == "auto" and torch.cuda.is_available():
        devices = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    else:
        devices = [str(Runtime(options.device).torch_device())]
    jobs = options.jobs
    if jobs is None:
        jobs = len(devices) if devices[0] != "cpu" else os.cpu_count() or 1
    yield launch_process, [devices[i % len(devices)] for i in range(within("--jobs", jobs, 1))]


def _train(cells: Sequence[Cell], devices: list[str], options: list[str], threads: int | None, launch: Launch) -> None:
    """Every cell, with a line as each ends and one a minute: how far they are, and how long the rest will take."""
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
        if time.monotonic() - said >= WATCH_SECONDS:
            said = time.monotonic()
            running = (f"{c.folder.name} {c.epochs_done()}/{c.experiment.optim.epochs}" for c in todo
                       if c.status == "running")  # fmt: skip
            print(f"     epochs: {', '.join(running)}  left {left()}", flush=True)

    for ended, cell in enumerate(run_grid(cells, devices, options, threads, launch, watch), start=1):
        how = f"failed: {cell.problem}" if cell.status == "failed" else f"{cell.seconds or 0:.0f} s"
        print(f"{ended:4d} of {len(todo)}  {cell.folder.name}: {how}  left {left()}", flush=True)


def _share(cell: Cell) -> float:
    """Of a cell's training that is behind it; there is nothing to wait for in one that failed."""
    if cell.status in ("complete", "failed"):
        return 1.0
    return min(1.0, cell.epochs_done() / cell.experiment.optim.epochs)
