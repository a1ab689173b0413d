"""Named cells, each a recipe and a seed, end to end under a time limit, with records: docs/gpu-session.md's script.

    paper_run.py draw if50.npz --data cifar100 --root data data.imbalance_factor=50 data.val=0
    paper_run.py run fsgl:0 fsgl:1 fsgl:1,schedule.lr=0.02 --data if50.npz --jobs 3 --limit 560 evaluation.every=5
    paper_run.py profile fsgl:0 --data if50.npz

A cell is RECIPE:SEED, with settings of its own after commas; settings that stand alone are every cell's. Each cell
trains in a process of its own. When the limit nears, all stop after the step in hand and save; the same command goes
on from there, and what is recorded is not redone. ``run`` exits with 0 when all cells are complete, 1 where one failed,
2 for a mistake in what was asked, 3 where cells are left for the next call.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from fsgl.commands.cli import guarded
from fsgl.engine.interrupts import Interrupts
from fsgl.errors import UserError
from fsgl.files import read_json, write_json

if TYPE_CHECKING:
    from cells import Cell

POLL, REPORT = 0.2, 10.0  # seconds between looks at the cells, and between writings of the progress file


def main(arguments: list[str]) -> int:
    """Do what the command line says; returns the exit code."""
    started = time.monotonic()  # before torch is imported: the limit is of the whole command
    options = parse(arguments)
    options.started, options.command = started, shlex.join(["python", "benchmarks/paper_run.py", *arguments])
    actions = {"draw": draw, "run": run, "profile": profile, "cell": train_cell}
    return guarded("paper_run.py", lambda: actions[options.action](options))


def draw(options: argparse.Namespace) -> int:
    """Draw a data set and write it as one .npz."""
    from drawn_data import write_drawn

    from fsgl.data.load import load_data
    from fsgl.recipes import make_experiment
    from fsgl.recipes.experiment import override

    if others := [word for word in options.settings if not word.startswith("data.")]:
        raise UserError(f"draw takes settings of the data only, such as data.val=0, not '{others[0]}'")
    data = load_data(override(make_experiment("fsgl", options.data, options.root), *options.settings).data)
    write_drawn(Path(options.out), data)
    sizes = ", ".join(f"{name} {size:,}" for name, size in data.describe().items() if name in ("train", "val", "test"))
    print(f"{options.out}: {Path(options.out).stat().st_size / 2**20:.1f} MiB, {sizes}, split hash {data.hash}")
    return 0


def run(options: argparse.Namespace) -> int:
    """Train the cells, so many at a time, until they are done or the limit is near."""
    from cells import Cell, drawn_images

    if options.limit is not None and options.limit <= options.grace:
        raise UserError(f"--limit {options.limit:g} leaves no time: --grace {options.grace:g} of it is for stopping")
    if options.jobs < 1:
        raise UserError(f"--jobs must be 1 or more, not {options.jobs}")
    options.jobs = min(options.jobs, len(options.cells))
    options.threads = options.threads or max(1, (os.cpu_count() or 1) // options.jobs)
    drawn = drawn_images(options)
    cells = [Cell(word, options, drawn) for word in options.cells]
    for cell in cells:
        if [other.name for other in cells].count(cell.name) > 1:
            raise UserError(f"{cell.word} stands there twice")
        if cell.status == "complete":
            print(f"complete  {cell.word:<24} done before", flush=True)
    progress_file = Path(options.progress or Path(options.runs) / "progress.json")
    deadline = float("inf") if options.limit is None else options.started + options.limit
    try:
        with Interrupts() as interrupts:
            attend(cells, deadline, interrupts, progress_file)
    finally:  # a second Ctrl-C, or an error of ours
        for cell in cells:
            if cell.status == "running" and cell.process is not None:
                cell.process.kill()
                cell.process.wait()
        write_progress(cells, options, progress_file)
    statuses = {cell.status for cell in cells}
    return 1 if "failed" in statuses else 3 if statuses != {"complete"} else 0


def attend(cells: list[Cell], deadline: float, interrupts: Interrupts, progress_file: Path) -> None:
    """Start, watch and stop the cells' processes."""
    options, reported = cells[0].options, float("-inf")
    while True:
        left = deadline - time.monotonic()
        stopping = left <= options.grace or interrupts.signal_number is not None
        running = [cell for cell in cells if cell.status == "running"]
        for cell in running:
            if cell.look(stopping, kill=left <= min(2.0, options.grace / 2)):
                reported = float("-inf")
                words = cell.last_words() if cell.status == "failed" else ""
                print(f"{cell.status:<9} {cell.word:<24} {words}", flush=True)
        waiting = [cell for cell in cells if cell.status == "waiting"]
        running = [cell for cell in running if cell.status == "running"]
        if not stopping:
            for cell in waiting[: options.jobs - len(running)]:
                cell.start()
        if not running and (stopping or not waiting):
            return
        if time.monotonic() - reported > REPORT:
            write_progress(cells, options, progress_file)
            reported = time.monotonic()
        time.sleep(POLL)


