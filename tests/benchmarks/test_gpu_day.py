"""benchmarks/gpu_day.py, rehearsed on the CPU: the real commands on a few digits, and the list beside the recipes."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import override

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def gpu_day() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)  # as for a script that is started there
        yield importlib.import_module("gpu_day")


def test_every_cell_of_the_list_is_one_that_there_is(gpu_day: ModuleType) -> None:
    listed = gpu_day.jobs()
    assert len({job.name for job in listed}) == len(listed)
    for job in listed:
        for word in job.words[1:]:
            if ":" in word:
                cell, *changes = word.split(",")
                data = "imagenet-lt" if job.drawn == gpu_day.PHOTOGRAPHS else job.drawn.split("-")[0]
                lists = ("train.txt", "test.txt") if data == "imagenet-lt" else ()
                override(make_experiment(cell.split(":")[0], data, "data", *lists), *changes)


def test_the_grid_is_that_of_the_long_runs(gpu_day: ModuleType) -> None:
    """The same experiments by their hashes, so that their records are those of the same runs."""
    cells, long_runs = importlib.import_module("cells"), gpu_day.long_runs
    chosen = json.loads((long_runs.RESULTS / gpu_day.RECORD).read_text())["content"]["chosen"]
    for data, recipes in (("cifar10", ("glmc", "ldam-drw")), ("cifar100", ("fsgl",))):
        make = long_runs.experiments(data, "data", long_runs.NETWORK, 3 * gpu_day.EPOCHS, chosen)
        wanted = [make(recipe, seed).hash for seed in range(2) for recipe in recipes]
        options = SimpleNamespace(settings=[], data=data, root="data", train_list=None, test_list=None)
        words = gpu_day.grid_cells(data, recipes, range(2))
        assert [cells.resolve(word, options, None)[0].hash for word in words] == wanted


def test_a_day_goes_on_until_all_is_done(gpu_day: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, where paper_run.py's cells start theirs: profiles and a run, then nothing more to do."""
    paper_run = importlib.import_module("paper_run")
    monkeypatch.setattr(gpu_day, "jobs", lambda seeds, theirs: [
        gpu_day.Job("profile", "digits-if50", ("profile", "fsgl:0", "--warmup", "1", "--steps", "2", "--repeats", "2"),
                    limited=False),
        gpu_day.Job("paper-run", "digits-if50", ("run", "fsgl:0")),
        gpu_day.Job("photographs-step", gpu_day.PHOTOGRAPHS, (
            "profile", "fsgl:0,backbone=resnet8-slim,optim.batch_size=2,transfer.image_size=32",
            "--warmup", "1", "--steps", "1", "--repeats", "1",
        ), limited=False),
    ])  # fmt: skip
    called: list[str] = []

    def here(script: str, *words: str) -> int:
        assert script == "paper_run.py"
        called.append(words[0])
        return int(paper_run.main(list(words)))

    monkeypatch.setattr(gpu_day, "start", here)
    drawn = gpu_day.photographs
    monkeypatch.setattr(gpu_day, "photographs", lambda folder: drawn(folder, 8))
    command = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results"), "--data", "digits",
               "--each", "optim.epochs=1", "--least", "0", "--grace", "1"]  # fmt: skip
    assert gpu_day.main([*command, "--minutes", "0"]) == 3  # no time: all is left
    assert called == []
    assert gpu_day.main([*command, "--minutes", "5"]) == 0
    assert called == ["draw", "profile", "run", "profile"]
    kinds = sorted(json.loads(path.read_text())["kind"] for path in (tmp_path / "results").glob("*.json"))
    assert kinds == ["profile", "profile", "run"]
    assert gpu_day.main([*command, "--minutes", "5"]) == 0
    assert called == ["draw", "profile", "run", "profile"]


@pytest.mark.parametrize(("codes", "expected", "status"), [([3], 3, "begun"), ([1], 1, "failed"), ([3, 0], 0, "done")])
def test_what_stopped_goes_on_and_what_failed_is_told(
    gpu_day: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codes: list[int], expected: int, status: str
) -> None:
    monkeypatch.setattr(gpu_day, "jobs", lambda seeds, theirs: [gpu_day.Job("one", "digits-if50", ("run", "fsgl:0"))])
    (tmp_path / "digits-if50.npz").touch()
    answers = iter(codes)
    monkeypatch.setattr(gpu_day, "start", lambda *words: next(answers))
    for _ in codes:
        found = gpu_day.main(["--runs", str(tmp_path), "--minutes", "5"])
    assert found == expected
    state = json.loads((tmp_path / "gpu-day.json").read_text())
    assert state == {"one": {"status": status, "words": ["run", "fsgl:0"]}}


def test_a_job_of_other_words_is_another_job(
    gpu_day: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More seeds than before: what was done is not all of it."""
    cells: list[list[str]] = []
    monkeypatch.setattr(gpu_day, "start", lambda script, *words: cells.append([w for w in words if ":" in w]) or 0)
    (tmp_path / "cifar10-if100.npz").touch()
    command = ["--runs", str(tmp_path), "--minutes", "5", "--only", "grid-cifar10"]
    for seeds, times in (("1", 1), ("1", 1), ("2", 2)):
        assert gpu_day.main([*command, "--seeds", seeds]) == 0
        assert len(cells) == times
    assert 2 * len(cells[0]) == len(cells[1])


def test_every_job_is_a_command_that_its_script_takes(gpu_day: ModuleType) -> None:
    """By the scripts' own parsers: a misspelt option would end a day's job on the machine."""
    paper_run, published = importlib.import_module("paper_run"), importlib.import_module("published_code")
    for job in gpu_day.jobs(theirs="release"):
        given = [*job.words, "--results", "results", "--commit", "c"]
        if job.script == "paper_run.py":
            limited = ["--runs", "runs", "--limit", "9", "--grace", "1"] if job.limited else []
            options = paper_run.parse([*given, "--data", "x.npz", *limited])
            assert options.cells == [word for word in job.words if ":" in word.partition("=")[0]]
            assert all("=" in word for word in options.settings)
        elif job.script == "published_code.py":
            assert published.parser().parse_args([*given, "--data", "x.npz"]).folder == "release"
        else:
            assert job.script == "decoding.py"
            gpu_day.decoding.parser().parse_args([*job.words, "--record", "results"])


def test_jobs_are_processes_of_their_own(gpu_day: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    class Ended:
        returncode = 7

    monkeypatch.setattr(gpu_day.subprocess, "run", lambda command, check: seen.append(command) or Ended())
    assert gpu_day.start("paper_run.py", "profile", "fsgl:0") == 7
    assert seen == [[sys.executable, str(BENCHMARKS / "paper_run.py"), "profile", "fsgl:0"]]
