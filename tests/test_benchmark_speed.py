"""The speed benchmark counts and divides rightly; what it measures is no assertion here."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from fsgl.models.backbones import build_backbone
from fsgl.models.cost import multiply_adds

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
CPU = torch.device("cpu")


@pytest.fixture
def speed(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)  # it imports its siblings
    spec = importlib.util.spec_from_file_location("benchmark_speed", BENCHMARKS / "speed.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "benchmark_speed", module)  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


def test_paper_run_has_the_steps_of_the_true_long_tail(speed: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """CIFAR-10-LT and CIFAR-100-LT have published sizes: 12,406 at IF 100, 12,608 at IF 50."""
    monkeypatch.setattr(speed, "cpu_peak", lambda setting: None)
    for data, factor, images, steps in (("cifar100", 50, 12608, 197 * 200), ("cifar10", 100, 12406, 194 * 200)):
        setting = speed.Setting(data, factor, "resnet34", "fsgl")
        assert setting.counts().sum() == images
        assert -(-images // setting.experiment().optim.batch_size) * setting.experiment().optim.epochs == steps
    monkeypatch.setattr(speed, "time_steps", lambda *arguments: 0.5)
    monkeypatch.setattr(speed, "operations", lambda *arguments: 10**9)
    setting = speed.Setting("cifar100", 50, "resnet8-slim", "fsgl", batch_size=32)
    row = speed.measure_setting(setting, CPU, {"float32": {"a": 4e9, "b": 1e9}}, 1, 1)
    assert row["paper_steps"] == 394 * 200
    assert row["paper_run_seconds"] == 394 * 200 * 0.5
    assert row["images_per_second"] == 64
    assert row["share_of_floor"] == pytest.approx(0.5)  # 1e9 operations at the faster rate take 0.25 s


@pytest.mark.parametrize(("recipe", "passes"), [("cross-entropy", 1), ("glmc", 2), ("fsgl", 4)])
def test_operations_are_those_of_all_passes(recipe: str, passes: int, speed: ModuleType) -> None:
    """Backward is twice forward, except for the first layer, whose input needs no gradient; heads add little."""
    batch = 4
    counted = speed.operations(speed.Setting("cifar10", 100, "resnet8-slim", recipe, batch_size=batch), CPU)
    forward = 2 * multiply_adds(build_backbone("resnet8-slim"), (3, 32, 32)) * batch
    first_layer = 2 * 16 * 3 * 9 * 32 * 32 * batch
    backbone = passes * (3 * forward - first_layer)
    assert backbone < counted < 1.005 * backbone


def test_matrix_rate_is_operations_over_the_least_time(speed: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["matrix_rate"]
    monkeypatch.setattr(module, "fastest", lambda function, device, repeats: (function(), 2.0)[1])
    before = torch.get_float32_matmul_precision()
    rates = module.matrix_rates(CPU, [16, 8])
    assert rates == {"float32": {"square products": 16**3, "3 x 3 convolution": 9 * 256 * 256 * 16 * 16 * 8}}
    assert torch.get_float32_matmul_precision() == before


def test_fastest_leaves_the_warm_up_out(speed: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["matrix_rate"]
    clock = iter([0, 1, 0, 7, 0, 5])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))
    assert module.fastest(lambda: None, CPU, 2) == 5


def test_steps_are_timed_by_blocks_after_a_warm_up(speed: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    class Counted:
        steps = 0

        def step(self) -> None:
            self.steps += 1

    training, clock = Counted(), iter([900, 0, 10, 0, 30, 0, 20])
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock))
    assert speed.time_steps(training, CPU, block=5, repeats=3) == 4
    assert training.steps == 20


def test_variations_differ_from_the_default_only_as_they_say(speed: ModuleType) -> None:
    passes = sys.modules["passes"].Passes("resnet8-slim", 2)
    threads = torch.get_num_threads()
    gradients = {}
    for name, (_, function) in passes.variations().items():
        function()
        gradients[name] = [parameter.grad.clone() for parameter in passes.net.parameters()]
    for same in ("gradients zeroed, not freed", "denormals flushed to zero"):
        for mine, default in zip(gradients[same], gradients["default"], strict=True):
            torch.testing.assert_close(mine, default, rtol=1e-3, atol=1e-3)
    biggest = max(float((a - b).abs().max()) for a, b in zip(
        gradients["second view without a graph"], gradients["default"], strict=True))  # fmt: skip
    assert biggest > 1e-2
    assert torch.get_num_threads() == threads
    assert torch.backends.mkldnn.enabled


def test_tried_has_ratios_to_the_default(speed: ModuleType) -> None:
    seconds = {"default": iter([2.0, 3.0]), "kept": iter([1.0, 4.0])}
    tried = sys.modules["passes"].try_variations("resnet8-slim", 2, 1, lambda way, *size: next(seconds[way]))
    rows = {row["what"]: row for row in tried["rows"]}
    assert rows["default"]["ratio"] == 1
    assert rows["freed memory kept"]["ratio"] == 0.5
    assert "bf16 autocast" in rows
    assert [name for name, row in rows.items() if not row["same_method"]] == [
        "both views in one forward pass", "second view without a graph",
    ]  # fmt: skip
    without = sys.modules["passes"].try_variations(
        "resnet8-slim", 2, 1, lambda way, *size: 1.0 if way == "default" else None)  # fmt: skip
    assert "freed memory kept" not in {row["what"] for row in without["rows"]}


def test_it_measures_and_starts_itself_as_a_script_for_the_peak(
    speed: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(BENCHMARKS.parent / "src"), *sys.path]))
    small, other = (speed.Setting("cifar10", 100, "resnet8-slim", recipe, batch_size=8) for recipe in ("fsgl", "glmc"))
    monkeypatch.setattr(speed, "ON_CPU", (small, other))
    command = ["--device", "cpu", "--threads", "1", "--repeats", "1", "--sides", "64", "--no-tried"]
    assert speed.main([*command, "--only", "fsgl", "--record", str(tmp_path)]) == 0
    (written,) = tmp_path.glob("speed-*.json")
    record = json.loads(written.read_text())
    assert record["kind"] == "speed"
    assert record["name"] == written.stem
    (row,) = record["content"]["settings"]
    assert row["seconds_per_step"] > 0
    if Path("/proc/self/clear_refs").exists():
        assert row["peak_memory_bytes"] > 50 * 2**20
