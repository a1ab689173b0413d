"""The end of docs/architecture.md: what was counted before modules became rooms, and since (benchmarks/house.py)."""

from __future__ import annotations

from pathlib import Path

from fsgl.files import read_json
from fsgl.report.render import Table

RECORD = "house.json"
TITLE = "## Before the rooms, and now"


def architecture_page(text: str, results: Path) -> str:
    """The page with the counts of the record at its end."""
    record = read_json(results / RECORD)
    before, now = record["content"]["before"], record["content"]["now"]
    rows = [
        (f"{what} in {folder}/", *(f"{each[folder][what]:,}" for each in (before, now)))
        for what in ("files", "lines") for folder in ("src", "tests", "benchmarks")
    ]  # fmt: skip
    for name, key in {
        "modules in no room": "flat", "rooms": "rooms", "lines of the package's longest file": "longest",
        "lines that check settings when they are made": "post_init",
        "lines that tell kinds of images apart (isinstance)": "kinds",
    }.items():  # fmt: skip
        rows.append((name, *(f"{each[key]:,}" for each in (before, now))))
    headings = ("", f"before ({before['commit']})", f"now ({record['environment']['commit'][:7]})")
    return (
        f"{text.split(TITLE)[0].rstrip()}\n\n{TITLE}\n\nCounted by `python {record['command'].split(maxsplit=1)[1]}`; "
        "what was added since (`fsgl auto`, prediction sets, pages of records, and so on) is in it.\n\n"
        + Table("", headings, tuple(rows)).markdown()
    )
