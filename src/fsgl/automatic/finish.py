"""The end of ``fsgl auto``: the choice, one training on all images, calibration, a look at the test images, a page."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fsgl.automatic.clock import Clock
from fsgl.automatic.display import Display
from fsgl.automatic.findings import findings
from fsgl.automatic.heads import Pool, out_of_fold
from fsgl.automatic.page import render_page
from fsgl.automatic.search import Study, Verdict
from fsgl.automatic.whole import FineTuning
from fsgl.automatic.worker import logits_file
from fsgl.data.load import LoadedData
from fsgl.engine.runtime import Runtime
from fsgl.evaluation.posthoc import fit_temperature
from fsgl.files import write_atomically
from fsgl.recipes.experiment import Experiment
from fsgl.recipes.tuning import TuningSpec
from fsgl.runs.folder import RunFolder
from fsgl.runs.saved import read_predictions, read_record
from fsgl.runs.train import train

PAGE = "auto.html"
# In this order: a folder whose experiment.json is new has all else new.
FILES = ("checkpoints", "metrics.jsonl", "model.safetensors", "best-val.safetensors", "predictions.npz",
         "bad-images.json", "experiment.json")  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """folder: of the run.  found: what is on the page, as figures; None where nothing was tried.  signal_number: of
    what ended the search early."""

    folder: Path
    found: Mapping[str, Any] | None
    signal_number: int | None = None

    @property
    def page(self) -> Path:
        return self.folder / PAGE


def finish(
    study: Study, pool: Pool, data: LoadedData, folder: Path, clock: Clock, display: Display, runtime: Runtime,
    whole: FineTuning,
) -> Outcome:  # fmt: skip
    """Choose, train and score; ``folder`` then holds the run, in place of one that an earlier session left.

    Raises UserError; RunDiverged.
    """
    with clock.part("choosing"):
        verdict = study.verdict()
        there = verdict.trial is not verdict.heads and whole.there
        if verdict.trial is not verdict.heads and not there and not whole.last_fits(verdict.trial):
            verdict = study.verdict(heads_alone=True)
    display.say(f"chosen      {verdict.trial.candidate}")
    beside = None
    if verdict.trial is not verdict.heads and not there:
        with clock.part("last training"):
            beside = whole.last(_named(study, verdict, pool))
        if beside is None:
            verdict = study.verdict(heads_alone=True)
            display.say(f"            {whole.note}\nchosen      {verdict.trial.candidate}")
    if beside is None and not there:
        shutil.rmtree(beside := study.folder / "last", ignore_errors=True)
        with clock.part("last training"):
            train(_named(study, verdict, pool), beside, replace(runtime, trackers=(), show=False), data=data)
    if beside is not None:
        with clock.part("calibration"):
            _calibrate(beside, study, pool, verdict, whole)
            _take_over(beside, folder)
    found = findings(study, verdict, pool, folder, clock, whole.note)
    with clock.part("page"):
        write_atomically(folder / PAGE, render_page(found, f"auto on {data.spec.title}").encode())
        files, record = RunFolder(folder), read_record(folder)
        files.record({**record, "auto": found})
    for path in study.folder.glob("logits-*.npy"):
        path.unlink()
    return Outcome(folder, found)


def _named(study: Study, verdict: Verdict, pool: Pool) -> Experiment:
    """The chosen one, with how its settings came about, scored at its end alone."""
    experiment = verdict.trial.candidate.experiment(study.bases)
    names = ",".join(name for name in verdict.trial.candidate.settings if name != "optim.epochs")  # which the clock set
    on = "validation" if pool.count == 1 else f"{pool.count} folds"
    own = sum(trial.candidate.recipe == experiment.recipe for trial in study.trials)
    spec = TuningSpec(f"{len(study.trials)} trials of {len(study.bases)} recipes", own, on, names)
    evaluation = replace(experiment.evaluation, every=experiment.optim.epochs)
    return replace(experiment, tuning=spec if names else TuningSpec(), evaluation=evaluation)


def _calibrate(folder: Path, study: Study, pool: Pool, verdict: Verdict, whole: FineTuning) -> None:
    """Where no validation images were set aside, those logits that trainings on the other folds gave: the temperature
    is fitted on them, and prediction sets find them as any run's validation logits."""
    record = read_record(folder)
    if record["data"]["val"]:
        return
    path = logits_file(study.folder, verdict.trial.number)
    if verdict.trial is not verdict.heads:
        logits = np.load(whole.logits)
    elif path.exists():
        logits = np.load(path)
    else:
        logits = out_of_fold(verdict.trial.candidate.experiment(study.bases), pool)
    judged = np.isfinite(logits).all(axis=1)
    logits, labels = logits[judged], study.labels[judged]
    files = RunFolder(folder)
    files.predictions(**read_predictions(folder), val_logits=logits, val_labels=labels)
    record["result"]["temperature"] = fit_temperature(logits, labels)
    files.record(record)


def _take_over(beside: Path, folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        (folder / "experiment.json").unlink()
    for name in FILES:
        target = folder / name
        if target.is_dir():
            shutil.rmtree(target)
        if (beside / name).exists():
            os.replace(beside / name, target)
        else:
            target.unlink(missing_ok=True)
    shutil.rmtree(beside)
