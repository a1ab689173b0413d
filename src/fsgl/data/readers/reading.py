"""How somebody's own images are to be read where their folders or tables can be understood in two ways."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from fsgl.errors import UserError
from fsgl.settings import check, setting

PARTS = {"train": "training", "val": "validation", "test": "test"}
_FOLDERS = ("class_level", "group_level", "exclude")
_TABLES = ("path_column", "label_column", "split_column", "group_column")


LEVEL: Any = {"at_least": 1, "at_most": 100}


@dataclass(frozen=True)
class Reading:
    """What a person says of how their images are to be read. The defaults go by the names that people give.

    Raises UserError for values that are none of these.
    """

    parts: str | None = setting(None, "folders, or values of the split column, that are parts: train=NAME,test=NAME")
    class_level: int | None = setting(None, "which folder below PATH names the class, 1 for those in it", **LEVEL)
    group_level: int | None = setting(None, "which folder names the group, kept on one side of a split", **LEVEL)
    exclude: str | None = setting(None, "names of folders to pass over, with commas")
    path_column: str | None = setting(None, "of a table: the column of paths")
    label_column: str | None = setting(None, "of a table: the column of labels")
    split_column: str | None = setting(None, "of a table: the column of parts")
    group_column: str | None = setting(None, "of a table: the column of groups, kept on one side of a split")
    links: str = setting("inside", "links are taken to files in PATH alone, or all", choices=("inside", "follow"))
    unlabelled: str = setting("error", "rows without a label", choices=("error", "skip"))
    joined_labels: str = setting("ask", "where most labels look like a|b; whole is a name", choices=("ask", "whole"))
    lost_classes: str = setting("error", "classes that cannot be read here", choices=("error", "skip"))

    def __post_init__(self) -> None:
        check(self, "data.reading")
        self.named_parts()

    def named_parts(self) -> dict[str, str]:
        """By folder or value of ``parts``, the part that it is."""
        named: dict[str, str] = {}
        # A comma that begins no further part belongs to the name.
        for each in re.split(r",(?=\s*\w+=)", self.parts or "") if self.parts else []:
            part, equals, name = each.strip().partition("=")
            if not equals or not name or part not in PARTS:
                raise UserError(f"--parts is written train=NAME,test=NAME (and val=NAME), not '{self.parts}'")
            if named.setdefault(name, part) != part:
                raise UserError(f"--parts: '{name}' is given as both {named[name]} and {part}")
        return named

    def excluded(self) -> frozenset[str]:
        """The names of ``exclude``, for comparison without regard to case."""
        return frozenset(name.strip().casefold() for name in (self.exclude or "").split(",") if name.strip())

    def require(self, kind: str, where: str) -> None:
        """Raises UserError for what is said of another kind of input: kind is "folder", "table", "list" or "arrays"."""
        unused = {"folder": _TABLES, "table": _FOLDERS, "list": (*_TABLES, *_FOLDERS, "parts"), "arrays": (
            *_TABLES, *_FOLDERS, "parts"), "prepared": (*_TABLES, *_FOLDERS, "parts")}[kind]  # fmt: skip
        given = [flag(name) for name in unused if getattr(self, name) is not None]
        if given:
            what = {"arrays": "an .npz", "prepared": "a prepared set"}.get(kind, f"a {kind}")
            raise UserError(f"{where}: is {what}; {given[0]} does not apply to it")


def flag(name: str) -> str:
    """A setting of Reading as its option is written."""
    return "--" + name.replace("_", "-")
