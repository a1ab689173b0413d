"""The benchmarks run; what they measure is no assertion here."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_step_measures_time_and_mathematics(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step = load("step")
    monkeypatch.setattr(step, "peak_megabytes", lambda *arguments: 1.0)  # it spawns; tried by hand, not in CI
    rows = step.measure([("resnet8-slim", 4, 1)], ("resnet8-slim", 4, 1))
    assert [row["what"].split(",")[0] for row in rows] == [
        "step over bare passes", "FSM + losses + mixing over a step", "peak memory of a step",
    ]  # fmt: skip
    assert all(row["figure"] > 0 and row["met"] == (row["figure"] <= row["target"]) for row in rows)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(rows)
    assert all("at most" in line for line in printed)


@pytest.mark.parametrize(("met", "code"), [(True, 0), (False, 1)])
def test_step_records_and_checks(met: bool, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = load("step")
    row = {"what": "x", "figure": 2.0, "target": 1.0, "met": met}
    monkeypatch.setattr(step, "measure", lambda *arguments: [row])
    assert step.main(["--record", str(tmp_path), "--check"]) == code
    assert step.main([]) == 0
    assert json.loads((tmp_path / "step.json").read_text())["content"]["rows"] == [row]


def test_layout_is_read_in_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = load("layout")
    monkeypatch.setattr(layout, "CLASSES", 4)
    made = layout.make_folders(tmp_path, 40)
    assert layout.seconds(BENCHMARKS.parent / "src", made["parts"], 40) > 0
    with pytest.raises(ValueError, match="found 40 of 41 files"):
        layout.seconds(BENCHMARKS.parent / "src", made["classes"], 41)


def test_copies_makes_files_of_which_a_hundredth_is_there_twice(tmp_path: Path) -> None:
    load("copies").make_folder(tmp_path, 300)
    contents = [path.read_bytes() for path in tmp_path.glob("*/*.jpg")]
    assert (len(contents), len(set(contents))) == (300, 297)


def test_frozen_trains_heads_on_features_that_it_finds_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    frozen = load("frozen")
    monkeypatch.setattr(frozen, "BACKBONE", "timm:test_resnet")
    threads = str(torch.get_num_threads())
    small = ["--images", "200", "--test-images", "100", "--epochs", "2", "--threads", threads]
    assert frozen.main([*small, "--record", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "frozen.json").read_text())
    rows = record["content"]["rows"]
    assert [row["what"].split(",")[0] for row in rows] == ["cross-entropy", "fsgl"]
    assert all(row["figure"] > 0 and row["met"] == (row["figure"] <= row["target"]) for row in rows)
    assert len(capsys.readouterr().out.splitlines()) == len(rows)
    monkeypatch.setattr(frozen, "measure", lambda *arguments: [{"met": False}])
    assert (frozen.main(["--check", "--threads", threads]), frozen.main(["--threads", threads])) == (1, 0)
