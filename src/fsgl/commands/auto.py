"""``fsgl auto``: from images to a trained network in a given time."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from fsgl.commands.arguments import FORM, add_device, add_workers, folder, within
from fsgl.commands.reading import add_reading

if TYPE_CHECKING:
    from fsgl.automatic.finish import Outcome

DESCRIPTION = """\
From your images to a good network in the minutes that you have: looks them over, extracts features once, tries heads,
losses and their settings on folds of the training images, fine-tunes the best where there is time for it, trains the
one that the folds choose, scores the test images once, and says what was tried, why this one, how sure that is, and
which classes need more images.

Ctrl-C ends the search early with the best so far; the same command goes on, with what is left of the minutes."""


def add(commands: Any) -> None:
    """The options."""
    command = commands.add_parser(
        "auto", help="a good network for your images, in the minutes you have", description=DESCRIPTION,
        formatter_class=FORM, allow_abbrev=False,
    )  # fmt: skip
    command.add_argument("data", metavar="PATH", help="a folder, table, list or .npz, as for train --data; or a name")
    command.add_argument(
        "--minutes", type=float, default=10.0, metavar="M", help="for everything, to the end of the command (10)"
    )
    command.add_argument("--root", metavar="FOLDER", help="folder of the archives, or where a table's paths start")
    command.add_argument("--imbalance-factor", metavar="IF", help="of a named data set: largest over smallest class")
    command.add_argument("--backbone", metavar="NAME", help="timm:NAME (default: timm:tf_efficientnet_lite0)")
    command.add_argument("--pretrained", nargs="?", const="hub", metavar="FILE", help="the hub's, package or FILE")
    command.add_argument("--image-size", metavar="PIXELS", help="side of what it is shown (default: the model's own)")
    command.add_argument("--seed", metavar="N", help="of folds and weights (0)")
    add_reading(command)
    how = command.add_argument_group("how it runs")
    how.add_argument("--run", type=folder, metavar="FOLDER", help="the run folder (default: runs/auto-DATA)")
    how.add_argument("--jobs", type=int, metavar="N", help="trials at a time (default: one a core)")
    how.add_argument("--ray", metavar="ADDRESS", help="trials on a Ray cluster that shares the disk; or local")
    how.add_argument("--feature-cache", metavar="FOLDER", type=folder, help="where features are kept (a cache)")
    add_device(how)
    add_workers(how)


def run(options: argparse.Namespace, settings: list[str]) -> int:
    """``fsgl auto``. settings: name=value."""
    began = time.monotonic()
    from fsgl.automatic.asked import Asked
    from fsgl.automatic.run import auto
    from fsgl.engine.runtime import Runtime
    from fsgl.recipes.on_data import SHORT_NAMES

    given = {name: getattr(options, short, None) for short, name in SHORT_NAMES.items()}
    assignments = [f"{name}={value}" for name, value in given.items() if value is not None]
    runtime = Runtime(
        options.device, within("--workers", options.workers, 0), trackers=(), feature_cache=options.feature_cache,
        show=False,
    )  # fmt: skip
    jobs = None if options.jobs is None else within("--jobs", options.jobs, 1)
    where = {} if options.root is None else {"root": options.root}
    outcome = auto(Asked(
        options.data, options.minutes, where, assignments + settings, options.run, jobs, runtime, began=began,
        ray=options.ray,
    ))  # fmt: skip
    print_outcome(outcome)
    return 0 if outcome.signal_number is None else 128 + outcome.signal_number


def print_outcome(outcome: Outcome) -> None:
    """On the terminal."""
    from fsgl.automatic.page import advice, reasons

    if outcome.found is None:
        print("stopped before anything was tried; the same command goes on")
        return
    print()
    for line in (*reasons(outcome.found), *advice(outcome.found)):
        print(line)
    print(f"\npage        {outcome.page}\nrun folder  {outcome.folder}")
    if outcome.signal_number is not None:
        print("stopped early; the same command goes on")
