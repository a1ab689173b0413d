from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import pytest

from fsgl.methods import Glmc
from fsgl.recipes.experiment import Experiment

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")

# METHOD section 7: the table, and the list of published experiments with what differs from it.
CIFAR = {"backbone": "resnet34", "epochs": 200, "batch": 64, "lr": 0.01, "decay": 5e-3, "q": 0.0, "p": 1.2, "c": 4,
         "rho": 0.05, "gamma": 0, "profile": "linear", "beta": 0.5}  # fmt: skip
CIFAR10, CIFAR100 = {**CIFAR, "data": "cifar10"}, {**CIFAR, "data": "cifar100"}
IMAGENET = {"data": "imagenet-lt", "backbone": "resnext50_32x4d", "epochs": 135, "batch": 120, "lr": 0.1,
            "decay": 2e-4, "q": 0.2, "p": 1.0, "c": 4, "rho": 0.05, "gamma": 0.1, "profile": "linear", "beta": 0.5,
            "factor": None}  # fmt: skip
PUBLISHED: dict[str, dict[str, Any]] = {
    "glmc-cifar10-if50": {**CIFAR10, "factor": 50, "rho": -1},
    "glmc-cifar10-if100": {**CIFAR10, "factor": 100, "rho": -1},
    "glmc-cifar100-if50": {**CIFAR100, "factor": 50, "rho": -1},
    "glmc-cifar100-if100": {**CIFAR100, "factor": 100, "rho": -1},
    "glmc-sam-cifar10-if50": {**CIFAR10, "factor": 50, "c": 1},
    "glmc-sam-cifar100-if100": {**CIFAR100, "factor": 100, "lr": 0.02},
    "fsm-linear-cifar10-if100": {**CIFAR10, "factor": 100, "gamma": 0.1},
    "fsm-same-cifar10-if100": {**CIFAR10, "factor": 100, "gamma": 0.1, "profile": "same"},
    "fsgl-cifar10-if50": {**CIFAR10, "factor": 50, "gamma": 0.5},
    "fsgl-cifar10-if100": {**CIFAR10, "factor": 100, "gamma": 0.5},
    "fsgl-cifar100-if50": {**CIFAR100, "factor": 50, "gamma": 1},
    "fsgl-cifar100-if100": {**CIFAR100, "factor": 100, "gamma": 1},
    "fsgl-imagenet-lt": IMAGENET,
    "fsgl-imagenet-lt-script": {**IMAGENET, "epochs": 200, "batch": 64, "q": 0.0},
}


class MakeCifar(Protocol):
    def __call__(self, root: Path, name: str, times: int = 1) -> Path: ...


Done = subprocess.CompletedProcess[str]


def run_sh(*arguments: str, python: str, script: Path = ROOT / "run.sh", **how: Any) -> Done:
    environment = {**os.environ, "PYTHON": python, **how.pop("env", {})}
    return subprocess.run([script, *arguments], capture_output=True, text=True, timeout=300, env=environment, **how)


@pytest.fixture
def show(tmp_path: Path) -> str:
    """In place of Python: prints its arguments between brackets, a command a line."""
    path = tmp_path / "show"
    path.write_text("#!/bin/sh\nprintf '<%s>' \"$@\"\necho\n")
    path.chmod(0o755)
    return str(path)


def commands(done: Done) -> list[list[str]]:
    """The arguments of main.py in each command that ``show`` was given."""
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line[1:-1].split("><") for line in done.stdout.splitlines()]
    assert {line[0] for line in lines} == {str(ROOT / "main.py")}
    return [line[1:] for line in lines]


@pytest.fixture
def experiment(main_py: ModuleType) -> Callable[[list[str]], Experiment]:
    return lambda arguments: main_py.experiment_of(main_py.parse(arguments))


def settings(experiment: Experiment) -> dict[str, Any]:
    method, optim = experiment.method, experiment.optim
    assert isinstance(method, Glmc)
    return {
        "data": experiment.data.name,
        "factor": experiment.data.imbalance_factor,
        "backbone": experiment.backbone,
        "epochs": optim.epochs,
        "batch": optim.batch_size,
        "lr": experiment.schedule.lr,
        "decay": optim.weight_decay,
        "q": method.resample_weighting,
        "p": method.label_weighting,
        "c": method.contrast_weight,
        "rho": experiment.sam.rho,
        "gamma": method.feature_scaling.gamma,
        "profile": method.feature_scaling.profile,
        "beta": method.beta,
    }


def test_without_a_name_it_lists_the_published_experiments(show: str) -> None:
    done = run_sh(python=show)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(PUBLISHED)


def test_every_command_has_the_published_settings(show: str, experiment: Callable[[list[str]], Experiment]) -> None:
    found = [settings(experiment(arguments)) for arguments in commands(run_sh("all", python=show))]
    assert dict(zip(PUBLISHED, found, strict=True)) == PUBLISHED


def test_named_command_comes_alone_and_takes_more_flags(
    show: str, experiment: Callable[[list[str]], Experiment]
) -> None:
    (arguments,) = commands(run_sh("fsgl-cifar10-if50", "--root", "a folder", "--epochs", "3", python=show))
    found = experiment(arguments)
    assert found.data.root == "a folder"
    assert settings(found) == {**PUBLISHED["fsgl-cifar10-if50"], "epochs": 3}


def test_unknown_name_is_refused_in_one_line(show: str) -> None:
    done = run_sh("fsgl-cifar10", python=show)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "fsgl-cifar10" in done.stderr


def test_first_failure_ends_the_series(tmp_path: Path) -> None:
    failing = tmp_path / "fail"
    failing.write_text("#!/bin/sh\necho started\nexit 7\n")
    failing.chmod(0o755)
    done = run_sh("all", python=str(failing))
    assert (done.returncode, done.stdout) == (7, "started\n")
    assert "glmc-cifar10-if50" in done.stderr


def test_runs_from_a_folder_with_a_space_and_prefers_its_own_environment(tmp_path: Path) -> None:
    clone = tmp_path / "a clone"
    (clone / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(ROOT / "run.sh", clone)
    python = clone / ".venv" / "bin" / "python"
    python.write_text('#!/bin/sh\necho "$1"\n')
    python.chmod(0o755)
    done = run_sh("fsgl-cifar10-if50", python="", script=clone / "run.sh", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{clone}/main.py\n")


def test_it_trains(tmp_path: Path, make_cifar: MakeCifar) -> None:
    """The whole way once: bash, a fresh interpreter, main.py, a run folder."""
    make_cifar(tmp_path / "data", "cifar10")
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    flags = ["-a", "resnet8-slim", "--max-steps", "1", "--store_name", "mine"]
    done = run_sh("fsgl-cifar10-if50", *flags, python=sys.executable, cwd=tmp_path, env={"PYTHONPATH": path})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("behaviour fsgl: fsgl on cifar10 (IF 50, draw release), resnet8-slim, seed 3407")
    assert (tmp_path / "output" / "mine" / "experiment.json").exists()
