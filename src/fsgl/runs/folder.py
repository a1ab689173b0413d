"""The run folder: what a run writes, and only its leading process writes it.

    experiment.json      settings, their hash, data and its hash, environment, cost, result
    metrics.jsonl        one epoch a line
    predictions.npz      test logits and labels of the last epoch, and the training counts
    model.safetensors    weights of the last epoch;  best-val.safetensors: of the epoch best on validation
    bad-images.json      those that could not be read, with reasons, if there are any
    checkpoints/         what --resume goes on from

docs/run-folder.md says more. Every file is whole or not there (files.py).
"""

from __future__ import annotations

import contextlib
import io
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from fsgl.data.known import DATA_SETS
from fsgl.engine.checkpoint import list_checkpoints, make_newest, save_checkpoint
from fsgl.errors import UserError
from fsgl.files import is_in_use, read_json, remove_partial, sole_user, write_atomically, write_json
from fsgl.recipes.experiment import Experiment


def recorded(folder: Path) -> dict[str, Any]:
    """The content of a run's experiment.json. Raises UserError where it is missing or is no such record."""
    path = folder / "experiment.json"
    record = read_json(path)
    for name, kind in {"settings": dict, "data": dict, "class_names": list, "class_counts": list}.items():
        if not isinstance(record, dict) or not isinstance(record.get(name), kind):
            raise UserError(f"{path}: not the record of a run (no '{name}')")
    if not isinstance(record["data"].get("split_hash"), str):
        raise UserError(f"{path}: not the record of a run (no 'data.split_hash')")
    if record.get("status") == "running" and not is_in_use(folder):  # killed, and could not say so
        record["status"] = "interrupted, as its process is gone"
    return record


def how_to_go_on(folder: Path) -> str:
    """The command that goes on with a run that was interrupted."""
    return f"fsgl train --run {shlex.quote(str(folder))} --resume"


def ended_by(error: BaseException, steps: int) -> str:
    """The status of a run that this ended."""
    if isinstance(error, KeyboardInterrupt):
        return f"interrupted after {steps} steps, at once"
    return f"failed after {steps} steps: {type(error).__name__}"


class RunFolder:
    """path: the folder.  writes: False in processes that leave writing to another; their calls do nothing."""

    def __init__(self, path: Path, writes: bool = True) -> None:
        self.path = path
        self._writes = writes

    def claim(self, experiment: Experiment, resume: object = False) -> None:
        """Raises UserError where the folder holds a run that this one would overwrite, or one of other settings."""
        path = self.path / "experiment.json"
        if not self._writes:
            return
        if resume:
            if (parent := recorded(self.path).get("parent")) is not None:
                raise UserError(f"{self.path} was adjusted from {parent['run']}, not trained; resume that one")
            if Experiment.from_json(recorded(self.path)["settings"], str(path)).hash != experiment.hash:
                raise UserError(f"{self.path} holds a run with other settings; --resume takes them from there")
        elif path.exists():
            raise UserError(
                f"{self.path} holds a run already; go on in it with --resume, or name another folder with --run"
            )

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Within: no other run can use the folder. Raises UserError where another one does."""
        if not self._writes:
            yield
            return
        with sole_user(self.path):
            remove_partial(self.path)
            yield

    @property
    def checkpoints(self) -> list[Path]:
        """Newest first."""
        return list_checkpoints(self.path / "checkpoints")

    def go_on_from(self, checkpoint: Path) -> None:
        """Remove the checkpoints that are newer than this one."""
        if self._writes:
            make_newest(checkpoint, self.path / "checkpoints")

    def checkpoint(self, payload: dict[str, Any], epoch: int, step: int) -> None:
        if self._writes:
            save_checkpoint(self.path / "checkpoints", payload, epoch, step)

    def record(self, record: dict[str, Any]) -> None:
        if self._writes:
            write_json(self.path / "experiment.json", record)

    def bad_images(self, reasons: dict[str, str]) -> Path:
        """Write bad-images.json, reasons by path. Returns its path."""
        path = self.path / "bad-images.json"
        if self._writes:
            write_json(path, reasons)
        return path

    def predictions(self, **arrays: np.ndarray) -> None:
        if self._writes:
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
            write_atomically(self.path / "predictions.npz", buffer.getvalue())

    def weights(self, name: str, model: nn.Module, experiment_hash: str) -> None:
        if not self._writes:
            return
        from safetensors.torch import save

        tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
        # One entry: safetensors writes several in random order, and equal weights should be equal files.
        write_atomically(self.path / name, save(tensors, metadata={"experiment": experiment_hash}))

    def divergence(self, epoch: int, step: int, error: Exception) -> str:
        """What to say of a training that diverged in this step, both counted from 0."""
        where = f"epoch {epoch + 1}, step {step + 1}"
        checkpoints = self.checkpoints
        kept = f"the last good state is {checkpoints[0]}" if checkpoints else "no epoch was finished"
        return f"training diverged at {where}: {error}; {kept}; try a smaller schedule.lr"

    def history(self, rows: list[dict[str, Any]]) -> None:
        """Write metrics.jsonl anew."""
        if self._writes:
            lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
            write_atomically(self.path / "metrics.jsonl", lines.encode())

    def append(self, row: dict[str, Any]) -> None:
        """Add an epoch to metrics.jsonl."""
        if not self._writes:
            return
        try:
            with (self.path / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(row, allow_nan=False) + "\n")
        except OSError as error:
            raise UserError(
                f"{self.path / 'metrics.jsonl'}: cannot be written ({error.strerror}); "
                f"fix that and go on with --run {self.path} --resume"
            ) from None


def new_folder(experiment: Experiment) -> Path:
    """A folder under runs/ that names the experiment and is not in use."""
    factor = experiment.data.imbalance_factor or DATA_SETS[experiment.data.name].default_factor
    tail = "" if factor is None else f"-if{factor:g}"
    return unused_folder(Path("runs") / f"{experiment.recipe}-{experiment.data.title}{tail}-seed{experiment.seed}")


def unused_folder(folder: Path) -> Path:
    """The folder, or with a number after it where that exists already."""
    number, candidate = 1, folder
    while candidate.exists():
        number += 1
        candidate = folder.with_name(f"{folder.name}-{number}")
    return candidate
