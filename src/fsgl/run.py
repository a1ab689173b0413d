"""One experiment from its settings to its run folder: fit, measure, log, save, and go on after an interruption.

The run folder (docs/run-folder.md):

    experiment.json      settings, their hash, data and its hash, environment, cost, result
    metrics.jsonl        one epoch a line
    predictions.npz      test logits and labels of the last epoch, and the training counts
    model.safetensors    weights of the last epoch;  best-val.safetensors: of the epoch best on validation
    checkpoints/         what --resume goes on from
"""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fsgl.data.load import LoadedData, load_data
from fsgl.data.sources import Images
from fsgl.data.streams import StreamSpec
from fsgl.display import Display, make_display
from fsgl.engine.checkpoint import alternative, list_checkpoints, load_checkpoint, make_newest, save_checkpoint
from fsgl.engine.fit import EpochReport, Recipe, StepReport, TrainState, fit
from fsgl.engine.reproducible import environment
from fsgl.engine.step import NonFiniteLoss
from fsgl.errors import UserError
from fsgl.experiment import Experiment
from fsgl.files import read_json, remove_partial, sole_user, write_atomically, write_json
from fsgl.interrupts import Interrupts
from fsgl.metrics import confusion_matrix
from fsgl.network import Network, build_network, cost
from fsgl.optim.sam import make_ascent
from fsgl.runtime import RunDiverged, RunInterrupted, Runtime
from fsgl.trackers import Tracker, make_trackers, require_trackers


def train(
    experiment: Experiment,
    folder: Path,
    runtime: Runtime | None = None,
    resume: Path | bool = False,
    data: LoadedData | None = None,
) -> dict[str, Any]:
    """Run an experiment into ``folder`` and return its record (the content of experiment.json).

    resume: True goes on from the folder's newest checkpoint (from the start where there is none yet), a path from that
    one.  data: already loaded; None loads what ``experiment.data`` names. Raises UserError for a folder in use or data
    that differ; RunInterrupted; RunDiverged.
    """
    runtime = runtime or Runtime()
    device = runtime.torch_device()
    require_trackers(runtime.trackers)
    _claim(folder, experiment, resume)
    network = build_network(experiment, data or load_data(experiment.data), device)
    with sole_user(folder):
        _claim(folder, experiment, resume)  # once more: another process may have begun in the meantime
        remove_partial(folder)
        session = _Session(experiment, folder, runtime, network, device)
        if resume:
            session.restore(resume)
        return session.run()


def _claim(folder: Path, experiment: Experiment, resume: Path | bool) -> None:
    path = folder / "experiment.json"
    if resume:
        if Experiment.from_json(recorded(folder)["settings"], str(path)).hash != experiment.hash:
            raise UserError(f"{folder} holds a run with other settings; --resume takes them from there")
    elif path.exists():
        raise UserError(f"{folder} holds a run already; go on in it with --resume, or name another folder with --run")


def recorded(folder: Path) -> dict[str, Any]:
    """The content of a run's experiment.json. Raises UserError where it is missing or is no such record."""
    path = folder / "experiment.json"
    record = read_json(path)
    for name, kind in {"settings": dict, "data": dict, "class_names": list, "class_counts": list}.items():
        if not isinstance(record, dict) or not isinstance(record.get(name), kind):
            raise UserError(f"{path}: not the record of a run (no '{name}')")
    if not isinstance(record["data"].get("split_hash"), str):
        raise UserError(f"{path}: not the record of a run (no 'data.split_hash')")
    return record


