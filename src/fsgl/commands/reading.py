"""The options that say how somebody's own images are to be read; the same for every command that reads them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fsgl.data.readers.reading import Reading


def add_reading(command: Any) -> None:
    """Which folder is what, which column, and what may be left out: the fields of ``Reading`` under their names."""
    how = command.add_argument_group("how your images are read, where that is open (docs/own-images.md)")
    how.add_argument("--parts", metavar="train=NAME,...", help="folders, or values of the split column, that are parts")
    how.add_argument("--class-level", type=int, metavar="N", help="the class is the Nth folder below PATH")
    how.add_argument("--exclude", metavar="NAME,...", help="folders to pass over, wherever they lie")
    how.add_argument("--path-column", metavar="NAME", help="of a table: paths")
    how.add_argument("--label-column", metavar="NAME", help="of a table: labels")
    how.add_argument("--split-column", metavar="NAME", help="of a table: train, val or test")
    how.add_argument("--group-column", metavar="NAME", help="of a table: what is kept on one side of a split")
    how.add_argument("--group-level", type=int, metavar="N", help="... of a folder: the Nth folder below PATH")
    how.add_argument(
        "--follow-links", dest="links", action="store_const", const="follow", help="links that lead out of PATH, too"
    )
    how.add_argument("--unlabelled", metavar="WHAT", help="rows without a label: error (default) or skip")
    how.add_argument("--joined-labels", metavar="WHAT", help="labels such as a|b: ask (default), or take them whole")
    how.add_argument("--lost-classes", metavar="WHAT", help="classes that cannot be read: error (default) or skip")


def reading_of(options: argparse.Namespace) -> Reading:
    """What the options say. Raises UserError."""
    from dataclasses import fields

    from fsgl.data.readers.reading import Reading

    given = {field.name: getattr(options, field.name) for field in fields(Reading)}
    return Reading(**{name: value for name, value in given.items() if value is not None})
