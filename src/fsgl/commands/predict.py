"""``fsgl predict``: what a trained network says of images."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsgl.commands.arguments import (
    FORM,
    add_device,
    add_run,
    add_sets,
    add_threads,
    add_weights,
    add_white_level,
    add_workers,
    folder,
    within,
)
from fsgl.errors import UserError
from fsgl.progress import progress

if TYPE_CHECKING:
    from fsgl.runs.prediction_sets import PredictionSets

DESCRIPTION = """\
The most probable classes of images. The training images are not needed.

Probabilities are calibrated where the run had validation images (a temperature was fitted to them). --prior says how
often each class is to be expected where the images come from; without it, as the network takes it: a rebalanced
classifier (FSGL, GLMC) all classes alike, cross-entropy as often as in training.

--coverage 0.9 answers with a set of classes, too, that holds the true one in nine of ten cases (docs/predict.md)."""
FORMATS = ("table", "csv", "json")


def add(commands: Any) -> None:
    """The options."""
    command = commands.add_parser(
        "predict", help="ask a trained network about images", description=DESCRIPTION, formatter_class=FORM,
        allow_abbrev=False,
    )  # fmt: skip
    add_run(command)
    command.add_argument("paths", nargs="+", metavar="PATH", help="images, folders of them, or patterns like '*.jpg'")
    command.add_argument("--format", default="table", help="table (default), csv or json")
    command.add_argument("--output", type=folder, metavar="FILE", help="write there instead (a table as csv)")
    command.add_argument("--top-k", type=int, default=1, metavar="K", help="so many classes for each image (1)")
    command.add_argument("--follow-links", action="store_true", help="links that lead out of a folder, too")
    command.add_argument("--prior", metavar="WHAT", help="class frequencies: uniform, training, or a CSV file")
    add_sets(command)
    add_white_level(command, "as the run was trained")
    add_weights(command)
    add_device(command)
    add_workers(command, "decoding threads")
    add_threads(command)


def run(options: argparse.Namespace, settings: list[str]) -> int:
    """Predict. Returns the exit code: 1 where not one image could be read."""
    import numpy as np

    from fsgl.data.images.image_files import BadImage
    from fsgl.deploy.predict import find_images, predict_files, read_prior, scaled_for
    from fsgl.engine.runtime import Runtime
    from fsgl.evaluation.posthoc import probabilities
    from fsgl.runs.saved import at_white_level, load_model

    if options.format not in FORMATS:
        raise UserError(f"--format must be one of {', '.join(FORMATS)}, not '{options.format}'")
    workers = within("--workers", options.workers, 0)
    device = Runtime(options.device).torch_device()
    trained = at_white_level(load_model(options.run, options.weights, device), options.white_level)
    top = min(within("--top-k", options.top_k, 1, 10**6), len(trained.class_names))
    sets = sets_of(options)
    prior = None if options.prior is None else read_prior(trained, options.prior)
    rows, read = [], 0
    files, passed = find_images(options.paths, options.follow_links)
    trained, notes = scaled_for(trained, files)
    for note in (*passed, *notes):
        print(f"note: {note}", file=sys.stderr)
    for file, answer in _watched(predict_files(trained, files, device, workers)):
        if isinstance(answer, BadImage):
            print(f"fsgl: {answer}", file=sys.stderr)
            rows.append({"path": file.shown, "predictions": [], "error": answer.reason})
            continue
        read += 1
        shares = probabilities(answer[None], trained.temperature, prior, trained.assumed_prior)[0]
        best = np.argsort(-shares, kind="stable")[:top].tolist()
        predictions = [{"class": trained.class_names[k], "probability": float(shares[k])} for k in best]
        row = {"path": file.shown, "predictions": predictions, "error": None}
        if sets is not None:
            members = np.flatnonzero(sets.members(answer[None])[0])
            row["set"] = [trained.class_names[k] for k in members[np.argsort(-shares[members], kind="stable")]]
        rows.append(row)
    _write(rows, options.format, top, options.output)
    failed = len(rows) - read
    calibrated = f"temperature {trained.temperature:.3g}" if trained.temperature != 1 else "not calibrated"
    print(f"fsgl: {read} images, {calibrated}" + f"; {failed} cannot be read" * bool(failed), file=sys.stderr)
    for note in sets.notes if sets is not None else ():
        print(f"note: {note}", file=sys.stderr)
    return 0 if read else 1


def sets_of(options: argparse.Namespace) -> PredictionSets | None:
    """The sets that were asked for, of ``predict`` and of ``serve``; None where none were. Raises UserError."""
    from fsgl.runs.prediction_sets import prediction_sets

    if options.coverage is None:
        if options.by_class is not None:
            raise UserError("--by-class goes with --coverage, the share of sets that are to hold the true class")
        return None
    by_class = options.by_class or 0.0
    if getattr(options, "prior", None) is not None and by_class < 1:
        raise UserError(
            "--coverage is promised for the class frequencies of the validation images; leave --prior off, "
            "or take --by-class 1, which holds for any"
        )
    return prediction_sets(options.run, options.coverage, by_class, weights=options.weights)


def _watched(answers: Any) -> Any:
    """The answers, with a count on a terminal."""
    with progress("asking about") as bar:
        for answer in answers:
            bar.advance()
            yield answer


def _write(rows: list[dict[str, Any]], form: str, top: int, output: Path | None) -> None:
    from fsgl.files import write_atomically

    if form == "table" and output is None:
        _print_table(rows)
        return
    text = json.dumps(rows, indent=2, ensure_ascii=False) + "\n" if form == "json" else _as_csv(rows, top)
    if output is None:
        sys.stdout.write(text)
    else:
        write_atomically(output, text.encode("utf-8", "surrogateescape"))


def _as_csv(rows: list[dict[str, Any]], top: int) -> str:
    from fsgl.files import csv_text

    names = [name for rank in range(1, top + 1) for name in (f"class_{rank}", f"probability_{rank}")]
    sets = any("set" in row for row in rows)  # of none that could not be read
    table = [["path", *names, *["set"] * sets, "error"]]
    for row in rows:
        cells = [cell for each in row["predictions"] for cell in (each["class"], f"{each['probability']:.6f}")]
        missing = [""] * (2 * top - len(cells))
        table.append([row["path"], *cells, *missing, *_set_cell(row, sets), row["error"] or ""])
    return csv_text(table)


def _set_cell(row: dict[str, Any], sets: bool) -> list[str]:
    """Names may hold any sign, so that they stand there as JSON."""
    return [json.dumps(row.get("set", []), ensure_ascii=False)] if sets else []


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from fsgl.report.render import clean_name

    sets = any("set" in row for row in rows)
    table = Table("image", "class", "probability", *["set"] * sets, box=None, header_style="bold")
    for row in rows:
        for place, each in enumerate(row["predictions"]):
            name = escape(row["path"]) if place == 0 else ""
            held = [escape(", ".join(map(clean_name, row.get("set", [])))) if place == 0 else ""] if sets else []
            table.add_row(name, escape(clean_name(each["class"])), f"{each['probability']:7.2%}", *held)
        if row["error"]:
            table.add_row(escape(row["path"]), f"[red]{escape(row['error'])}[/red]", "")
    Console(width=None if sys.stdout.isatty() else 200).print(table)