class _Session:
    """One process's share of a run."""

    def __init__(
        self, experiment: Experiment, folder: Path, runtime: Runtime, network: Network, device: torch.device
    ) -> None:
        self.experiment, self.folder, self.runtime = experiment, folder, runtime
        self.network, self.device = network, device
        optim, method = experiment.optim, experiment.method
        self.state = TrainState(
            network.model,
            torch.optim.SGD(
                network.model.parameters(),
                lr=experiment.schedule.lr,
                momentum=optim.momentum,
                weight_decay=optim.weight_decay,
                fused=True,  # one pass over the weights instead of four
            ),
        )
        stream_spec = StreamSpec(
            optim.batch_size,
            method.views,
            method.resample_weighting if method.needs_two_streams else None,
            experiment.seed,
        )
        self.recipe = Recipe(
            method=method,
            stream=network.data.stream(stream_spec, device, runtime.workers),
            schedule=experiment.schedule,
            ascend=make_ascent(network.model, experiment.sam),
            num_classes=network.data.num_classes,
            epochs=optim.epochs,
            seed=experiment.seed,
        )
        self.history: list[dict[str, Any]] = []
        self.best_validation = -1.0
        self.record: dict[str, Any] = {
            "settings": experiment.to_json(),
            "hash": experiment.hash,
            "data": network.data.describe(),
            "class_names": list(network.data.class_names),
            "class_counts": network.data.counts.tolist(),
            "cost": cost(experiment, network.data, network.model),
            "environment": environment(device),
            "status": "running",
            "result": None,
        }

    @property
    def steps_taken(self) -> int:
        return self.state.epoch * self.recipe.stream.steps_per_epoch + self.state.step

    def restore(self, resume: Path | bool) -> None:
        if recorded(self.folder)["data"]["split_hash"] != self.record["data"]["split_hash"]:
            raise UserError(f"{self.folder}: the run began with other images (the data's hash differs); mend data.root")
        checkpoints = list_checkpoints(self.folder / "checkpoints")
        if isinstance(resume, bool):
            if not checkpoints:
                return  # killed before its first checkpoint: the beginning is where it stands
            resume = checkpoints[0]
        payload = load_checkpoint(resume)
        if payload.get("experiment") != self.experiment.hash:
            raise UserError(f"{resume}: belongs to another experiment than {self.folder / 'experiment.json'}")
        try:
            self.state.load_state_dict(payload["state"])
            self.history, self.best_validation = list(payload["history"]), float(payload["best_validation"])
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise UserError(f"{resume}: does not fit this run's network ({reason}); {alternative(resume)}") from None
        make_newest(resume, self.folder / "checkpoints")
        if self._tried_enough():
            raise UserError(f"{self.folder} stands at step {self.steps_taken}; --max-steps counts from the start")

    def run(self) -> dict[str, Any]:
        steps = self.recipe.stream.steps_per_epoch
        with contextlib.ExitStack() as closing:
            trackers = make_trackers(self.runtime.trackers, self.folder, self.record["settings"], self.state.epoch)
            for tracker in trackers:
                closing.callback(tracker.close)
            self._set_status("running")
            self._write_history(self.history)
            display = make_display(self.recipe.epochs, steps, self.steps_taken, self.runtime.print_every)
            closing.callback(display.close)
            try:
                with Interrupts() as interrupts:
                    record = self._finish(self._fit(trackers, display, interrupts))
                    if interrupts.signal_number is not None:  # too late to stop this run, not what would follow it
                        raise RunInterrupted(self.folder, interrupts.signal_number, complete=True)
                    return record
            except NonFiniteLoss as error:
                self._set_status(f"diverged after {self.steps_taken} steps: {error}")
                raise RunDiverged(self._divergence(error)) from None

    def _fit(self, trackers: list[Tracker], display: Display, interrupts: Interrupts) -> list[dict[str, Any]]:
        """Train to the end, or as far as --max-steps goes. Returns the rows of metrics.jsonl."""

        def should_stop(report: StepReport) -> bool:
            display.step(report)
            if interrupts.minutes_since_save() > self.runtime.checkpoint_minutes:
                self._save()
                interrupts.saved()
            return interrupts.signal_number is not None or self._tried_enough()

        for report in fit(self.state, self.recipe, should_stop):
            if report.finished:
                row = self._row(report)
                self.history.append(row)
                for tracker in trackers:
                    tracker.epoch(row)
                display.epoch(row)
                self._append(row)
            self._save()
            interrupts.saved()
            if interrupts.signal_number is not None and self.state.epoch < self.recipe.epochs:
                self._set_status(f"interrupted after {self.steps_taken} steps")
                raise RunInterrupted(self.folder, interrupts.signal_number)
            if self._tried_enough() and (not report.finished or row["test"] is None):
                # --max-steps where no evaluation was due: scored, but no part of the history, which must be that of
                # an uninterrupted run when this one goes on.
                display.epoch(row := self._row(report, extra=True))
                return [*self.history[: report.epoch], row]
        return self.history

    def _tried_enough(self) -> bool:
        return self.runtime.max_steps is not None and self.steps_taken >= self.runtime.max_steps

    def _row(self, report: EpochReport, extra: bool = False) -> dict[str, Any]:
        last = report.epoch + 1 == self.recipe.epochs
        scored = extra or last or (report.epoch + 1) % self.experiment.evaluation.every == 0
        data = self.network.data
        row: dict[str, Any] = {
            "epoch": report.epoch,
            "finished": report.finished,
            "steps": self.steps_taken,
            "lr": report.lr,
            "loss": report.loss,
            "seconds": report.seconds,
            "images": report.images,
            "val": None,
            "test": None,
        }
        if scored:
            if data.val is not None:
                row["val"] = self.network.measure(data.val, self._logits(data.val))
                if not extra and row["val"]["balanced"] > self.best_validation:
                    self.best_validation = row["val"]["balanced"]
                    self._write_weights("best-val.safetensors")
            row["test"] = self.network.measure(data.test, self._logits(data.test))
        return row

    def _logits(self, part: Images) -> np.ndarray:
        logits = self.network.logits(part, self.device, self.runtime.workers)
        if not np.isfinite(logits).all():
            raise NonFiniteLoss({"logits": float("nan")})
        return logits

    def _save(self) -> None:
        # A step of finite loss can end in weights that are not, which must not replace the last good state.
        if not all(bool(torch.isfinite(value).all()) for value in self.network.model.state_dict().values()):
            raise NonFiniteLoss({"a weight": float("nan")})
        payload = {
            "experiment": self.experiment.hash,
            "state": self.state.state_dict(),
            "history": self.history,
            "best_validation": self.best_validation,
        }
        save_checkpoint(self.folder / "checkpoints", payload, self.state.epoch, self.state.step)

    def _finish(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        test, counts = self.network.data.test, self.network.data.counts
        logits, buffer = self._logits(test), io.BytesIO()
        confusion = confusion_matrix(logits, test.labels, len(counts))
        np.savez_compressed(buffer, logits=logits, labels=test.labels, class_counts=counts, confusion=confusion)
        write_atomically(self.folder / "predictions.npz", buffer.getvalue())
        self._write_weights("model.safetensors")
        self._write_history(rows)
        complete = self.state.epoch == self.recipe.epochs
        self.record["result"] = {
            "epochs": self.state.epoch,
            "steps": self.steps_taken,
            "train_seconds": sum(row["seconds"] for row in rows),
            "last": rows[-1]["test"] if rows else None,
        }
        self._set_status("complete" if complete else f"stopped after {self.steps_taken} steps (--max-steps)")
        return self.record

    def _set_status(self, status: str) -> None:
        self.record["status"] = status
        write_json(self.folder / "experiment.json", self.record)

    def _write_weights(self, name: str) -> None:
        from safetensors.torch import save

        tensors = {key: value.detach().cpu().contiguous() for key, value in self.network.model.state_dict().items()}
        # One entry: safetensors writes several in random order, and equal weights should be equal files.
        metadata = {"experiment": self.experiment.hash}
        write_atomically(self.folder / name, save(tensors, metadata=metadata))

    def _write_history(self, rows: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
        write_atomically(self.folder / "metrics.jsonl", lines.encode())

    def _append(self, row: dict[str, Any]) -> None:
        try:
            with (self.folder / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(row, allow_nan=False) + "\n")
        except OSError as error:
            raise UserError(
                f"{self.folder / 'metrics.jsonl'}: cannot be written ({error.strerror}); "
                f"mend that and go on with --run {self.folder} --resume"
            ) from None

    def _divergence(self, error: NonFiniteLoss) -> str:
        checkpoints = list_checkpoints(self.folder / "checkpoints")
        kept = f"the last good state is {checkpoints[0]}" if checkpoints else "no epoch was finished"
        where = f"epoch {self.state.epoch + 1}, step {self.state.step + 1}"
        return f"training diverged at {where}: {error}; {kept}; try a smaller schedule.lr"
