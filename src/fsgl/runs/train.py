"""One experiment from its settings to its run folder: fit, measure, log, save, and go on after an interruption."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from signal import SIGTERM
from typing import Any

import numpy as np
import torch

from fsgl.data.load import LoadedData
from fsgl.data.stream.features import ImageFeatures
from fsgl.engine.checkpoint import alternative, load_checkpoint
from fsgl.engine.environment import differences, environment
from fsgl.engine.fit import EpochReport, StepReport, fit
from fsgl.engine.interrupts import Interrupts
from fsgl.engine.runtime import Placement, RunDiverged, RunInterrupted, Runtime
from fsgl.engine.tally import NonFiniteLoss
from fsgl.errors import UserError, first_line
from fsgl.optim.averaging import WeightAverage
from fsgl.recipes.experiment import Experiment
from fsgl.runs.assemble import assemble
from fsgl.runs.begin import begin_heads, featured, folder_of_features, load_together
from fsgl.runs.budget import Foretelling, within_budget
from fsgl.runs.display import Display, make_display
from fsgl.runs.folder import RunFolder, ended_by, recorded
from fsgl.runs.network import ModelWithData, build_network, cost
from fsgl.runs.scoring import Scorer
from fsgl.runs.trackers import Tracker, make_trackers, require_trackers


def train(
    experiment: Experiment,
    folder: Path,
    runtime: Runtime | None = None,
    resume: Path | bool = False,
    data: LoadedData | None = None,
    placement: Placement | None = None,
    deadline: float | None = None,
    features: ImageFeatures | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Run an experiment into ``folder`` and return its record (the content of experiment.json).

    resume: True goes on from the folder's newest checkpoint (from the start where there is none yet), a path from that
    one.  data: already loaded; None loads what ``experiment.data`` names.  placement: of this process, where
    ``runtime.place()`` was called already.  deadline: by ``time.monotonic``; as many epochs are trained as fit.
    features: of the training images, as ``begin_heads`` takes them.  should_stop: asked after every step; it ends the
    run as SIGTERM does.
    Raises UserError for a folder in use or data that differ; RunInterrupted; RunDiverged; PeerLost.
    """
    runtime = runtime or Runtime()
    placement = placement or runtime.place()
    count, batch_size = placement.processes.count, experiment.optim.batch_size
    if batch_size < 2 * count:  # BatchNorm needs two values in each process
        raise UserError(f"optim.batch_size {batch_size} is too small to be divided among {count} processes")
    require_trackers(runtime.trackers)
    files = RunFolder(folder, writes=placement.processes.leader)
    files.claim(experiment, resume)
    data = data or load_together(experiment, placement.processes)
    network = build_network(experiment, data, placement.device)
    if data.in_memory and data.image_size != network.data.image_size and placement.processes.leader and runtime.show:
        given, shown = (f"{side} x {side}" for side in (data.image_size, network.data.image_size))
        print(f"note: {experiment.backbone} is shown the {given} images resized to {shown} (transfer.image_size)")
    with files.in_use():
        files.claim(experiment, resume)  # once more: another process may have begun in the meantime
        if experiment.transfer.cached_views:
            network = featured(network, runtime, placement)
        probe = None if resume and files.checkpoints else begin_heads(network, runtime, placement, features)
        if deadline is not None:
            network = within_budget(network, runtime, placement, deadline)
        session = _Session(network.experiment, files, runtime, placement, network, should_stop)
        if probe or resume:
            session.record["probe"] = probe or recorded(folder).get("probe")
        if resume:
            session.restore(resume)
        return session.run()


