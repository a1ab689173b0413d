"""Which comparisons may stand on the first page."""

from __future__ import annotations

from collections.abc import Sequence

from fsgl.comparison.entries import Entry

ENOUGH_SEEDS = 3


def with_enough_seeds(entries: Sequence[Entry]) -> list[Entry]:
    """The entries that may stand on the first page."""
    return [entry for entry in entries if len(entry.runs) >= ENOUGH_SEEDS]
