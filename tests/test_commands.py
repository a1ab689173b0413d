from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fsgl.commands.cli import main
from fsgl.commands.train import print_settings, runtime, train_and_explain
from fsgl.files import read_json
from fsgl.recipes import RECIPES, make_experiment
from fsgl.recipes.experiment import Experiment, override
from fsgl.runs.folder import new_folder, unused_folder
from fsgl.runs.train import RunDiverged, RunInterrupted, Runtime

TRY = ["--device", "cpu", "--max-steps", "1", "--track", "none"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The calls of ``train``, which does nothing, and no figures are printed."""
    calls: list[tuple[Any, ...]] = []

    def train(*arguments: Any, data: object, placement: object, deadline: float | None) -> None:
        assert deadline is None  # no --time-budget is given
        calls.append(arguments)

    monkeypatch.setattr("fsgl.runs.train.train", train)
    for name in (
        "report.summary.print_run",
        "report.summary.print_comparison",
        "runs.saved.read_record",
        "runs.saved.read_history",
    ):
        monkeypatch.setattr(f"fsgl.{name}", lambda *_: None)
    return calls


@pytest.mark.parametrize("recipe", RECIPES)
def test_printed_settings_are_assignments_that_give_the_same_experiment(
    recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = override(make_experiment(recipe, "cifar10"), "schedule.lr=0.123", "data.val=0.25")
    print_settings(experiment)
    title, *lines = capsys.readouterr().out.splitlines()
    assert title == f"# {recipe} on cifar10; * marks what is not at its default"
    assignments = [line.split(" ")[0] for line in lines]
    assert "schedule.lr=0.123" in assignments
    assert override(make_experiment(recipe, "cifar10"), *assignments) == experiment
    rate = next(line for line in lines if line.startswith("schedule.lr="))
    assert " ".join(rate.split("# ", 1)[1].split()) == "* positive base learning rate (default 0.01)"
    assert all(line.split("# ", 1)[1].strip("* ") for line in lines)  # each says something of itself


def test_settings_are_printed_and_nothing_is_trained(
    trained: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "fsgl", "--data", "digits", "--epochs", "7", "--lr", "0.5", "--settings"]) == 0
    lines = [line.split(" ")[0] for line in capsys.readouterr().out.splitlines()]
    assert {"optim.epochs=7", "schedule.lr=0.5", "backbone=resnet8-slim"} <= set(lines)
    assert main(["train", "digits", "--settings"]) == 0
    assert capsys.readouterr().out.count("* marks what") == 2
    assert not trained


def test_options_reach_the_experiment_and_the_runtime(trained: list[tuple[Any, ...]]) -> None:
    threads = torch.get_num_threads()
    command = (
        "train glmc --data cifar10 --root pictures --imbalance-factor 10 --draw release --val 0.2 --backbone resnet32 "
        "--epochs 3 --batch-size 8 --lr 0.2 --seed 5 --run here --max-steps 4 --device cpu --workers 1 "
        f"--threads {threads} --track wandb --track tensorboard method.beta=2"
    )
    assert main(command.split()) == 0
    ((experiment, folder, how, resume),) = trained
    assert experiment == override(
        make_experiment("glmc", "cifar10", "pictures"), "data.imbalance_factor=10", "data.draw=release", "data.val=0.2",
        "backbone=resnet32", "optim.epochs=3", "optim.batch_size=8", "schedule.lr=0.2", "seed=5", "method.beta=2",
    )  # fmt: skip
    assert (folder, resume) == (Path("here"), False)
    assert how == Runtime("cpu", 1, 4, ("wandb", "tensorboard"))


def test_defaults_of_the_runtime(trained: list[tuple[Any, ...]]) -> None:
    assert main(["train", "fsgl", "--data", "digits"]) == 0
    assert main(["train", "fsgl", "--data", "digits", "--track", "none"]) == 0
    assert [call[2] for call in trained] == [Runtime(workers=2), Runtime(workers=2, trackers=())]


def test_folder_names_the_experiment(tmp_path: Path) -> None:
    experiment = make_experiment("fsgl", "cifar100")
    assert new_folder(experiment) == Path("runs/fsgl-cifar100-if100-seed0")
    changed = override(experiment, "data.imbalance_factor=12.5", "seed=3")
    assert new_folder(changed) == Path("runs/fsgl-cifar100-if12.5-seed3")
    lists = make_experiment("glmc", "imagenet-lt", "data", "a", "b")
    assert new_folder(lists) == Path("runs/glmc-imagenet-lt-seed0")


def test_unused_folder_counts_on(tmp_path: Path) -> None:
    names = []
    for _ in range(3):
        folder = unused_folder(tmp_path / "run")
        folder.mkdir()
        names.append(folder.name)
    assert names == ["run", "run-2", "run-3"]


def test_demonstration_trains_both_in_one_folder(trained: list[tuple[Any, ...]]) -> None:
    assert main(["train", "digits", "--run", "demo", "--epochs", "3", "--seed", "4"]) == 0
    assert [call[1] for call in trained] == [Path("demo/cross-entropy"), Path("demo/fsgl")]
    assert [call[0].optim.epochs for call in trained] == [3, 3]
    assert [call[0].seed for call in trained] == [4, 4]


def test_demonstration_that_is_interrupted_ends_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun: list[Path] = []

    def interrupted(experiment: Experiment, folder: Path, *_: Any, **__: Any) -> None:
        begun.append(folder)
        raise RunInterrupted(folder, signal.SIGTERM)

    monkeypatch.setattr("fsgl.runs.train.train", interrupted)
    assert main(["train", "digits", "--run", "a demo"]) == 143
    assert begun == [Path("a demo/cross-entropy")]
    assert "to go on: fsgl train --run 'a demo/cross-entropy' --resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (RunDiverged("training diverged"), 1, "fsgl: training diverged\n"),
        (torch.OutOfMemoryError("CUDA is full.\nmore"), 1, "fsgl: CUDA is full. A smaller optim.batch_size"),
        (KeyboardInterrupt(), 130, "\nfsgl: left at once; nothing was begun\n"),
    ],
)
def test_ends_that_are_explained(
    error: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    tiny: Experiment, tmp_path: Path,
) -> None:  # fmt: skip
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("fsgl.runs.train.train", fail)
    assert train_and_explain(tiny, tmp_path / "run", Runtime(), False) == code
    assert capsys.readouterr().err.startswith(said)


def test_replay_may_change_settings_and_where_images_are(
    finished: Path, tiny: Experiment, trained: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = str(finished / "experiment.json")
    # From elsewhere a relative root is taken from here, where it is there: a clone may hold the folder data.
    monkeypatch.chdir(read_json(finished / "experiment.json")["begun_in"])
    assert main(["train", "--from", record]) == 0
    assert main(["train", "--from", record, "--root", "pictures", "--epochs", "9", "seed=2"]) == 0
    first, second = (call[0] for call in trained)
    assert first == tiny
    assert second == override(tiny, "data.root=pictures", "optim.epochs=9", "seed=2")


def test_lists_of_images_from_the_command_line(tmp_path: Path) -> None:
    """Trained, moved, and replayed with the lists and images at their new place."""
    images, lines = tmp_path / "images", []
    images.mkdir()
    random = np.random.default_rng(0)
    for i in range(4):
        Image.fromarray(random.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(images / f"{i}.png")
        lines.append(f"{i}.png {i % 2}")
    (tmp_path / "list.txt").write_text("\n".join(lines))
    lists = ["--train-list", "list.txt", "--test-list", "list.txt"]
    small = ["--backbone", "resnet8-slim", "--batch-size", "2", "--val", "0", "--workers", "0"]
    command = ["train", "cross-entropy", "--data", "imagenet-lt", "--root", "images", *lists, *small, *TRY]
    assert main([*command, "--run", "first"]) == 0
    images.rename(tmp_path / "moved")
    (tmp_path / "list.txt").rename(tmp_path / "moved.txt")
    again = ["train", "--from", "first/experiment.json", "--root", "moved", "--run", "second", "--workers", "0", *TRY]
    assert main(again) == 2  # the lists have moved as well
    assert main([*again, "--train-list", "moved.txt", "--test-list", "moved.txt"]) == 0
    assert Path("first/predictions.npz").read_bytes() == Path("second/predictions.npz").read_bytes()


def test_evaluation_as_json_is_what_was_recorded(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(finished), "--json", "--device", "cpu"]) == 0
    recorded = json.loads((finished / "experiment.json").read_text())["result"]["last"]
    assert json.loads(capsys.readouterr().out) == recorded


def test_runtime_is_made_of_its_own_options_only() -> None:
    from fsgl.commands.cli import parse

    options, _ = parse(["train", "fsgl", "--track", "tensorboard", "--track", "tensorboard"])
    assert runtime(options).trackers == ("tensorboard",)  # named twice, written once
