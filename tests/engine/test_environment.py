from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

from fsgl.comparison.all_cells import local_devices, threads_each
from fsgl.engine import environment as module
from fsgl.engine.environment import commit, environment, seeded, usable_cores


def test_seeded_depends_on_seed_and_place_alone() -> None:
    def draw(seed: int, *place: str | int) -> list[float]:
        with seeded(seed, *place):
            return torch.randn(3).tolist()

    torch.manual_seed(5)
    first = draw(0, "weights")
    torch.manual_seed(6)
    assert draw(0, "weights") == first
    assert draw(1, "weights") != first
    assert draw(0, "other") != first


def test_seeded_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.randn(3).tolist()
    torch.manual_seed(5)
    with seeded(0, "weights"):
        torch.randn(10)
    assert torch.randn(3).tolist() == expected


def test_environment_can_be_recorded() -> None:
    described = environment(torch.device("cpu"))
    assert json.loads(json.dumps(described, allow_nan=False)) == described
    assert described["device"] == "cpu"
    assert described["threads"] == torch.get_num_threads()
    assert described["cores"] == os.cpu_count()
    versions = described["versions"]
    assert isinstance(versions, dict)
    assert versions["torch"] == torch.__version__.split("+")[0] or versions["torch"] == torch.__version__
    assert versions["numpy"] == importlib.metadata.version("numpy")


def test_runs_at_a_time_are_of_the_cores_that_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5}, raising=False)
    assert usable_cores() == 2
    assert (local_devices("cpu"), threads_each(["cpu"])) == (["cpu", "cpu"], 2)
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    assert usable_cores() == 64


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that takes the place of the package's own, with git settings of nobody's."""
    folder = tmp_path / "site-packages" / "engine"
    folder.mkdir(parents=True)
    (folder / "environment.py").write_text("first")
    monkeypatch.setattr(module, "__file__", str(folder / "environment.py"))
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    return folder


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_commit_names_the_source(package: Path) -> None:
    assert commit() is None  # outside git
    git(package, "init", "-q")
    assert commit() is None  # installed into a folder of somebody else's repository
    git(package, "add", "environment.py")
    git(package, "commit", "-qm", "one")
    head = git(package, "rev-parse", "HEAD")
    assert commit() == head
    (package / "untracked.py").touch()
    assert commit() == head
    (package / "environment.py").write_text("second")
    assert commit() == f"{head}+changes"


def test_commit_without_git(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(package))
    assert commit() is None