class _Session:
    """One process's share of a run."""

    def __init__(
        self, experiment: Experiment, files: RunFolder, runtime: Runtime, placement: Placement, network: ModelWithData,
        should_stop: Callable[[], bool],
    ) -> None:  # fmt: skip
        self.experiment, self.files, self.runtime, self.stops = experiment, files, runtime, should_stop
        self.network, self.processes, self.device = network, placement.processes, placement.device
        self.processes.begin_alike(network.model)
        averaged = experiment.averaging.on or experiment.averaging.ema
        self.average = WeightAverage(network.model) if averaged else None
        self.state, self.recipe = assemble(experiment, network, runtime, placement)
        self.history: list[dict[str, Any]] = []
        self.best_validation = -1.0
        self.bad_images = 0
        self.record: dict[str, Any] = {
            "settings": experiment.to_json(),
            "hash": experiment.hash,
            "data": network.data.describe(),
            "class_names": list(network.data.class_names),
            "class_counts": network.data.counts.tolist(),
            "pretrained": None if network.origin is None else asdict(network.origin),
            "cost": cost(experiment, network.data, network.model),
            "environment": {**environment(self.device), **placement.describe(), "compile": runtime.compile},
            "begun_in": str(Path.cwd()),
            "status": "running",
            "result": None,
        }
        if experiment.transfer.cached_views:
            self.record["feature_cache"] = str(folder_of_features(runtime).absolute())

    @property
    def steps_taken(self) -> int:
        return self.state.epoch * self.recipe.stream.steps_per_epoch + self.state.step

    @property
    def scorer(self) -> Scorer:
        """Measures the network that the results are of: the trained one or, once there is one, its average."""
        network, average = self.network, self.average
        network = replace(network, model=average.model) if average and average.count else network
        return Scorer(network, self.device, self.runtime.workers, self.processes)

    def restore(self, resume: Path | bool) -> None:
        found = self.processes.agree(self._checkpoint(resume) if self.processes.leader else None)
        if found is None:
            return  # killed before its first checkpoint: the beginning is where it stands
        path, payload = found
        if payload.get("experiment") != self.experiment.hash:
            raise UserError(f"{path}: belongs to another experiment than {self.files.path / 'experiment.json'}")
        try:
            self.state.load_state_dict(payload["state"])
            self.history, self.best_validation = list(payload["history"]), float(payload["best_validation"])
            if self.average is not None:
                self.average.load_state_dict(payload["average"])
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise UserError(f"{path}: does not fit the network ({first_line(error)}); {alternative(path)}") from None
        self.files.go_on_from(path)
        if self._tried_enough():
            raise UserError(f"{self.files.path} stands at step {self.steps_taken}; --max-steps counts from the start")

    def _checkpoint(self, resume: Path | bool) -> tuple[Path, dict[str, Any]] | None:
        before = recorded(self.files.path)
        if before["data"]["split_hash"] != self.record["data"]["split_hash"]:
            raise UserError(
                f"{self.files.path}: the run began with other images (the data's hash differs); correct data.root"
            )
        if (before.get("pretrained") or {}).get("sha256") != (self.record["pretrained"] or {}).get("sha256"):
            raise UserError(
                f"{self.files.path}: the run began with other weights than {self.experiment.transfer.weights} holds "
                "now; put those back, or begin again in another --run folder"
            )
        for note in differences(before.get("environment"), self.record["environment"]):
            print(f"note: {note}; the result will differ by rounding from an uninterrupted run's")
        if isinstance(resume, bool):
            if not self.files.checkpoints:
                return None
            resume = self.files.checkpoints[0]
        return resume, load_checkpoint(resume)

    def run(self) -> dict[str, Any]:
        steps = self.recipe.stream.steps_per_epoch
        with contextlib.ExitStack() as closing:
            names = self.runtime.trackers if self.processes.leader else ()
            trackers = make_trackers(names, self.files.path, self.record["settings"], self.state.epoch)
            for tracker in trackers:
                closing.callback(tracker.close)
            self._set_status("running")
            self.files.history(self.history)
            shown = self.runtime.print_every, self.runtime.show
            display = make_display(self.recipe.epochs, steps, self.steps_taken, *shown)
            closing.callback(display.close)
            try:
                with Interrupts(quiet=not self.processes.leader) as interrupts:
                    rows = self._fit(trackers, display, interrupts)
                    self._list_bad_images(display)  # those of the last evaluation, too
                    record = self._finish(rows)
                    if interrupts.signal_number is not None:  # too late to stop this run, not what would follow it
                        raise RunInterrupted(self.files.path, interrupts.signal_number, complete=True)
                    return record
            except NonFiniteLoss as error:
                self._set_status(f"diverged after {self.steps_taken} steps: {error}")
                raise RunDiverged(self.files.divergence(self.state.epoch, self.state.step, error)) from None
            except RunInterrupted:
                raise
            except BaseException as error:  # a second Ctrl-C, a full disk, an error of ours: none is still running
                with contextlib.suppress(UserError):
                    self._set_status(ended_by(error, self.steps_taken))
                raise

    def _fit(self, trackers: list[Tracker], display: Display, interrupts: Interrupts) -> list[dict[str, Any]]:
        """Train to the end, or as far as --max-steps goes. Returns the rows of metrics.jsonl."""
        foretell = Foretelling(self.experiment, self.device, self.recipe.epochs * self.recipe.stream.steps_per_epoch)

        def should_stop(report: StepReport) -> bool:
            if self.average is not None and self.experiment.averaging.ema:
                self.average.blend(self.network.model, self.experiment.averaging.ema)
            display.step(report)
            if self.processes.leader and (said := foretell(self.steps_taken)):
                display.say(said)
            if not report.fresh and self.processes.count > 1:  # all processes must ask each other at the same step
                return self._tried_enough()
            signalled, due = self.processes.any(interrupts.signalled or self.stops(), self._save_is_due(interrupts))
            if due:
                self._save()
                interrupts.saved()
            return signalled or self._tried_enough()

        for report in fit(self.state, self.recipe, should_stop):
            self._list_bad_images(display)
            if report.finished:
                if self.average is not None and self.experiment.averaging.counts(report.epoch, self.recipe.epochs):
                    self.average.add(self.network.model)
                row = self._row(report)
                self.history.append(row)
                for tracker in trackers:
                    tracker.epoch(row)
                display.epoch(row)
                self.files.append(row)
            signalled, due = self.processes.any(interrupts.signalled or self.stops(), self._save_is_due(interrupts))
            complete = self.state.epoch == self.recipe.epochs
            # On a CPU an epoch is long beside a save; a GPU, or heads alone, may take less than a second for either.
            is_long = self.device.type == "cpu" and not self.experiment.transfer.cached_views
            if due or signalled or complete or self._tried_enough() or is_long:
                self._save()
                interrupts.saved()
            if signalled and not complete:
                self._set_status(f"interrupted after {self.steps_taken} steps")
                raise RunInterrupted(self.files.path, interrupts.signal_number or SIGTERM)
            if self._tried_enough() and (not report.finished or row["test"] is None):
                # --max-steps where no evaluation was due: scored, but no part of the history, which must be that of
                # an uninterrupted run when this one goes on.
                display.epoch(row := self._row(report, extra=True))
                return [*self.history[: report.epoch], row]
        return self.history

    def _list_bad_images(self, display: Display) -> None:
        """What could not be read so far, by any process, into the run folder; a line where it has become more."""
        if self.network.data.in_memory:
            return
        bad = self.network.data.bad.reasons
        found = self.processes.gather(np.array([json.dumps(pair) for pair in bad.items()], dtype=str))
        reasons = dict(sorted(json.loads(pair) for pair in found.tolist()))
        if len(reasons) > self.bad_images:
            self.bad_images = len(reasons)
            path = self.files.bad_images(reasons)
            display.say(f"{len(reasons)} images cannot be read and are left out; {path} lists them")

    def _save_is_due(self, interrupts: Interrupts) -> bool:
        return interrupts.seconds_since_save() >= self.runtime.checkpoint_seconds

    def _tried_enough(self) -> bool:
        return self.runtime.max_steps is not None and self.steps_taken >= self.runtime.max_steps

    def _row(self, report: EpochReport, extra: bool = False) -> dict[str, Any]:
        last = report.epoch + 1 == self.recipe.epochs
        scored = extra or last or (report.epoch + 1) % self.experiment.evaluation.every == 0
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
            self.processes.average_statistics(self.network.model)
            if self.average is not None and self.average.count and self.experiment.averaging.on:
                self.average.renew_statistics(self.recipe.stream.batches(report.epoch))
                self.processes.average_statistics(self.average.model)
            row |= self.scorer.scores()
            if row["val"] is not None and not extra and row["val"]["balanced"] > self.best_validation:
                self.best_validation = row["val"]["balanced"]
                self.files.weights("best-val.safetensors", self.scorer.network.model, self.experiment.hash)
        return row

    def _save(self) -> None:
        self.processes.average_statistics(self.network.model)
        # A step of finite loss can end in weights that are not, which must not replace the last good state.
        finite = [torch.isfinite(value).all() for value in self.network.model.state_dict().values()]
        if not bool(torch.stack(finite).all()):
            raise NonFiniteLoss({"a weight": float("nan")})
        payload = {
            "experiment": self.experiment.hash,
            "state": self.state.state_dict(),
            "history": self.history,
            "best_validation": self.best_validation,
            **({} if self.average is None else {"average": self.average.state_dict()}),
        }
        self.files.checkpoint(payload, self.state.epoch, self.state.step)

    def _finish(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        predictions, temperature = self.scorer.predictions()
        self.files.predictions(**predictions)
        self.files.weights("model.safetensors", self.scorer.network.model, self.experiment.hash)
        self.files.history(rows)
        self.record["data"]["unreadable"] = self.bad_images
        complete = self.state.epoch == self.recipe.epochs
        self.record["result"] = {
            "epochs": self.state.epoch,
            "steps": self.steps_taken,
            "train_seconds": sum(row["seconds"] for row in rows),
            "last": rows[-1]["test"] if rows else None,
            "temperature": temperature,
        }
        self._set_status("complete" if complete else f"stopped after {self.steps_taken} steps (--max-steps)")
        return self.record

    def _set_status(self, status: str) -> None:
        self.record["status"] = status
        self.files.record(self.record)
