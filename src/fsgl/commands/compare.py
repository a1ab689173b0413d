"""``fsgl compare``: the grid is trained, then read from its run folders and told in tables and words."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsgl.commands.arguments import FORM, above_0, folder, within
from fsgl.commands.experiment_options import add_experiment, add_transfer, assignments_of, given_images
from fsgl.commands.grid_options import add_grid, grid_launcher, passed_on, threads_of
from fsgl.commands.reading import add_reading
from fsgl.errors import UserError

if TYPE_CHECKING:
    from fsgl.data.images.sources import Source
    from fsgl.recipes.experiment import Experiment

DESCRIPTION = """\
Recipes by seeds on the same images, each cell a run folder, and what can be said of their differences.

RECIPE is one of 'fsgl recipes'; RECIPE+sam is that with SAM; RECIPE+ADJUSTMENT is its run adjusted afterwards, tuned on
validation images (fsgl adjust): cross-entropy+tau-norm. Settings (name=value) and options hold for all of them.

At equal epochs a method with SAM, or of two streams, costs two or more times another's training; --equal-cost holds
rows of equal cost against each other, too: the epochs of each are such that all take as many multiply-adds of the
backbone.

Seeds may be added later, but each look at more of them is counted (looks.json in --runs) and tested more strictly.

What is complete is not trained again and what was begun goes on, so the same command, run again, finishes the grid; a
cell that fails is marked and the rest go on. Written into --runs: comparison.html and .json, figures/ and tables/."""


def add(commands: Any) -> None:
    """The options."""
    command = commands.add_parser(
        "compare", help="train recipes by seeds, and tell which differ", description=DESCRIPTION, formatter_class=FORM,
        allow_abbrev=False,
    )  # fmt: skip
    command.add_argument("recipes", nargs="+", metavar="RECIPE", help="the others are held against the first")
    what = command.add_argument_group("what is trained")
    add_experiment(what)
    what.add_argument("--seeds", type=int, default=5, metavar="N", help="seeds 0 to N - 1 (5)")
    what.add_argument("--planned-seeds", type=int, metavar="N", help="that there will be in all, said before looking")
    what.add_argument("--deviation", type=above_0, metavar="POINTS", help="of differences between seeds, if known")
    what.add_argument("--equal-cost", action="store_true", help="rows at equal cost beside those at equal epochs")
    what.add_argument("--settings", type=folder, metavar="FILE", help="train with what fsgl tune found (tuned.json)")
    what.add_argument("--untuned-too", action="store_true", help="with --settings: as they come, too, in a table apart")
    add_reading(command)
    add_transfer(command)
    how = command.add_argument_group("how it runs")
    how.add_argument("--runs", type=folder, metavar="FOLDER", help="parent of the run folders (runs/compare-DATA)")
    how.add_argument("--against", metavar="RECIPE", help="what the others are held against (the first)")
    add_grid(how)
    how.add_argument("--record", type=folder, metavar="FOLDER", help="write a record of each run, as in results/")


def run(options: argparse.Namespace, settings: list[str]) -> int:
    """``fsgl compare``. Returns 1 where a cell failed."""
    from fsgl.comparison.all_cells import power_before, report_on_cells, train_all
    from fsgl.comparison.grid import Interrupted, Word, describe, make_cells
    from fsgl.comparison.looks import Looks
    from fsgl.comparison.rows import Rows
    from fsgl.comparison.settings_file import images_of
    from fsgl.recipes.on_data import experiment_on
    from fsgl.report.recording import record
    from fsgl.report.summary import print_table

    words = [Word.read(text) for text in dict.fromkeys(options.recipes)]
    if not words:
        raise UserError("name the recipes to compare (fsgl recipes lists them)")
    against = options.against or words[0].text
    if against not in {word.text for word in words}:
        raise UserError(f"--against {against}: it is none of {', '.join(word.text for word in words)}")
    seeds = range(within("--seeds", options.seeds, 1))
    planned = None if options.planned_seeds is None else within("--planned-seeds", options.planned_seeds, len(seeds))
    data = "cifar100" if options.data is None else options.data
    runs = options.runs or Path("runs") / f"compare-{Path(data).stem or 'data'}"

    source: Source | None = None  # of somebody's own images, which are read once

    def make(recipe: str) -> Experiment:
        nonlocal source
        changes = assignments_of(options) + settings
        begins = {"scratch": options.scratch, "fine_tune": options.fine_tune}
        made, source = experiment_on(recipe, data, given_images(options), changes, source, **begins)
        return made

    tuning = (options.settings, options.untuned_too)
    rows = Rows(words, make, against, *tuning, options.equal_cost, lambda: images_of(source))
    for note in rows.notes:
        print(f"note        {note}", flush=True)
    looks = Looks.read(runs, planned)
    looks.require(len(seeds))  # what goes against the plan is refused before anything is trained
    cells = make_cells(rows.words, seeds, runs, rows.experiment)
    done = sum(cell.status == "complete" for cell in cells)
    print(f"{len(cells)} runs in {runs}" + (f", {done} of them complete already" if done else ""), flush=True)
    if (said := power_before(cells, rows.words, against, options.deviation, looks)) is not None:
        print(f"power       {said}", flush=True)
    with grid_launcher(options) as (launch, devices):
        try:
            train_all(cells, devices, passed_on(options), threads_of(options, devices), launch)
        except Interrupted as stop:
            print(f"fsgl: {stop}", file=sys.stderr)
            return 128 + stop.signal_number
    asked = {word.text for word in rows.words}
    report = report_on_cells(cells, rows.words, against, runs, planned)
    for table in report.tables.values():
        print_table(table)
    report.write(runs, {"cells": describe(cells)})
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
