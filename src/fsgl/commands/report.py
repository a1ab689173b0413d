"""``fsgl report``: a run as a page, figures and tables."""

from __future__ import annotations

import argparse
from typing import Any

from fsgl.commands.arguments import (
    FORM,
    add_device,
    add_feature_cache,
    add_run,
    add_threads,
    add_workers,
    folder,
    within,
)

DESCRIPTION = """\
Accuracy by class, curves, confusion, reliability, features and their norms, and the tail's worst mistakes.

Written into the run folder: report.html, one self-contained page; figures/ as PNG and SVG; tables/ as Markdown, CSV
and LaTeX."""


def add(commands: Any) -> None:
    """The options."""
    command = commands.add_parser(
        "report", help="a trained run as a page with pictures", description=DESCRIPTION, formatter_class=FORM,
        allow_abbrev=False,
    )  # fmt: skip
    add_run(command)
    command.add_argument("--out", type=folder, metavar="FOLDER", help="where to write (default: the run folder)")
    command.add_argument("--no-images", action="store_true", help="from the saved files alone, without the test images")
    add_device(command)
    add_workers(command)
    add_feature_cache(command)
    add_threads(command)


def run(options: argparse.Namespace, settings: list[str]) -> int:
    """``fsgl report RUN``: report.html, figures/ and tables/ in the run folder, or in --out."""
    from fsgl.engine.runtime import Runtime
    from fsgl.report.run_page import write_report

    workers, device = within("--workers", options.workers, 0), Runtime(options.device).torch_device()
    written = write_report(
        options.run, options.out, not options.no_images, device, workers, feature_cache=options.feature_cache
    )
    out = written.page.parent
    for reason in written.left_out:
        print(f"left out    {reason}")
    print(f"report      {written.page}\nfigures     {out / 'figures'} (PNG, SVG)")
    print(f"tables      {out / 'tables'} (Markdown, CSV, LaTeX)")
    return 0
