"""The decoding benchmark runs and counts what it should; what it measures is no assertion here."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from fsgl.data.readers.own import find_source

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "decoding.py"


@pytest.fixture(scope="module")
def decoding() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_decoding", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_case_gives_two_views_of_every_image(decoding: ModuleType, tmp_path: Path) -> None:
    decoding.photographs(tmp_path / "files", 5)
    images = find_source(tmp_path / "files").train
    for options in ({}, {"crops": True}, {"augmentation": "classic"}):
        epochs = decoding.Epochs(images, 0, size=32, **options)
        assert [epochs(), epochs()] == [10, 10]
    assert 30_000 < decoding._bytes(tmp_path / "files") / 5 < 90_000  # of a photograph's size


def test_a_record_is_written(decoding: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--record", str(tmp_path), "--images", "3", "--repeats", "1", "--workers", "0"]
    assert decoding.main(options) == 0
    rows = json.loads((tmp_path / "decoding.json").read_text())["content"]["rows"]
    assert [row["target"] for row in rows] == [2.5, 4.0, 5.0, 10.0, None, None]
    for row in rows:
        assert row["figure"] == pytest.approx(row["views_per_second"] / row["classic_views_per_second"])
        assert row["met"] is (row["target"] is None or row["figure"] >= row["target"])
    assert decoding.main(["--record", str(tmp_path), "--flat", "5000", "--workers", "0"]) == 0
    (row,) = json.loads((tmp_path / "decoding-memory.json").read_text())["content"]["rows"]
    assert row["figure"] == pytest.approx(row["end_mebibytes"] / row["begin_mebibytes"])
    assert "5,000 images" in capsys.readouterr().out