def write_progress(cells: list[Cell], options: argparse.Namespace, path: Path) -> None:
    """Where every cell stands, as one JSON file."""
    seconds = time.monotonic() - options.started
    write_json(path, {"command": options.command, "seconds": seconds, "cells": [cell.progress() for cell in cells]})


def train_cell(options: argparse.Namespace) -> int:
    """In a cell's own process: train, from the start or from where it stopped, and note what the session took."""
    started = time.monotonic()
    with Interrupts() as interrupts:  # what comes before or after train's own must not be fatal
        import torch
        from cells import CLOSER_LOOK, drawn_images, resolve, runtime
        from closer_look import closer_look

        from fsgl.data.load import load_data
        from fsgl.engine.runtime import RunDiverged, RunInterrupted
        from fsgl.runs.saved import read_record
        from fsgl.runs.train import train

        torch.set_num_threads(options.threads)
        experiment, data = resolve(options.word, options, drawn_images(options))
        how, folder = runtime(options), Path(options.folder)
        data = data or load_data(experiment.data)
        sessions_file, resume = folder / "sessions.json", (folder / "experiment.json").exists()
        sessions = read_json(sessions_file) if resume and sessions_file.exists() else []
        if interrupts.signal_number is not None:
            return 128 + interrupts.signal_number
        begun = time.monotonic()
        session = {"startup_seconds": begun - started, "wall_seconds": None, "peak_gpu_bytes": None}
        session |= {"jobs": options.jobs, "threads": options.threads, "runtime": asdict(how)}
        write_json(sessions_file, [*sessions, session])
        try:
            train(experiment, folder, how, resume, data)
            code = 0
        except RunInterrupted as stop:
            code = 0 if read_record(folder)["status"] == "complete" else 128 + stop.signal_number
        except RunDiverged as error:
            print(error)
            code = 1
        session["wall_seconds"] = time.monotonic() - begun
        if how.torch_device().type == "cuda":
            session["peak_gpu_bytes"] = torch.cuda.max_memory_allocated()
        if code == 0 and options.closer_look:
            write_json(folder / CLOSER_LOOK, closer_look(folder, data, how.torch_device()))
        write_json(sessions_file, [*sessions, session])
    return code


