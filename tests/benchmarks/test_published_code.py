"""benchmarks/published_code.py with a stand-in for the release: what it is given, and how its lines are read."""

from __future__ import annotations

import importlib
import json
import pickle
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from fsgl.data.images.sources import ImageArrays
from fsgl.data.load import DataSpec, LoadedData

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
# Its first line has the set-up in it: 5 s, then 0.5 s a step.
MAIN = """
import pickle, sys, time
print(sys.argv[1:])
for step in range(0, 200, 10):
    done = step + 1
    print(f"Epoch: [1/200][{step}/198]\\tTime 0.5 ({(5 + 0.5 * step) / done:.6f})\\tData 0.1 (0.100)\\tLoss 1.0")
    time.sleep(0.01)
time.sleep(60)
"""
SAM = """
class SAM:
    def __init__(self, groups): self.param_groups = groups
    def first_step(self, zero_grad=False): return [p.grad for g in self.param_groups for p in g["params"]]
"""


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)  # as for a script that is started there
    return importlib.import_module("published_code")


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "main.py").write_text(MAIN)
    (tmp_path / "theirs" / "sam.py").write_text(SAM)
    return tmp_path / "theirs"


def data() -> LoadedData:
    counts = np.array([5, 2])
    labels = np.repeat(np.arange(2), counts)
    images = np.arange(7 * 32 * 32 * 3, dtype=np.int64).reshape(7, 32, 32, 3).astype(np.uint8)
    part, half = ImageArrays(images, labels), (0.5,) * 3
    return LoadedData(DataSpec("cifar100"), part, None, part, ("a", "b"), counts, half, half, (), "f" * 64)


def test_steps_are_timed_without_what_is_set_up_once(
    program: ModuleType, theirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "read_drawn", lambda path: data())
    command = [str(theirs), "--data", "x.npz", "--results", str(tmp_path), "--steps", "60", "--commit", "c" * 40]
    assert program.main(command) == 0
    record = json.loads((tmp_path / "published-code-cpu.json").read_text())
    found = record["content"]
    assert found["seconds_per_step"] == pytest.approx(0.5, rel=1e-3)
    assert found["loading_seconds_per_step"] == pytest.approx(0.1, rel=1e-3)
    assert found["steps"] >= 60
    assert found["images"] == 7
    assert "--rho" in found["arguments"]
    assert program.main([*command, "--more", "-b", "4"]) == 0
    assert json.loads((tmp_path / "published-code-cpu.json").read_text())["content"]["arguments"][-2:] == ["-b", "4"]


def test_what_gets_nowhere_is_told_by_its_last_words(
    program: ModuleType, theirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (theirs / "main.py").write_text("raise KeyError('old_p')")
    monkeypatch.setattr(program, "read_drawn", lambda path: data())
    assert program.main([str(theirs), "--data", "x.npz", "--results", str(tmp_path)]) == 1
    assert "KeyError: 'old_p'" in capsys.readouterr().out
    assert not list(tmp_path.glob("*.json"))
    assert program.main([str(tmp_path), "--data", "x.npz"]) == 2
    assert "a checkout of the authors' repository is wanted" in capsys.readouterr().err


def test_the_archive_has_every_class_filled_up_with_its_own_images(program: ModuleType, tmp_path: Path) -> None:
    drawn = data()
    program.write_archive(drawn, tmp_path / "archive")
    train = pickle.loads((tmp_path / "archive" / "train").read_bytes())
    labels = np.array(train[b"fine_labels"])
    assert np.bincount(labels).tolist() == [25_000, 25_000]
    pixels = train[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    for k in range(2):
        own = {image.tobytes() for image in drawn.train.images[drawn.train.labels == k]}
        assert {image.tobytes() for image in pixels[labels == k][:50]} == own


def test_heads_without_a_gradient_are_given_zeros(
    program: ModuleType, theirs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (theirs / "main.py").write_text("import sys; print(sys.argv[1:])")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.delitem(sys.modules, "sam", raising=False)
    assert program.main(["--theirs", str(theirs), "--epochs", "3"]) == 0
    assert capsys.readouterr().out == "['--epochs', '3']\n"
    a, b = (torch.ones(2, requires_grad=True) for _ in range(2))
    a.grad = torch.full((2,), 7.0)
    got = sys.modules["sam"].SAM([{"params": [a, b]}]).first_step()
    assert [grad.tolist() for grad in got] == [[7.0, 7.0], [0.0, 0.0]]
    monkeypatch.delitem(sys.modules, "sam")
