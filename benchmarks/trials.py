"""Trials for choosing a network or settings: training on a long tail, scored on images that no table ever shows.

    python benchmarks/trials.py '{"backbone": "resnet20-slim", "recipe": "glmc", "settings": [], ...}'

Held out for scoring: 400 images a class of CIFAR-10's *training* archive, carved with seed 0 before the long tail is
drawn from the rest (4,600 images of the most frequent class, 46 of the rarest). Carved from the long tail itself, the
rarest class would give 5 images, and the balanced accuracy a standard error of 3.5 points; so it has one of 0.8. The
test archive is scored by nothing here.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fsgl.commands.cli import guarded
from fsgl.comparison.grid import Cell, Word
from fsgl.data.draw.split import carve_validation
from fsgl.data.load import DataSpec, LoadedData, load_data
from fsgl.data.readers.cifar import load_cifar
from fsgl.engine.runtime import RunInterrupted, Runtime
from fsgl.files import read_json
from fsgl.models.backbone import Backbone
from fsgl.models.backbones import BACKBONES, BackboneInfo
from fsgl.models.cifar_resnet import BasicBlock, CifarResNet
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import Experiment, override
from fsgl.runs.saved import read_history, read_record
from fsgl.runs.train import train

HELD_OUT = 0.08  # of each class of the archive, before the draw


def _strided(depths: Sequence[int], widths: Sequence[int]) -> Callable[[int], Backbone]:
    """A stem of stride 2: the first stage works on 16 x 16 positions."""

    return lambda channels: CifarResNet(BasicBlock, depths, widths, in_channels=channels, stem_stride=2)


def _thin_stem(stem: int, depths: Sequence[int], widths: Sequence[int]) -> Callable[[int], Backbone]:
    """A thin stem on 32 x 32 positions, and a first stage of stride 2."""

    def build(channels: int) -> Backbone:
        net = CifarResNet(BasicBlock, depths, widths, in_channels=channels)
        net.stem = CifarResNet(BasicBlock, (0,), (stem,), in_channels=channels).stem
        net.stages[0][0] = BasicBlock(stem, widths[0], 2, "projection")
        return net

    return build


def _candidate(name: str, build: Callable[[int], Backbone]) -> BackboneInfo:
    return BackboneInfo(name, build, 32, "a candidate of benchmarks/network_search.py")


CANDIDATES = {
    info.name: info
    for info in (
        _candidate("strided-64-128-256-x1", _strided((1, 1, 1), (64, 128, 256))),  # the first probe's
        _candidate("strided-32-128-256-x1", _strided((1, 1, 1), (32, 128, 256))),
        _candidate("strided-48-96-192-x2", _strided((2, 2, 2), (48, 96, 192))),
        _candidate("strided-32-64-128-x2", _strided((2, 2, 2), (32, 64, 128))),
        _candidate("stem16-64-128-256-x1", _thin_stem(16, (1, 1, 1), (64, 128, 256))),
        BACKBONES["resnet20-slim"],
    )
}


def held_out_data(spec: DataSpec) -> LoadedData:
    """CIFAR-10-LT with held-out training images in place of the test set."""
    source = load_cifar(spec.name, Path(spec.root))
    kept, held, _ = carve_validation(source.train.labels, HELD_OUT, 0, source.num_classes)
    return load_data(spec, replace(source, train=source.train.take(kept), test=source.train.take(held)))


def experiment_of(backbone: str, recipe: str, settings: Sequence[str], root: str) -> Experiment:
    """A trial's experiment; candidates are backbones from here on."""
    BACKBONES.update(CANDIDATES)
    experiment = make_experiment(recipe, "cifar10", root)
    return override(experiment, f"backbone={backbone}", "data.val=0", *settings)


@dataclass
class Trial(Cell):
    """A cell of a grid that trains by this file.

    row: what a record says it came to, where its folder is gone.
    """

    told: dict[str, Any] | None = None
    row: dict[str, Any] | None = None

    def command(self, options: Sequence[str], device: str) -> list[str]:
        return [sys.executable, str(Path(__file__).resolve()), json.dumps({**(self.told or {}), "device": device})]


def make_trial(
    runs: Path, name: str, backbone: str, recipe: str, settings: Sequence[str], root: str, known: Mapping[str, Any]
) -> Trial:
    """A trial called ``name``, as far as its folder in ``runs`` says it has come. known: rows of a record, by name."""
    folder = runs / name
    told = {"backbone": backbone, "recipe": recipe, "settings": list(settings), "root": root, "folder": str(folder)}
    experiment = experiment_of(backbone, recipe, settings, root)
    trial = Trial(Word(name, recipe, None), experiment.seed, experiment, folder, told=told)
    trial.look()
    row = known.get(name)
    if trial.status != "complete" and row and row["status"] == "complete" and row["hash"] == experiment.hash:
        trial.status, trial.row = "complete", dict(row)
    return trial


def known_trials(record: Path) -> dict[str, Any]:
    """The rows of a record of trials, by name; none where there is no such record yet."""
    return {row["trial"]: row for row in read_json(record)["content"]["trials"]} if record.exists() else {}


def outcome(trial: Trial) -> dict[str, Any]:
    """What a trial came to, for a record."""
    if trial.row is not None:
        return trial.row
    settings = trial.experiment
    row: dict[str, Any] = {
        "trial": trial.folder.name, "status": trial.status, "problem": trial.problem,
        "backbone": settings.backbone, "recipe": settings.recipe, "epochs": settings.optim.epochs,
        "lr": settings.schedule.lr, "weight_decay": settings.optim.weight_decay, "seed": settings.seed,
        "hash": settings.hash,
    }  # fmt: skip
    if trial.status != "complete":
        return row
    record, history = read_record(trial.folder), read_history(trial.folder)
    last = history[-1]["test"]
    sessions = [json.loads(line) for line in (trial.folder / "cpu.jsonl").read_text().splitlines()]
    return row | {
        "held_out": {name: value for name, value in last.items() if name != "per_class"},
        "per_class": last["per_class"],
        "cpu_seconds": sum(session["cpu_seconds"] for session in sessions),
        "train_seconds": record["result"]["train_seconds"],
        "cost": record["cost"],
        "split_hash": record["data"]["split_hash"],
        "environment": record["environment"],
    }


def run_trial(told: dict[str, Any]) -> int:
    """Train a trial from where it stands to its end."""
    folder = Path(told["folder"])
    experiment = experiment_of(told["backbone"], told["recipe"], told["settings"], told["root"])
    begun = time.process_time()
    try:
        train(
            experiment, folder, Runtime(told["device"], trackers=()), resume=(folder / "experiment.json").exists(),
            data=held_out_data(experiment.data),
        )  # fmt: skip
    except RunInterrupted as stop:
        return 128 + stop.signal_number
    finally:
        if folder.exists():
            with (folder / "cpu.jsonl").open("a") as file:
                file.write(json.dumps({"cpu_seconds": time.process_time() - begun}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(guarded("trials.py", lambda: run_trial(json.loads(sys.argv[1]))))
