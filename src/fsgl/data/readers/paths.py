"""Paths as lists and tables write them: inside the image folder, or refused."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from fsgl.errors import UserError

_SUFFIXES = (".jpg", ".png", ".jpeg", ".JPG", ".PNG", ".JPEG", ".tif", ".webp")
_DRIVE = re.compile(r"[A-Za-z]:[/\\]")


def inside(root: Path, written: str, where: str) -> str:
    """``written`` as a path relative to ``root``; an absolute one is taken where it lies under the root.

    where: file and line, for the error. Raises UserError for a path that is empty or leads out of the root. Links are
    not followed here: the one place that opens images (data/images/image_files.py) refuses those that lead out.
    """
    relative = clean(written, root)
    if relative in ("", ".") or leaves_root(relative):
        raise UserError(f"{where}: '{shorten(written)}' must be a path inside the image folder '{root}'")
    return relative


def clean(written: str, root: Path) -> str:
    """``written`` without what means nothing in a path ("//", "/./", spaces around it), relative to ``root`` where it
    is absolute and lies under it. One file has one spelling then, but for links and ".."."""
    relative = _squeezed(written.strip())
    return relative.removeprefix(os.path.join(os.path.abspath(root), "")) if relative.startswith("/") else relative


def _squeezed(path: str) -> str:
    if "//" in path or "./" in path or path.endswith("/."):
        steps = [step for step in path.split("/") if step not in ("", ".")]
        return "/" * path.startswith("/") + "/".join(steps)
    return path


def leaves_root(relative: str) -> bool:
    """Whether a path, taken from some folder, may lead out of it: absolute, with "..", or no path at all."""
    if relative.startswith(("/", "\\")) or _DRIVE.match(relative) or "\0" in relative:
        return True
    return ".." in relative and ".." in re.split(r"[/\\]", relative)


def require_some_file(root: Path, paths: Sequence[str], where: str) -> None:
    """Raises UserError where ``root`` is no folder, or holds none of the first hundred files: it is the wrong one."""
    if not root.is_dir():
        raise UserError(f"{where}: the image folder '{root}' does not exist (or is no folder); name it with --root")
    if not any(os.path.isfile(root / path) for path in paths[:100]):
        bare = next((s for s in _SUFFIXES for path in paths[:20] if os.path.isfile(root / f"{path}{s}")), None)
        if bare:
            raise UserError(f"{where}: its paths lack the suffix of the files ('{shorten(paths[0])}{bare}'); add it")
        if any("\\" in path and os.path.isfile(root / path.replace("\\", "/")) for path in paths[:100]):
            raise UserError(f"{where}: its paths are written with backslashes ('{shorten(paths[0])}'); write slashes")
        raise UserError(
            f"{where}: its first image '{shorten(paths[0])}' is not under '{root}'; "
            "name the folder that its paths start from with --root"
        )


def shorten(text: str, whole: bool = False) -> str:
    """``text`` for a message: in one line, of 80 characters at most. whole: with the spaces around it, and signs that
    are not seen written as in Python."""
    text = text if whole else text.strip()
    text = text if len(text) <= 80 else text[:77] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() if whole else "?" for c in text)
