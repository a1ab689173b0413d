"""The scale of a set whose images have more than 8 bits a channel: decided once, from what the files hold, or given.

Nothing in a file of 16 bits says whether it holds 8, 12 or 16, and fractions may be of 1 or of 255. Decided for an
image by itself, or from the kind of file, some come out black and the same grey differs from one to the next.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fsgl.data.images.image_files import DEEP_SUFFIXES
from fsgl.data.images.pixels import extent_of, is_deep
from fsgl.data.images.scale import Extent, Scale, scale_of
from fsgl.data.images.sources import ImageFiles, Source
from fsgl.errors import UserError

HEADS = 256  # files whose heads are read to see whether there are any of more than 8 bits
WHOLE = 512  # files that are decoded, where there are
_THREADS = 4  # decoding lets go of the interpreter
T = TypeVar("T")


def with_scale(source: Source, white: float | None = None) -> Source:
    """The source with the scale of its images of more than 8 bits, and a note of it; as it is, where there are none.

    white: the white level, given; None decides it from the files. Raises UserError where no one scale fits them.
    """
    if source.scale is not None:  # of a prepared set
        if white not in (None, source.scale.white):
            raise UserError(f"{source.name} was prepared with white at {source.scale.white:g}; prepare it again")
        return source
    parts = {name: getattr(source, name) for name in ("train", "val", "test")}
    files = {name: part for name, part in parts.items() if isinstance(part, ImageFiles)}
    paths = [os.path.join(part.root, path) for part in files.values() for path in part.paths if _may_be_deep(path)]
    scale, notes = decide_scale(paths, white, source.name)
    if scale is None:
        if white is not None:
            notes = (f"the white level {white:g} has no use: no image of more than 8 bits a channel was met",)
        return replace(source, notes=(*source.notes, *notes))
    scaled: dict[str, Any] = {name: replace(part, scale=scale) for name, part in files.items()}
    return replace(source, **scaled, notes=(*source.notes, *notes), scale=scale)


def decide_scale(
    paths: Sequence[str | Path], white: float | None = None, name: str = "the images"
) -> tuple[Scale | None, tuple[str, ...]]:
    """The scale of these files, None where none has more than 8 bits a channel; and what people should know of it.

    At most ``WHOLE`` of them are decoded, evenly chosen. Raises UserError where no one scale fits them.
    """
    paths = [path for path in paths if _may_be_deep(os.fspath(path))]
    if not any(_each(is_deep, _some(paths, HEADS))):
        return None, ()
    some = _some(paths, WHOLE)
    extents: list[Extent] = [extent for extent in _each(extent_of, some) if extent is not None]
    if not extents:  # those of more than 8 bits are damaged
        return None, ()
    low, high = min(each.low for each in extents), max(each.high for each in extents)
    held = f"{len(extents):,} of {len(some):,} images looked at have more than 8 bits a channel"
    held += f", values {low:,.7g} to {high:,.7g}"
    if white is not None:
        if not low < white:
            raise UserError(f"{name}: a white level of {white:g} makes every image white; {held}")
        scale = Scale(min(0.0, scale_of([Extent(low, max(high, 1.0), True)]).black), white, given=True)
        return scale, (f"{held}: black at {scale.black:,g}, white at {white:,g}, as given",)
    try:
        scale = scale_of(extents)
    except ValueError as error:
        raise UserError(f"{name}: {held}; {error}; convert one kind, or give --white-level") from None
    note = f"{held}: black at {scale.black:,g}, white at {scale.white:,g} for all of them (--white-level takes another)"
    dark = sum(each.high <= scale.white / 16 for each in extents)
    unlike = f"{dark:,} of them hold nothing above {scale.white / 16:,.5g}: dark images, or of another scale"
    return scale, (note, *([unlike] if dark else []))


def _may_be_deep(name: str) -> bool:
    return name[name.rfind(".") :].lower() in DEEP_SUFFIXES


def _some(paths: Sequence[str | Path], most: int) -> list[Path]:
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(most, len(paths)), dtype=int))
    return [Path(paths[i]) for i in chosen.tolist()]


def _each(ask: Callable[[Path], T], paths: Sequence[Path]) -> Iterator[T | None]:
    """The answers for these files; None for those that cannot be read, of which whoever decodes them will speak."""

    def answer(path: Path) -> T | None:
        with contextlib.suppress(Exception):  # from arbitrary bytes a decoder raises anything
            return ask(path)
        return None

    with ThreadPoolExecutor(_THREADS) as pool:
        yield from pool.map(answer, paths)
