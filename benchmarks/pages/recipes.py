"""What every recipe's docstring says of its results, from the records: src/fsgl/recipes/evidence.py, written whole."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fsgl.comparison.cost import seconds
from fsgl.comparison.entries import Entry, accuracy, describe_machine, make_entries
from fsgl.comparison.tables import with_interval
from fsgl.recipes import RECIPES
from fsgl.recipes.budget import ENOUGH_EPOCHS

PUBLISHED = {"fsgl": "FSGL", "glmc": "GLMC, same code line", "glmc-sam": "GLMC + SAM, same code line"}
HEAD = '''"""What the records say of each recipe; written by ``make docs``, and part of the recipes' docstrings."""

from __future__ import annotations

EVIDENCE: dict[str, str] = {
'''


def evidence_module(
    comparisons: Sequence[tuple[str, Sequence[Mapping[str, Any]]]], published: Sequence[Mapping[str, Any]]
) -> str:
    """Python source. comparisons: title and records of runs that may be ranked together.  published: their records."""
    entries = [(title, records[0]["environment"], entry) for title, records in comparisons
               if records[0]["content"]["settings"]["optim"]["epochs"] >= ENOUGH_EPOCHS
               for entry in make_entries([record["content"] for record in records])]  # fmt: skip
    lines = []
    for name in RECIPES:
        said = [f"Command: fsgl train {name} --data cifar100 --val 0", *_published(name, published)]
        own = [(title, environment, entry) for title, environment, entry in entries if entry.label == name]
        said += [_ours(*each) for each in own] or ["Ours: nothing of 40 epochs or more yet."]
        lines.append(f"    {json.dumps(name)}: (\n" + "".join(
            f"        {json.dumps(part + end, ensure_ascii=False)}\n"
            for line in said for part, end in _wrapped(line)
        ) + "    ),\n")  # fmt: skip
    return HEAD + "".join(lines) + "}\n"


def _ours(title: str, environment: Mapping[str, Any], entry: Entry) -> str:
    shared = any(session.get("jobs", 1) > 1 for run in entry.runs for session in run.get("sessions", []))
    took = "" if shared else f", {seconds(entry):.0f} s the fastest run"  # beside others it would say little
    return (
        f"Ours: {title}: {with_interval(entry.interval(accuracy))} (n = {len(entry.runs)}; "
        f"{describe_machine(environment)}{took})"
    )


def _published(name: str, records: Sequence[Mapping[str, Any]]) -> list[str]:
    said = []
    for record in records:
        for row in record["content"]["rows"]:
            if row["method"] == PUBLISHED.get(name):
                figures = zip(record["content"]["columns"], row["accuracy"], strict=True)
                known = ", ".join(f"{column} {value:g}" for column, value in figures if value is not None)
                said.append(f"Published: {known} (single runs, best test epoch; CIFAR: resnet34, 200 epochs)")
    return said or ["Published: no figure of this code line"]


def _wrapped(line: str, width: int = 96) -> list[tuple[str, str]]:
    """Pieces short enough for a line of source, and what ends each."""
    pieces, rest = [], line
    while len(rest) > width:
        cut = rest.rfind(" ", 0, width) + 1
        pieces.append((rest[:cut], ""))
        rest = rest[cut:]
    return [*pieces, (rest, "\n")]
