"""Files that are whole or not there: written beside, flushed to the disk, renamed. And what CSV files hold."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from fsgl.errors import UserError


def csv_text(rows: Iterable[Iterable[str]]) -> str:
    """The rows as CSV (RFC 4180, a newline after each), from which every cell is read back as it is.

    Not by the csv module, which before Python 3.13 leaves a carriage return in a cell without quotes.
    """

    def cell(text: str) -> str:
        return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') else text

    return "".join(",".join(map(cell, row)) + "\n" for row in rows)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content``, or leave it as it was.

    Raises UserError where the disk is full or the folder cannot be written; no partial file remains.
    """
    try:
        with replacing(path) as beside:
            beside.write_bytes(content)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); what was saved before is untouched") from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new file beside ``path`` to be written within, which takes its place afterwards; not where anything was raised.

    Raises OSError where the disk is full or the folder cannot be written; no partial file remains.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    beside = Path(name)
    try:
        with os.fdopen(descriptor, "r+b") as file:
            if sys.platform != "win32":
                os.fchmod(file.fileno(), 0o644)  # mkstemp's 0600 would hide results from the user's own group
            yield beside
            os.fsync(file.fileno())  # the same file, whoever wrote it
        os.replace(beside, path)
        _sync_folder(path.parent)
    finally:  # renamed and gone, or left by whatever went wrong, an interrupt too
        with contextlib.suppress(OSError):
            beside.unlink()


def _sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` last through a power cut."""
    if sys.platform == "win32":  # where a folder cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_partial(folder: Path) -> None:
    """Remove what a process that was killed while it wrote left in ``folder``; only for the folder's sole user."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)


def _lock(file: IO[str]) -> None:
    """Hold a file until it is closed. Raises BlockingIOError or PermissionError where another process holds it."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        # lockf, not flock: decoding workers, which outlive a killed parent for a moment, do not inherit it
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def sole_user(folder: Path) -> Iterator[None]:
    """Within: no other process that asks is let into ``folder``, which is made where it is missing.

    Raises UserError where another process is in it, or the folder cannot be made. However a process ends, it is out.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror})") from None
    with file:
        try:
            _lock(file)
        except (BlockingIOError, PermissionError):
            raise UserError(f"{folder}: another process is at work in it") from None
        except OSError:
            pass  # a file system without locks
        here = os.path.realpath(folder)
        _AT_WORK.add(here)
        try:
            yield
        finally:
            _AT_WORK.discard(here)


_AT_WORK: set[str] = set()  # the folders that this process is the sole user of


def is_in_use(folder: Path) -> bool:
    """Whether a process is within ``sole_user`` of this folder; True where that cannot be told."""
    if os.path.realpath(folder) in _AT_WORK:  # its own lock would be lost with the file that is closed below
        return True
    try:
        with (folder / ".lock").open("r+") as file:
            _lock(file)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def write_json(path: Path, value: Any) -> None:
    """``value`` as indented JSON, atomically. Raises ValueError for NaN: a record must be readable by anyone."""
    write_atomically(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises UserError, naming file and line, where there is none."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (ValueError, RecursionError) as error:  # ValueError: no JSON, no UTF-8, or a number of 5000 digits
        raise UserError(f"{path}: not valid JSON ({error})") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
