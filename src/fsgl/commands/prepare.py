"""``fsgl prepare``: images decoded and shrunk once, for fast training."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsgl.commands.arguments import FORM, add_white_level, add_workers, folder, within
from fsgl.commands.reading import add_reading, reading_of
from fsgl.errors import UserError
from fsgl.progress import progress

if TYPE_CHECKING:
    from fsgl.data.images.shards import Prepared

DESCRIPTION = """\
Decode every image once, shrink it, and store all of them for access in any order.

Training takes OUT as it takes PATH: fsgl train fsgl --data OUT. Stop it whenever you like; the same command goes on."""


def add(commands: Any) -> None:
    """The options."""
    command = commands.add_parser(
        "prepare", help="decode and shrink a set of images once, for fast training", description=DESCRIPTION,
        formatter_class=FORM, allow_abbrev=False,
    )  # fmt: skip
    command.add_argument("path", type=folder, metavar="PATH", help="the images, as for --data; with --verify OUT")
    command.add_argument("out", nargs="?", type=folder, metavar="OUT", help="a new folder")
    command.add_argument("--root", metavar="FOLDER", help="where the paths of a table or list start")
    command.add_argument("--short-side", type=int, default=256, metavar="N", help="pixels of the shorter side (256)")
    command.add_argument(
        "--encoding", default="raw", help="raw (default): pixels, the fastest; jpeg: a sixth of the space, quality 95"
    )
    add_white_level(command)
    add_workers(command, "processes")
    add_reading(command)
    command.add_argument("--bad-images", default="skip", metavar="WHAT", help="skip (default) and list, or error")
    command.add_argument("--verify", action="store_true", help="check every byte of a prepared set")


def run(options: argparse.Namespace, settings: list[str]) -> int:
    """Prepare, or verify. Returns the exit code."""
    from fsgl.data.images.bad_images import BadImages
    from fsgl.data.images.shard_writer import PrepareSpec, prepare, verify
    from fsgl.data.images.white_level import with_scale
    from fsgl.data.readers.own import find_source

    if options.verify:
        if options.out is not None:
            raise UserError("--verify takes one folder, the prepared one")
        with progress("verifying", "files") as bar:
            prepared = verify(options.path, bar.at)
        print(f"{options.path}: every byte is as it was written ({_size(prepared)})")
        return 0
    if options.out is None:
        raise UserError("name the new folder as well: fsgl prepare PATH OUT")
    spec = PrepareSpec(options.short_side, options.encoding)
    source = find_source(options.path, None if options.root is None else Path(options.root), reading_of(options))
    source = with_scale(source, options.white_level)
    print("\n  ".join((source.found, *source.notes)))
    workers, bad = within("--workers", options.workers, 0), BadImages(options.bad_images)
    try:
        with progress("preparing") as bar:
            prepared = prepare(source, options.out, spec, workers, bad, bar.at)
    except KeyboardInterrupt as request:
        raise type(request)("stopped; the same command goes on from the shards that are written") from None
    for _, path, reason in prepared.skipped[:10]:
        print(f"left out: {path}: {reason}")
    if len(prepared.skipped) > 10:
        print(f"... and {len(prepared.skipped) - 10} more, all in {options.out / 'prepared.json'}")
    print(f"{options.out}: {_size(prepared)}; to train: fsgl train fsgl --data {options.out}")
    return 0


def _size(prepared: Prepared) -> str:
    shards = [shard for part in prepared.parts.values() for shard in part]
    images, size = sum(shard.images for shard in shards), sum(shard.bytes for shard in shards)
    return f"{images:,} images, {size / 1e6:,.1f} MB"
