"""Experiment trackers beside metrics.jsonl: TensorBoard, and Weights & Biases as an extra."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from fsgl.errors import UserError, first_line, unknown


class Tracker(Protocol):
    """Told of every epoch."""

    def epoch(self, row: dict[str, Any]) -> None: ...
    def close(self) -> None: ...


def scalars(row: dict[str, Any]) -> dict[str, float]:
    """The single numbers of a row of metrics.jsonl, by path: ``loss/total``, ``test/top1``, ..."""
    values = {f"loss/{name}": value for name, value in row["loss"].items()}
    values["train/lr"] = row["lr"]
    values["train/images_per_second"] = row["images"] / row["seconds"]
    for part in ("val", "test"):
        for name, value in (row[part] or {}).items():
            if isinstance(value, float):
                values[f"{part}/{name}"] = value
    return values


class TensorBoard:
    """An event file in ``folder/tensorboard``, one a session; a resumed run replaces the epochs that it takes again.

    Written here and now by TensorBoard's own record writer: the thread of its SummaryWriter answers a full disk with
    a traceback, and would be one more thing that decoding workers inherit.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], first_epoch: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        # The reader takes a folder's files in the order of their names.
        name = f"events.out.tfevents.{int(time.time()):010d}.{platform.node() or 'here'}.{os.getpid()}"
        self._path = folder / "tensorboard" / name
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("ab")
        except OSError as error:
            raise UserError(f"{self._path}: cannot be written ({error.strerror})") from None
        # The second tells the reader to forget what an earlier session wrote from this epoch on.
        restart = SessionLog(status=SessionLog.START)
        self._write([Event(file_version="brain.Event:2"), Event(step=first_epoch, session_log=restart)])

    def epoch(self, row: dict[str, Any]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars(row).items()]
        self._write([Event(step=row["epoch"], summary=Summary(value=values))])

    def close(self) -> None:
        with contextlib.suppress(OSError):  # the disk's last word has been said by _write
            self._file.close()

    def _write(self, events: list[Any]) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        records = io.BytesIO()
        for event in events:
            event.wall_time = time.time()
            RecordWriter(records).write(event.SerializeToString())
        try:
            self._file.write(records.getvalue())
            self._file.flush()
        except OSError as error:
            raise UserError(f"{self._path}: cannot be written ({error.strerror}); fix that and --resume") from None


class WeightsAndBiases:
    """A W&B run named as the folder; WANDB_MODE=offline keeps it on this machine."""

    def __init__(self, folder: Path, settings: dict[str, Any], first_epoch: int) -> None:
        import wandb

        try:
            self._run = wandb.init(project="fsgl", name=folder.name, dir=str(folder), config=settings)
        except (wandb.Error, OSError) as error:
            reason = first_line(error).rstrip(".")
            raise UserError(f"W&B does not start: {reason}; WANDB_MODE=offline needs neither key nor network") from None

    def epoch(self, row: dict[str, Any]) -> None:
        self._run.log(scalars(row), step=row["epoch"])

    def close(self) -> None:
        self._run.finish()


TRACKERS: dict[str, Callable[[Path, dict[str, Any], int], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
}


def require_trackers(names: tuple[str, ...]) -> None:
    """Raises UserError for a tracker that is unknown or not installed."""
    for name in names:
        if name not in TRACKERS:
            raise unknown("tracker", name, [*TRACKERS, "none"])
    if "wandb" in names and importlib.util.find_spec("wandb") is None:
        raise UserError("the tracker wandb needs its extra: pip install 'fsgl[wandb]'")


def make_trackers(names: tuple[str, ...], folder: Path, settings: dict[str, Any], first_epoch: int) -> list[Tracker]:
    """The named trackers for a run folder. Raises UserError where one cannot start."""
    require_trackers(names)
    return [TRACKERS[name](folder, settings, first_epoch) for name in names]
