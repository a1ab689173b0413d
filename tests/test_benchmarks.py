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


@pytest.fixture(autouse=True)
def siblings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)  # as for a script that is started there


def test_step_measures_time_and_mathematics(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step = load("step")
    monkeypatch.setattr(step, "peak_megabytes", lambda *arguments: 1.0)  # it spawns; tried by hand, not in CI
    monkeypatch.setattr(step, "matrix_rates", lambda device, sides: {"float32": {"square products": 1e9}})
    rows = step.measure([("resnet8-slim", 4, 1)], ("resnet8-slim", 4, 1), (["resnet8-slim"], 4, 1))
    assert [row["what"].split(",")[0] for row in rows] == [
        "step over bare passes", "a whole step", "a whole step", "FSM + losses + mixing over a step",
        "peak memory of a step",
    ]  # fmt: skip
    assert all(row["figure"] > 0 for row in rows)
    judged = [row for row in rows if row["target"] is not None]
    assert all(row["met"] == (row["figure"] <= row["target"]) for row in judged)
    adds = (27 * 16 + 2 * 9 * 16 * 16) * 1024 + (9 * 16 * 32 + 9 * 32 * 32) * 256 + (9 * 32 * 64 + 9 * 64 * 64) * 64
    images, share = rows[1], rows[2]
    assert images["figure"] == pytest.approx(4 / images["step_seconds"])
    assert share["figure"] == pytest.approx(24 * 4 * adds / images["step_seconds"] / 1e9)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(rows)
    assert sum("at most" in line for line in printed) == len(judged)


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


def test_ways_of_a_step_are_ratios_to_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ways = load("cpu_step")
    assert ways.seconds_a_step("resnet8-slim", 1, "float32", "channels first", False, 1) > 0
    known = {(1, "bfloat16"): 6.0, (1, "float32"): 2.0, (2, "float32"): 1.0}

    def in_processes(count: int, network: str, threads: int, dtype: str, layout: str, keep: bool, repeats: int):
        assert (repeats, network) == (4 if dtype == "bfloat16" else 12, "resnet8-lite")
        return known[threads, dtype] * (1.5 if count == 2 else 1) * (1 if keep else 1.1)

    monkeypatch.setattr(ways, "in_processes", in_processes)
    assert ways.main(["--record", str(tmp_path)]) == 0
    rows = json.loads((tmp_path / "cpu-step.json").read_text())["content"]["rows"]
    assert [row["figure"] for row in rows] == pytest.approx([2.0, 3.0, 1.0, 1.1, 0.5, 0.75])
    assert len(capsys.readouterr().out.splitlines()) == len(rows)
