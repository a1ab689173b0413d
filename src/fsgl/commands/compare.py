"""``fsgl compare``: the grid is trained, then read from its run folders and told in tables and words."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fsgl.commands.numbers import within
from fsgl.commands.train import assignments_of, fresh, given_images
from fsgl.errors import UserError
from fsgl.experiment import Experiment, override
from fsgl.files import write_atomically, write_json
from fsgl.grid import Cell, Interrupted, Launch, Word, describe, launch_process, make_cells, run_grid
from fsgl.recording import from_predictions, record
from fsgl.report.compare import (
    Entry,
    accuracy_table,
    compare_with,
    describe_shared,
    differences_table,
    label_of,
    make_entries,
    priors_table,
    ranked_with,
    reliability_table,
)
from fsgl.report.records import run_content
from fsgl.report.render import Table
from fsgl.report.summary import print_table
from fsgl.runtime import Runtime
from fsgl.saved import read_history, read_record


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
            experiments[recipe], _ = fresh(recipe, data, given, assignments_of(options) + settings)
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
    tables, content = _tell([cell for cell in cells if cell.word.text in asked], against)
    _write(runs, tables, {**content, "cells": describe(cells)})
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
        from fsgl.ray_launch import ray_cluster

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
    """Every cell, with a line as each ends and how long the rest will take."""
    left = sum(cell.status != "complete" for cell in cells)
    start = time.monotonic()
    for ended, cell in enumerate(run_grid(cells, devices, options, threads, launch), start=1):
        remaining = (time.monotonic() - start) / ended * (left - ended)
        said = f"failed: {cell.problem}" if cell.status == "failed" else f"{cell.seconds or 0:.0f} s"
        minutes, seconds = divmod(round(remaining), 60)
        print(f"{ended:4d} of {left}  {cell.folder.name}: {said}  left {minutes}:{seconds:02d}", flush=True)


def _tell(cells: Sequence[Cell], against: str) -> tuple[list[Table], dict[str, Any]]:
    """Tables and figures of what is complete, those together that may be ranked together."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    environment: dict[str, Any] = {}
    failed: dict[str, list[int]] = defaultdict(list)
    for cell in cells:
        if cell.status != "complete":
            failed[cell.word.text].append(cell.seed)
            continue
        folder = read_record(cell.folder)
        run = {**run_content(folder, read_history(cell.folder)), **from_predictions(cell.folder, folder)}
        groups[ranked_with(run)].append(run)
        environment = folder["environment"]
    tables: list[Table] = []
    comparisons: list[dict[str, Any]] = []
    for runs in groups.values():
        labels = {label_of(run) for run in runs}
        entries = make_entries(runs, {label: seeds for label, seeds in failed.items() if label in labels or not tables})
        title = f"Test set, {runs[0]['settings']['data']['name']}, {runs[0]['settings']['backbone']}"
        table = accuracy_table(entries, title)
        tables.append(replace(table, notes=(*table.notes, describe_shared(runs[0], environment))))
        reference = next((entry for entry in entries if entry.label == against and entry.runs), None)
        if reference is not None and len(entries) > 1:
            found = compare_with(entries, reference)
            tables.append(differences_table(found, reference))
            comparisons += [_as_json(each, reference) for each in found]
        tables += [reliability_table(entries), priors_table(entries)]
    if len(groups) > 1:
        print("These recipes differ in more than their method (data, backbone or epochs): each has a table of its own.")
    for table in tables:
        print_table(table)
    every = [run for runs in groups.values() for run in runs]
    return tables, {"runs": every, "against": against, "comparisons": comparisons}


def _as_json(comparison: Any, reference: Entry) -> dict[str, Any]:
    seeds, images = comparison.over_seeds, comparison.over_images
    return {
        "method": comparison.entry.label,
        "against": reference.label,
        "seeds": seeds.interval.n,
        "difference": seeds.interval.mean,
        "interval": [seeds.interval.low, seeds.interval.high],
        "effect_size": seeds.effect_size,
        "p": seeds.p_value,
        "p_holm": comparison.p_adjusted,
        "over_images": images and [images.interval.mean, images.interval.low, images.interval.high],
        "words": comparison.words,
    }


def _write(runs: Path, tables: Sequence[Table], content: dict[str, Any]) -> None:
    runs.mkdir(parents=True, exist_ok=True)
    write_json(runs / "comparison.json", content)
    write_atomically(runs / "comparison.md", "\n".join(table.markdown() for table in tables).encode())
    print(f"tables      {runs / 'comparison.md'}\nfigures     {runs / 'comparison.json'}")
