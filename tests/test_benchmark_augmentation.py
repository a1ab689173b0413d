"""The augmentation benchmark runs and compares like with like; what it measures is no assertion here."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from tests import forked

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "augmentation.py"


@pytest.fixture(scope="module")
def augmentation() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_augmentation", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def images(count: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), np.arange(count) % 10


def test_both_pipelines_make_every_image_once_and_of_the_same_pixels(augmentation: ModuleType) -> None:
    pixels, labels = images(100)
    ours, classic = augmentation.Ours(pixels, labels), augmentation.Classic(pixels, labels, 0)
    assert ours.crop_and_flip() == ours.batches() == classic.batches() == 100
    theirs = torch.cat([views for views, _ in classic.loader])
    mine = torch.cat([batch.original.views[0] for batch in ours.stream.batches(0)])
    assert mine.shape == theirs.shape
    # Padding is black before it is normalised, so both end at the same lowest value, and at the same highest.
    for extreme in (torch.amin, torch.amax):
        torch.testing.assert_close(extreme(mine, (0, 2, 3)), extreme(theirs, (0, 2, 3)))
    assert sorted(label.item() for _, batch in classic.loader for label in batch) == sorted(labels.tolist())


def test_rates_are_medians_of_images_over_seconds(augmentation: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0, 0, 1, 0, 2, 0, 4])  # a warm-up, then 10 images in 1, 2 and 4 seconds
    monkeypatch.setattr(augmentation.time, "perf_counter", lambda: next(clock))
    assert augmentation.rates([lambda: 10], 3) == [5.0]


@pytest.mark.parametrize(("figure", "met"), [(19.9, False), (20.0, True)])
def test_target_is_a_lower_bound(figure: float, met: bool, augmentation: ModuleType) -> None:
    row = augmentation.row("x", figure, 20)
    assert row["met"] is met
    assert row["bound"] == "at least"


@pytest.mark.parametrize(("met", "code"), [(True, 0), (False, 1)])
def test_records_and_checks(
    met: bool, code: int, augmentation: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"what": "x", "figure": 2.0, "target": 1.0, "met": met}
    monkeypatch.setattr(augmentation, "measure", lambda *arguments: [row])
    threads = str(torch.get_num_threads())
    assert augmentation.main(["--threads", threads, "--record", str(tmp_path), "--check"]) == code
    assert augmentation.main(["--threads", threads]) == 0
    assert json.loads((tmp_path / "augmentation.json").read_text())["content"]["rows"] == [row]


def test_runs_as_a_script_with_its_workers(tmp_path: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r}); import augmentation as script; "
    code += "script.RATIO_TARGETS = {0: 20, 1: 10}; sys.exit(script.main(sys.argv[1:]))"  # one worker shows it, too
    done = forked.run("--images", "128", "--repeats", "1", "--record", tmp_path, code=code)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "augmentation.json").read_text())
    assert record["environment"]["threads"] == 1
    alone, *ratios = record["content"]["rows"]
    assert alone["target"] == 100_000
    assert [row["target"] for row in ratios] == [20, 10]
    for row in ratios:
        assert row["figure"] == pytest.approx(row["images_per_second"] / row["pil_images_per_second"])
