"""``fsgl inspect``: a data set looked over before training."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fsgl.commands.arguments import FORM, add_white_level, add_workers, folder, within
from fsgl.commands.reading import add_reading, reading_of
from fsgl.errors import UserError
from fsgl.progress import progress

if TYPE_CHECKING:
    from fsgl.data.images.sources import Source
    from fsgl.inspection.pretrained import Rows

DESCRIPTION = """\
Every image opened once: the tail and its groups, sizes, unreadable files, the same image twice (and across
parts), missing classes, labels that may be wrong, and what to train. Nothing is written unless asked for."""


def add(commands: Any) -> None:
    """The options."""
    command = commands.add_parser(
        "inspect", help="look a set of images over before training", description=DESCRIPTION, formatter_class=FORM,
        allow_abbrev=False,
    )  # fmt: skip
    command.add_argument("path", type=folder, metavar="PATH", help="as for train --data, or a data set's name")
    command.add_argument("--root", metavar="FOLDER", help="where the paths of a table or list start, or archives are")
    command.add_argument("--html", type=folder, metavar="FILE", help="write one self-contained page, with pictures")
    command.add_argument("--json", metavar="FILE", help="write all findings as JSON; - prints that and nothing else")
    command.add_argument("--no-label-errors", action="store_true", help="do not look for labels that may be wrong")
    command.add_argument(
        "--label-minutes", type=float, default=3.0, metavar="M",
        help="for a pretrained network's features to find them by (3); 0 finds them by small pixels",
    )  # fmt: skip
    add_white_level(command)
    add_workers(command, "processes")
    add_reading(command)


def run(options: argparse.Namespace, settings: list[str]) -> int:
    """Inspect, print, and write what is asked for. Returns the exit code."""
    from fsgl.data.draw.foretold import foretell_parts
    from fsgl.data.load import DataSpec
    from fsgl.files import write_atomically
    from fsgl.inspection.findings import findings, scan_source
    from fsgl.inspection.page import render_page

    workers = within("--workers", options.workers, 0)
    if not options.label_minutes >= 0:  # nan neither
        raise UserError(f"--label-minutes must be 0 or more, not {options.label_minutes:g}")
    source, own = _source(options)
    total = sum(len(part) for part in (source.train, source.val, source.test) if part is not None)
    with progress("looking at", total=total) as bar:
        inspected = scan_source(source, workers, bar.advance)
    if not any(not seen.error for seen in inspected.seen):
        raise UserError(f"{options.path}: not one of {total:,} images can be read")
    rows = "" if options.no_label_errors or options.label_minutes == 0 else _rows(options, source)
    found = findings(inspected, not options.no_label_errors, rows)
    found["split"] = foretell_parts(source, DataSpec().val) if own else []
    if options.json == "-":
        print(json.dumps(found, indent=2, allow_nan=False))
        return 0
    if options.json:
        write_atomically(Path(options.json), (json.dumps(found, indent=2, allow_nan=False) + "\n").encode())
    if options.html:
        write_atomically(options.html, render_page(found, inspected).encode())
    print_findings(found, str(options.path))
    for written in (options.json, options.html):
        if written:
            print(f"written: {written}")
    return 0


def _source(options: argparse.Namespace) -> tuple[Source, bool]:
    """The images, and whether they are somebody's own."""
    from fsgl.data.images.sources import Images, Source
    from fsgl.data.images.white_level import with_scale
    from fsgl.data.known import DATA_SETS, OWN
    from fsgl.data.load import DataSpec, load_data
    from fsgl.data.readers.own import find_source

    name = str(options.path)
    root = None if options.root is None else Path(options.root)
    reading = reading_of(options)
    if name not in DATA_SETS or name in OWN or Path(name).exists():
        # It looks and trains nothing: classes that cannot be read are told, and are no reason to stop.
        source = find_source(options.path, root, replace(reading, lost_classes="skip"))
        return with_scale(source, options.white_level), True
    data = load_data(DataSpec(name, reading=reading) if root is None else DataSpec(name, str(root), reading=reading))
    train, test = cast(Images, data.train), cast(Images, data.test)  # images, as nobody asked for features yet
    val = cast(Images | None, data.val)
    found = f"{DATA_SETS[name].note}; drawn as for training"
    return Source(name, train, test, data.class_names, data.mean, data.std, val=val, found=found), False


