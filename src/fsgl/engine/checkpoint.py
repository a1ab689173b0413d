"""Checkpoints that are whole or refused.

A checkpoint is one file, ``epoch-0003-step-00120-<digest>.pt``, that torch.load reads; the last part of
its name is the start of the SHA-256 of the rest of its name and its content. One rename makes it, so
there is no moment at which a half-written one could be taken for whole, and one that was altered or
renamed later no longer matches its name. Loaded with ``weights_only=True``: nothing in it can execute.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import shlex
from pathlib import Path
from typing import Any

import torch

from fsgl.errors import UserError
from fsgl.files import remove_partial, write_atomically

_NAME = re.compile(r"(epoch-(\d+)-step-(\d+))-([0-9a-f]{16})\.pt", re.ASCII)


def save_checkpoint(folder: Path, payload: dict[str, Any], epoch: int, step: int, keep: int = 2) -> Path:
    """Write a checkpoint and remove all but the newest ``keep``. Raises UserError where the disk does not take it."""
    buffer = io.BytesIO()
    torch.save(payload, buffer)
    content = buffer.getvalue()
    place = f"epoch-{epoch:04d}-step-{step:05d}"
    path = folder / f"{place}-{_digest(place, content)}.pt"
    write_atomically(path, content)
    for old in list_checkpoints(folder)[keep:]:
        old.unlink(missing_ok=True)
    remove_partial(folder)
    return path


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, newest first."""
    return sorted((path for path in folder.glob("*.pt") if _NAME.fullmatch(path.name)), key=_place, reverse=True)


def make_newest(path: Path, folder: Path) -> None:
    """Remove the checkpoints of ``folder`` that would be taken for newer than ``path``: torn ones, or not chosen."""
    chosen = path.resolve()
    for other in list_checkpoints(folder):
        if _place(other)[:2] >= _place(path)[:2] and other.resolve() != chosen:
            other.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """What ``save_checkpoint`` was given.

    Raises UserError for a file that is torn, altered or none of ours; it names the one before it, if there is one.
    """
    match = _NAME.fullmatch(path.name)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if match is None:
        raise UserError(f"{path}: not a checkpoint of fsgl (epoch-…-step-…-….pt); see the run's checkpoints/ folder")
    if _digest(match[1], content) != match[4]:
        raise UserError(f"{path}: torn or altered (its content does not match its name); {alternative(path)}")
    try:
        payload = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # torch's own message recommends to load it all the same
        raise UserError(
            f"{path}: holds more than tensors and plain values, none of which was executed; {alternative(path)}"
        ) from None
    except Exception as error:  # from arbitrary bytes the unpickler raises anything
        raise UserError(f"{path}: not readable as a checkpoint ({type(error).__name__}); {alternative(path)}") from None
    if not isinstance(payload, dict):
        raise UserError(f"{path}: not a checkpoint of fsgl (no dictionary in it); {alternative(path)}")
    return payload


def alternative(path: Path) -> str:
    """What to do about a checkpoint that is refused: the one before it, where there is one."""
    before = [other for other in list_checkpoints(path.parent) if _place(other) < _place(path)]
    if not before:
        return "there is no older one: begin again without --resume, in another --run folder"
    return f"the one before it is {before[0]}: go on from it with --resume {shlex.quote(str(before[0]))}"


def _place(path: Path) -> tuple[int, int, str]:
    """Epoch, step and, so that two of the same place stand in one order always, the name; (-1, -1, "") without."""
    match = _NAME.fullmatch(path.name)
    return (int(match[2]), int(match[3]), path.name) if match else (-1, -1, "")


def _digest(place: str, content: bytes) -> str:
    return hashlib.sha256(place.encode() + content).hexdigest()[:16]
