"""benchmarks/scaling.py runs at tiny sizes; what it measures is no assertion here."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from benchmarks.pages.speed import speed_page

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def scaling(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """By its own name from the search path, as its neighbour step.py is found, and so that a process can find it."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("scaling")


@pytest.mark.parametrize(("images", "classes"), [(1000, 10), (1000, 1), (50, 200), (1, 3)])
def test_labels_are_as_many_as_asked_and_long_tailed(scaling: ModuleType, images: int, classes: int) -> None:
    labels = scaling.long_tailed_labels(images, classes)
    counts = np.bincount(labels, minlength=classes)
    assert len(labels) == images
    assert len(counts) == classes
    if images >= 10 * classes > 10:
        assert counts[0] / counts[-1] == pytest.approx(scaling.IMBALANCE, rel=0.5)
        assert (np.diff(counts) <= 1).all()  # the roundings of two ends differ by one image at most
        assert (np.diff(labels) < 0).any()  # in random order


def test_images_are_measured_in_a_process_of_their_own(
    scaling: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scaling, "START_SECONDS", 0.0)
    rows = scaling.image_rows([2000], 20)
    linux = scaling.CLEAR_PEAK.exists()
    whats = ["sampler start", *["sampler start"] * linux, "draw of 64", "draw of 256"]
    assert [entry["what"].split(", ")[0] for entry in rows] == whats
    assert "N = 2e3, C = 20" in rows[0]["what"]
    assert [entry["met"] for entry in rows] == [False, *[True] * (len(rows) - 1)]
    assert rows[0]["order_seconds"] > 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(rows)
    assert "MISSED" in printed[0]
    assert "order_seconds" in printed[0]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of memory is read on Linux")
def test_the_peak_counts_what_is_freed_again_and_nothing_before(scaling: ModuleType) -> None:
    """In a process of its own: this one may keep what it freed, and 40 MB more would cost it nothing."""
    code = (
        "import sys, numpy as np; sys.path.insert(0, sys.argv[1]); import scaling; before = np.ones(10_000_000); "
        "made, cost = scaling._cost(lambda: np.ones(5_000_000).sum()); print(made, cost.megabytes)"
    )
    folder = str(Path(str(scaling.__file__)).parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code, folder], env=environment, capture_output=True, text=True, check=True
    )
    made, megabytes = map(float, done.stdout.split())
    assert made == 5_000_000
    assert 30 < megabytes < 60  # 40 MB, and not the 80 MB of what was there before


def test_classes_give_a_share_with_the_seconds_of_both(scaling: ModuleType) -> None:
    rows = scaling.class_rows("resnet8-slim", 4, [3, 30], 1)
    assert [entry["what"].rpartition(" ")[2] for entry in rows] == ["3", "30"]
    for entry in rows:
        assert entry["figure"] == pytest.approx(entry["maths_seconds"] / entry["step_seconds"])
        assert entry["target"] == 0.02


@pytest.mark.parametrize(("figure", "code"), [(1.0, 0), (1.5, 1)])
def test_records_and_checks(
    scaling: ModuleType, figure: float, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(scaling, "image_rows", lambda *arguments: [])
    monkeypatch.setattr(
        scaling, "class_rows",
        lambda *arguments: asked.append(arguments) or [scaling.row("x", figure, 1.0, seconds=2.0, nothing=None)],
    )  # fmt: skip
    assert scaling.main(["--record", str(tmp_path), "--check", "--batch-size", "3"]) == code
    assert scaling.main([]) == 0
    assert [arguments[1] for arguments in asked] == [3, 8]
    rows = json.loads((tmp_path / "scaling.json").read_text())["content"]["rows"]
    assert rows == [{"what": "x", "figure": figure, "target": 1.0, "met": not code, "seconds": 2.0, "nothing": None}]
    section = speed_page(tmp_path)
    assert re.search(rf"\| x \| {figure}\S* \| at most 1\S* \| {'no' if code else 'yes'} \|", section)