def _rows(options: argparse.Namespace, source: Source) -> Rows | str:
    """Features of the training images, or why there are none."""
    from fsgl.inspection.pretrained import pretrained_rows
    from fsgl.recipes.on_data import SHORT_NAMES

    given = {name: getattr(options, short, None) for short, name in SHORT_NAMES.items()}
    assignments = [f"{name}={value}" for name, value in given.items() if value is not None]
    where = {} if options.root is None else {"root": options.root}
    try:
        with progress("features") as bar:
            return pretrained_rows(
                source, str(options.path), where, assignments, 60 * options.label_minutes, options.workers, bar.at
            )
    except UserError as error:
        return str(error)


def print_findings(found: dict[str, Any], path: str) -> None:
    """On the terminal."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    tail, sides = found["tail"], found["sizes"]["shorter_side"]
    console.print(f"[bold]{escape(found['name'])}[/bold]  {escape(found['found'])}")
    for note in found["notes"]:
        console.print(f"  {escape(note)}")
    factor = "–" if tail["imbalance_factor"] is None else f"{tail['imbalance_factor']:.4g}"
    parts = ", ".join(f"{part} {count:,}" for part, count in found["parts"].items())
    console.print(f"images      {parts}")
    console.print(f"size        shorter side {sides['least']} to {sides['most']} px, median {sides['median']:.0f}")
    console.print(f"classes     {tail['classes']:,}, from {tail['largest']:,} to {tail['smallest']:,} training images")
    console.print(f"tail        imbalance factor {factor}, Gini {tail['gini']:.2f}")
    table = Table("group", "by number: classes", "images", "by thirds: classes", "images", box=None)
    for name in ("many", "medium", "few"):
        fixed, third = tail["fixed"][name], tail["thirds"][name]
        table.add_row(name, *(f"{of[what]:,}" for of in (fixed, third) for what in ("classes", "images")))
    console.print(table)
    _print_bars(console, found["counts"])
    for line in _troubles(found):
        console.print(f"[yellow]![/yellow] {escape(line)}")
    if found["split"]:
        console.print("\nhow train splits them")
    for line in found["split"]:
        console.print(f"  {escape(line)}")
    advice = found["recommendation"]
    command = " ".join(["fsgl", advice["command"], shlex.quote(path), *advice["options"]])
    console.print(f"\n[bold]{escape(command)}[/bold]")
    for reason in advice["reasons"]:
        console.print(f"  {escape(reason)}")


def _print_bars(console: Any, counts: dict[str, int], most: int = 20) -> None:
    """Class sizes in falling order; of many classes an even choice of them."""
    from rich.markup import escape

    ordered = sorted(counts.items(), key=lambda item: -item[1])
    step = max(1, -(-len(ordered) // most))
    shown = ordered[::step]
    longest = max(len(name) for name, _ in shown)
    for name, count in shown:
        bar = "█" * max(1, round(40 * count / max(1, ordered[0][1]))) if count else ""
        console.print(f"  {escape(name[:24]):<{min(24, longest)}} {count:>7,} {bar}")
    if step > 1:
        console.print(f"  (every {step}th of {len(ordered):,} classes)")


def _troubles(found: dict[str, Any]) -> list[str]:
    lines = []
    if found["unreadable"]["count"]:
        first = found["unreadable"]["listed"][0]
        lines.append(f"{found['unreadable']['count']:,} unreadable; the first: {first['image']}: {first['reason']}")
    for part, names in found["missing"].items():
        if names:
            some = ", ".join(names[:5]) + " ..." * (len(names) > 5)
            lines.append(f"{len(names)} classes have no {part} images: {some}")
    for kind, what in {"exact": "are the same image", "near": "look alike"}.items():
        groups = found["duplicates"][kind]
        if groups["count"]:
            across = f"{groups['across_parts']} across parts (leaks), " if len(found["parts"]) > 1 else ""
            lines.append(f"{groups['count']:,} groups {what}: {across}{groups['across_classes']} labelled in two ways")
            lines += [f"    {' = '.join(group['images'][:3])}" for group in groups["listed"][:2]]
    errors = found["label_errors"]
    if errors and errors["count"]:
        by = f"by {errors['features']}; a model on these is right {errors['model_accuracy']} % of the time"
        lines.append(f"{errors['count']:,} labels may be wrong, {by} (--html shows them)")
    elif errors and errors["model_accuracy"] is not None and not errors["trusted"]:
        weak = f"a model on {errors['features']} is right only {errors['model_accuracy']} % of the time"
        lines.append(f"labels were not judged: {weak}, {errors['trust_from']:.0f} % are needed")
    if errors and errors["why_pixels"]:
        lines.append(f"labels: no features of a pretrained network ({errors['why_pixels']})")
    return lines
