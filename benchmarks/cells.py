"""The cells of paper_run.py: what a word such as ``fsgl:0,schedule.lr=0.02`` names, its process, its record."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from drawn_data import for_experiment, read_drawn

from fsgl.data.load import LoadedData
from fsgl.engine.runtime import Runtime
from fsgl.errors import UserError
from fsgl.files import read_json
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import Experiment, override
from fsgl.report.recording import record, record_name
from fsgl.runs.saved import read_history

CLOSER_LOOK = "closer-look.json"  # in a run folder: more for its record
WORD = re.compile(r"([\w-]+):(\d+)((?:,[\w.]+=[^,]*)*)")


def resolve(word: str, options: argparse.Namespace, drawn: LoadedData | None) -> tuple[Experiment, LoadedData | None]:
    """A cell's experiment and, where the images were ``drawn`` already, its data. Raises UserError."""
    match = WORD.fullmatch(word)
    if match is None:
        raise UserError(f"'{word}' is no cell; write RECIPE:SEED, such as fsgl:0, or fsgl:0,schedule.lr=0.02")
    changes = (f"seed={match[2]}", *(part for part in match[3].split(",") if part), *options.settings)
    if drawn is None:
        lists = (options.train_list, options.test_list)
        return override(make_experiment(match[1], options.data, options.root, *lists), *changes), None
    base = make_experiment(match[1], drawn.spec.name)
    spec = replace(drawn.spec, normalization=base.data.normalization)  # the recipe's; all else is as drawn
    experiment = override(replace(base, data=spec), *changes)
    return experiment, for_experiment(drawn, experiment)


def drawn_images(options: argparse.Namespace) -> LoadedData | None:
    """The images of an .npz, or None where --data names a set that each cell reads by itself."""
    return read_drawn(Path(options.data)) if options.data.endswith(".npz") else None


def runtime(options: argparse.Namespace) -> Runtime:
    """Where and how to execute."""
    return Runtime(
        options.device,
        options.workers,
        trackers=(),
        precision=options.precision,
        compile=options.compile,
        cuda_graphs=options.cuda_graphs,
    )


class Cell:
    """A cell, its run folder and, while it trains, its process. status: waiting, running, complete, stopped, failed."""

    def __init__(self, word: str, options: argparse.Namespace, drawn: LoadedData | None) -> None:
        self.word, self.options = word, options
        self.experiment, _ = resolve(word, options, drawn)
        self.name = record_name(self.experiment.to_json(), self.experiment.hash, options.tag)
        self.folder = Path(options.runs) / self.name
        self.log = self.folder.with_name(f"{self.name}.log")
        self.process: subprocess.Popen[bytes] | None = None
        self.asked_to_stop = False
        self.status = "waiting"
        if self._is_complete() or self._record_file().exists():
            self._record()

    def start(self) -> None:
        """Train in a process of its own; what it prints goes to the log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        told = json.dumps({**vars(self.options), "word": self.word, "folder": str(self.folder)})
        with self.log.open("ab") as log:
            command = [sys.executable, str(Path(__file__).with_name("paper_run.py").resolve()), "cell", told]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.status = "running"

    def look(self, stopping: bool, kill: bool) -> bool:
        """Whether the process has ended; it is asked to end, or made to, where it has not."""
        assert self.process is not None
        code = self.process.poll()
        if code is None:
            if kill:
                self.process.kill()
            elif stopping:  # at each look: one that comes between two of fsgl's handlers is not heard, more do no harm
                self.process.terminate()
            self.asked_to_stop |= stopping or kill
            return False
        if self._is_complete():
            self._record()
        elif code in (130, 143) or (code < 0 and self.asked_to_stop):
            self.status = "stopped"
        else:
            self.status = "failed"
        return True

    def progress(self) -> dict[str, Any]:
        """Where it stands, from its run folder."""
        rows = read_history(self.folder) if (self.folder / "metrics.jsonl").exists() else []
        scored = [row for row in rows if row["test"] is not None]
        return {
            "cell": self.word,
            "run": self.name,
            "status": self.status,
            "epochs_done": len(rows),
            "epochs": self.experiment.optim.epochs,
            "train_seconds": sum(row["seconds"] for row in rows),
            "loss": rows[-1]["loss"] if rows else None,
            "last_test_epoch": scored[-1]["epoch"] if scored else None,
            "last_test": {k: v for k, v in scored[-1]["test"].items() if k != "per_class"} if scored else None,
            "failure": self.last_words() if self.status == "failed" else None,
        }

    def last_words(self) -> str:
        """The last line of the log."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else f"ended without a word; {self.log} is empty"

    def _is_complete(self) -> bool:
        path = self.folder / "experiment.json"
        looked = not self.options.closer_look or (self.folder / CLOSER_LOOK).exists()  # it may have died before that
        return looked and path.exists() and read_json(path)["status"] == "complete"

    def _record_file(self) -> Path:
        return Path(self.options.results) / f"{self.name}.json"

    def _record(self) -> None:
        """Write the record, unless there is one: records are added, never changed."""
        self.status = "complete"
        if self._record_file().exists():
            return
        path = self.folder / "sessions.json"
        sessions = read_json(path) if path.exists() else [{"wall_seconds": None, "peak_gpu_bytes": None}]
        walls, peaks = ([session[name] for session in sessions] for name in ("wall_seconds", "peak_gpu_bytes"))
        extra = {
            # Of fsgl.runs.train.train: building, training, evaluation, saving. None where a session was killed.
            "wall_seconds": None if None in walls else sum(walls),
            "peak_gpu_bytes": max((peak for peak in peaks if peak is not None), default=None),
            "sessions": sessions,
        }
        if (closer := self.folder / CLOSER_LOOK).exists():
            extra |= read_json(closer)
        options = self.options
        record(self.folder, Path(options.results), options.command, options.tag, options.commit, extra)
