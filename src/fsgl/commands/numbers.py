"""Numbers given as options."""

from __future__ import annotations

from fsgl.errors import UserError


def within(name: str, value: int, least: int, most: int = 1024) -> int:
    """The value, if it is within these bounds. Raises UserError."""
    if not least <= value <= most:  # more threads or processes than that end in a crash of the machine's making
        raise UserError(f"{name} must be from {least} to {most}, not {value}")
    return value
