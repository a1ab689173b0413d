"""``fsgl predict``: what a trained network says of images."""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from fsgl.commands.numbers import within
from fsgl.data.images.image_files import BadImage
from fsgl.deploy.predict import find_images, predict_files, read_prior
from fsgl.engine.runtime import Runtime
from fsgl.errors import UserError
from fsgl.evaluation.posthoc import probabilities
from fsgl.files import write_atomically
from fsgl.runs.saved import load_model

FORMATS = ("table", "csv", "json")


def run(options: argparse.Namespace, settings: list[str]) -> int:
    """Predict. Returns the exit code: 1 where not one image could be read."""
    if options.format not in FORMATS:
        raise UserError(f"--format must be one of {', '.join(FORMATS)}, not '{options.format}'")
    workers = within("--workers", options.workers, 0)
    device = Runtime(options.device).torch_device()
    trained = load_model(options.run, options.weights, device)
    top = min(within("--top-k", options.top_k, 1, 10**6), len(trained.class_names))
    prior = None if options.prior is None else read_prior(trained, options.prior)
    rows, read = [], 0
    for file, answer in _watched(predict_files(trained, find_images(options.paths), device, workers)):
        if isinstance(answer, BadImage):
            print(f"fsgl: {answer}", file=sys.stderr)
            rows.append({"path": file.shown, "predictions": [], "error": answer.reason})
            continue
        read += 1
        shares = probabilities(answer[None], trained.temperature, prior, trained.assumed_prior)[0]
        best = np.argsort(-shares, kind="stable")[:top].tolist()
        predictions = [{"class": trained.class_names[k], "probability": float(shares[k])} for k in best]
        rows.append({"path": file.shown, "predictions": predictions, "error": None})
    _write(rows, options.format, top, options.output)
    failed = len(rows) - read
    calibrated = f"temperature {trained.temperature:.3g}" if trained.temperature != 1 else "not calibrated"
    print(f"fsgl: {read} images, {calibrated}" + f"; {failed} cannot be read" * bool(failed), file=sys.stderr)
    return 0 if read else 1


def _watched(answers: Any) -> Any:
    """The answers, with a count on a terminal."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), TextColumn("{task.completed} images"))
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        yield from bar.track(answers)


def _write(rows: list[dict[str, Any]], form: str, top: int, output: Path | None) -> None:
    if form == "table" and output is None:
        _print_table(rows)
        return
    text = json.dumps(rows, indent=2, ensure_ascii=False) + "\n" if form == "json" else _as_csv(rows, top)
    if output is None:
        sys.stdout.write(text)
    else:
        write_atomically(output, text.encode("utf-8", "surrogateescape"))


def _as_csv(rows: list[dict[str, Any]], top: int) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [name for rank in range(1, top + 1) for name in (f"class_{rank}", f"probability_{rank}")]
    writer.writerow(["path", *names, "error"])
    for row in rows:
        cells = [cell for each in row["predictions"] for cell in (each["class"], f"{each['probability']:.6f}")]
        writer.writerow([row["path"], *cells, *[""] * (2 * top - len(cells)), row["error"] or ""])
    return text.getvalue()


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("image", "class", "probability", box=None, header_style="bold")
    for row in rows:
        for place, each in enumerate(row["predictions"]):
            name = escape(row["path"]) if place == 0 else ""
            table.add_row(name, escape(each["class"]), f"{each['probability']:7.2%}")
        if row["error"]:
            table.add_row(escape(row["path"]), f"[red]{escape(row['error'])}[/red]", "")
    Console(width=None if sys.stdout.isatty() else 200).print(table)
