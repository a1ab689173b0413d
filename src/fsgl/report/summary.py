"""What a person reads when a run ends: the protocol's figures, the classes, the picture, and where things are."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fsgl.errors import UserError
from fsgl.recipes.budget import budget_note
from fsgl.report.curves import draw_curves
from fsgl.report.render import WIDTH, Table, clean_name
from fsgl.report.table import comparison_table, per_class_table, protocol_table, render_protocol
from fsgl.report.transfers import brief_transfer, transfer_key

History = Sequence[Mapping[str, Any]]


def print_table(table: Table) -> None:
    """With colours on a terminal, as aligned text elsewhere."""
    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(table.rich())
    else:
        print(table.text())
    print()


def print_run(folder: Path, record: Mapping[str, Any], history: History) -> None:
    """The three figures of the protocol, each class, curves as a picture."""
    headline = record["settings"]["evaluation"]["headline"]
    names, counts = record["class_names"], record["class_counts"]
    title = ", ".join(filter(None, [record["settings"]["recipe"], brief_transfer(record)]))
    print()
    print_table(render_protocol(protocol_table(history, headline), title))
    if history and history[-1]["test"] is not None:
        print_table(per_class_table(history[-1]["test"], names, counts))
    spared = record["data"]["classes_without_validation"]
    if spared:
        few = ", ".join(clean_name(names[k]) for k in spared[:10]) + (", ..." if len(spared) > 10 else "")
        print(f"{len(spared)} classes are too small to spare an image for validation: {few}")
    curves = {record["settings"]["recipe"]: history}
    picture = draw_curves(curves, folder / "curves.png", folder.name, class_counts=counts, class_names=names)
    print(f"run folder  {folder}\ncurves      {picture}")


def print_comparison(
    parent: Path, folders: Sequence[Path], records: Sequence[Mapping[str, Any]], histories: Sequence[History]
) -> None:
    """Runs on the same data beside each other."""
    if len({record["data"]["split_hash"] for record in records}) > 1:
        raise UserError(f"the runs under {parent} used different images and cannot be compared")
    if len({transfer_key(record) for record in records}) > 1:
        raise UserError(f"the runs under {parent} began with different weights, or trained another part of them")
    runs = {record["settings"]["recipe"]: history for record, history in zip(records, histories, strict=True)}
    names, counts = records[0]["class_names"], records[0]["class_counts"]
    print()
    for table in comparison_table(runs, names, counts):
        print_table(table)
    if note := budget_note(records):
        print("\n".join(textwrap.wrap(note, WIDTH)) + "\n")
    picture = draw_curves(runs, parent / "curves.png", parent.name, class_counts=counts, class_names=names)
    print("run folders " + ", ".join(str(folder) for folder in folders))
    print(f"curves      {picture}")


def print_metrics(
    title: str, metrics: Mapping[str, Any], class_names: Sequence[str], class_counts: Sequence[int]
) -> None:
    """One evaluation: the overall figures and each class."""
    for table in comparison_table({title: metrics})[:1]:
        print_table(table)
    print_table(per_class_table(metrics, class_names, class_counts))
