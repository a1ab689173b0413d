"""Checkpoints that are whole or refused.

A checkpoint is one file, ``epoch-0003-step-00120-<digest>.pt``, that torch.load reads; the last part of
its name is the start of its content's SHA-256. One rename makes it, so there is no moment at which a
half-written one could be taken for whole, and one that was altered later no longer matches its name.
Loaded with ``weights_only=True``: nothing in it can execute.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import re
from pathlib import Path
from typing import Any

import torch

from fsgl.errors import UserError
from fsgl.files import write_atomically

_NAME = re.compile(r"epoch-(\d+)-step-(\d+)-([0-9a-f]{16})\.pt")


def save_checkpoint(folder: Path, payload: dict[str, Any], epoch: int, step: int, keep: int = 2) -> Path:
    """Write a checkpoint and remove all but the newest ``keep``. Raises UserError where the disk does not take it."""
    buffer = io.BytesIO()
    torch.save(payload, buffer)
    content = buffer.getvalue()
    path = folder / f"epoch-{epoch:04d}-step-{step:05d}-{_digest(content)}.pt"
    write_atomically(path, content)
    for old in list_checkpoints(folder)[keep:]:
        old.unlink(missing_ok=True)
    for part in folder.glob(".*.part"):  # left by a process that was killed while writing
        part.unlink(missing_ok=True)
    return path


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, newest first."""
    found = [(match, path) for path in folder.glob("*.pt") if (match := _NAME.fullmatch(path.name))]
    return [path for match, path in sorted(found, key=lambda item: (int(item[0][1]), int(item[0][2])), reverse=True)]


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
    if _digest(content) != match[3]:
        raise UserError(f"{path}: torn or altered (its content does not match its name); {_alternative(path)}")
    try:
        payload: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not readable as a checkpoint ({reason}); {_alternative(path)}") from None
    return payload


def _alternative(path: Path) -> str:
    checkpoints = list_checkpoints(path.parent)
    before = checkpoints[checkpoints.index(path) + 1 :] if path in checkpoints else []
    if not before:
        return "there is no older one: begin again without --resume, in another --run folder"
    return f"the one before it is {before[0]}: go on from it with --resume {before[0]}"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