def profile(options: argparse.Namespace) -> int:
    """Time and profile some steps of one cell; a record of kind 'profile'."""
    import torch
    from cells import drawn_images, resolve, runtime
    from step_profile import profile_steps

    from fsgl.data.load import load_data
    from fsgl.report.recording import record_name
    from fsgl.report.records import write_record

    if len(options.cells) != 1:
        raise UserError("profile takes one cell, such as fsgl:0")
    if options.threads:
        torch.set_num_threads(options.threads)
    experiment, data = resolve(options.cells[0], options, drawn_images(options))
    how = runtime(options)
    data = data or load_data(experiment.data)
    figures, seen = profile_steps(experiment, data, how, options.warmup, options.steps, options.repeats)
    name = record_name(experiment.to_json(), experiment.hash, options.tag) + "-profile"
    environment = {**seen["environment"], "commit": options.commit or seen["environment"]["commit"]}
    content = {"settings": experiment.to_json(), "hash": experiment.hash, "data": seen["data"], "cost": seen["cost"]}
    del content["settings"]["data"]["root"]
    content |= {"runtime": asdict(how), **figures}
    path = write_record(Path(options.results), "profile", name, options.command, environment, content)
    share, seconds = figures["share_of_matrix_rate"], figures["seconds_per_step"]
    print(f"{seconds:.4g} s a step, {share:.1%} of the matrix rate ({figures['matrix_dtype']}) -> {path}")
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options; bare words are told apart into cells and settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    drawing = actions.add_parser("draw", help="draw a data set into an .npz", allow_abbrev=False)
    drawing.add_argument("out", metavar="FILE.npz")
    drawing.add_argument("--data", default="cifar100", help="data set to draw from (cifar100)")
    drawing.add_argument("--root", default="data", help="folder of its archives (data)")

    training = actions.add_parser("run", help="train cells and record them", allow_abbrev=False)
    training.add_argument("--jobs", type=int, default=1, help="cells at once, each in a process (1)")
    training.add_argument("--limit", type=float, metavar="SECONDS", help="of the whole command (none)")
    training.add_argument("--grace", type=float, default=25, metavar="SECONDS",
                          help="of the limit, for the step in hand and for saving (25)")  # fmt: skip
    training.add_argument("--runs", default="runs", help="folder of the run folders (runs)")
    training.add_argument("--closer-look", action="store_true",
                          help="record both classifiers, calibration and feature lengths, too")  # fmt: skip
    training.add_argument("--progress", metavar="FILE", help="JSON of where each cell stands (RUNS/progress.json)")

    profiling = actions.add_parser("profile", help="time and profile some steps of a cell", allow_abbrev=False)
    profiling.add_argument("--warmup", type=int, default=10, help="steps before anything is timed (10)")
    profiling.add_argument("--steps", type=int, default=25, help="steps of a block (25)")
    profiling.add_argument("--repeats", type=int, default=5, help="timed blocks before the profiled one (5)")
    for action in (training, profiling):
        action.add_argument("--data", required=True, help="an .npz that draw wrote, or the name of a data set")
        action.add_argument("--root", default="data", help="where --data NAME has its images (data)")
        action.add_argument("--train-list")
        action.add_argument("--test-list")
        action.add_argument("--results", default="results", help="folder of the records (results)")
        action.add_argument("--device", default="auto")
        action.add_argument("--workers", type=int, default=0, help="decoding processes of each cell (0)")
        action.add_argument("--threads", type=int, help="CPU threads of each cell (the cores, shared out)")
        action.add_argument("--precision", default="auto", help="auto (default), float32, tf32 or bf16")
        action.add_argument("--compile", action="store_true", help="the network by torch.compile")
        action.add_argument("--cuda-graphs", action="store_true", help="replay steps as CUDA graphs")
        action.add_argument("--tag", default="", help="added to names, for settings of the execution: fp32, say")
        action.add_argument("--commit", help="for the record, where the source is a copy outside its git repository")

    inner = actions.add_parser("cell")  # what run starts
    inner.add_argument("told")
    options, words = parser.parse_known_args(arguments)
    if options.action == "cell":
        return argparse.Namespace(**{**json.loads(options.told), "action": "cell"})
    for word in words:
        if word.startswith("-"):
            parser.error(f"unknown option '{word}'")
    options.settings = [word for word in words if "=" in word and not _names_a_cell(word)]
    options.cells = [word for word in words if word not in options.settings]
    if options.action == "draw" and options.cells:
        parser.error(f"'{options.cells[0]}' is one word too many")
    if options.action != "draw" and not options.cells:
        parser.error("name a cell, such as fsgl:0")
    if not all(character.isalnum() or character in "-_." for character in getattr(options, "tag", "")):
        parser.error("--tag is part of a file's name: letters, digits, '.', '-' and '_'")
    return options


def _names_a_cell(word: str) -> bool:
    return ":" in word.partition("=")[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
