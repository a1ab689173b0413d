"""``fsgl across``: comparisons on several data sets, told together."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fsgl.commands.arguments import FORM, folder

DESCRIPTION = """\
What comparisons on several data sets say together: the difference over data sets, with its interval and how much the
effect itself varies between them and, with three data sets or more, mean ranks and their critical difference.

COMPARISON is a folder that 'fsgl compare' wrote, or one with records. Nothing is trained. Written into --out:
comparison.html and .json, figures/ and tables/."""


def add(commands: Any) -> None:
    """The options."""
    command = commands.add_parser(
        "across", help="comparisons on several data sets, told together", description=DESCRIPTION, formatter_class=FORM,
        allow_abbrev=False,
    )  # fmt: skip
    command.add_argument("comparisons", nargs="+", type=folder, metavar="COMPARISON", help="folders, of two data sets")
    command.add_argument("--against", default="cross-entropy", metavar="RECIPE", help="the reference (cross-entropy)")
    command.add_argument("--out", type=folder, default=Path("runs/across"), metavar="FOLDER", help="(runs/across)")


def run(options: argparse.Namespace, settings: list[str]) -> int:
    """``fsgl across``."""
    from fsgl.comparison.across import read_sets, report_across
    from fsgl.report.summary import print_table

    report = report_across(read_sets(options.comparisons, options.against), options.against)
    for table in report.tables.values():
        print_table(table)
    report.write(options.out, {})
    print(f"page        {options.out / 'comparison.html'}")
    return 0
