"""What the commands' options share: readers of words and numbers, and options that many commands have."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fsgl.errors import UserError

FORM = argparse.RawDescriptionHelpFormatter


def folder(text: str) -> Path:
    """A path that was given; an empty one is a mistake."""
    if not text:
        raise argparse.ArgumentTypeError("the name of the folder is empty")
    return Path(text)


def above_0(text: str) -> float:
    """A number above 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def within(name: str, value: int, least: int, most: int = 1024) -> int:
    """The value, if it is within these bounds. Raises UserError."""
    if not least <= value <= most:  # more threads or processes than that end in a crash of the machine's making
        raise UserError(f"{name} must be from {least} to {most}, not {value}")
    return value


def add_run(command: Any) -> None:
    """``RUN``, a run folder."""
    command.add_argument("run", type=folder, metavar="RUN", help="a run folder")


def add_weights(command: Any) -> None:
    """``--weights``, which of a run's two sets."""
    command.add_argument("--weights", default="last", choices=("last", "best-val"), help="which epoch's (last)")


def add_white_level(command: Any, otherwise: str = "by what the files hold") -> None:
    """``--white-level``, of images of more than 8 bits."""
    command.add_argument(
        "--white-level", type=above_0, metavar="VALUE",
        help=f"of images of more than 8 bits a channel: the value that is white (default: {otherwise})",
    )  # fmt: skip


def add_sets(command: Any) -> None:
    """``--coverage`` and ``--by-class``, of prediction sets."""
    command.add_argument(
        "--coverage", type=float, metavar="X",
        help="also the set of classes that holds the true one in this share of cases, such as 0.9",
    )  # fmt: skip
    command.add_argument(
        "--by-class", type=float, metavar="B",
        help="that share is held over all images together (0, default), of each class (1), or between",
    )  # fmt: skip


def add_device(command: Any) -> None:
    """``--device``, on which to ask a network."""
    command.add_argument("--device", default="auto", help="auto (default), cpu, cuda, ...")


def add_workers(command: Any, what: str = "processes that decode image files") -> None:
    """``--workers``: how many read images."""
    command.add_argument("--workers", type=int, default=2, metavar="N", help=f"{what} (2)")


def add_feature_cache(command: Any) -> None:
    """``--feature-cache``, of runs that are trained on features."""
    command.add_argument(
        "--feature-cache", metavar="FOLDER", type=folder,
        help="where a frozen network's features are (default: where the run kept them)",
    )  # fmt: skip


def add_threads(command: Any) -> None:
    """``--threads``, which the command line sets before the command runs."""
    command.add_argument("--threads", type=int, metavar="N", help="CPU threads of this process")
