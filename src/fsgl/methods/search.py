"""What a setting may be tuned to: declared beside a method's fields, searched by ``fsgl tune``.

A space is wide enough to hold what papers have used, and always holds the published value.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """Numbers from low to high.  log: even in their logarithm, for what acts by factors."""

    low: float
    high: float
    log: bool = False

    def holds(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high


@dataclass(frozen=True)
class Choice:
    """One of these."""

    values: tuple[float | str, ...]

    def holds(self, value: object) -> bool:
        return value in self.values


Search = Range | Choice
