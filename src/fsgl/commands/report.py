"""``fsgl report``: a run as a page, figures and tables."""

from __future__ import annotations

import argparse

from fsgl.commands.numbers import within
from fsgl.engine.runtime import Runtime
from fsgl.report.run_page import write_report


def run(options: argparse.Namespace, settings: list[str]) -> int:
    """``fsgl report RUN``: report.html, figures/ and tables/ in the run folder, or in --out."""
    workers, device = within("--workers", options.workers, 0), Runtime(options.device).torch_device()
    written = write_report(options.run, options.out, not options.no_images, device, workers)
    out = written.page.parent
    for reason in written.left_out:
        print(f"left out    {reason}")
    print(f"report      {written.page}\nfigures     {out / 'figures'} (PNG, SVG)")
    print(f"tables      {out / 'tables'} (Markdown, CSV, LaTeX)")
    return 0
