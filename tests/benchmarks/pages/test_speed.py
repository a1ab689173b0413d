from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benchmarks.pages.speed import number, speed_page

from fsgl.report.records import write_record

ENVIRONMENT = {"processor": "CPU X", "threads": 2, "versions": {"torch": "2.11"}, "commit": "c" * 40, "device": "cpu"}
ON_GPU = ENVIRONMENT | {"device": "GPU Y"}
ROW = {
    "data": "cifar100", "imbalance_factor": 50, "backbone": "resnet34", "recipe": "fsgl", "batch_size": 64,
    "precision": "float32", "cuda_graphs": False, "images": 12608, "epochs": 200, "paper_steps": 39400,
    "seconds_per_step": 0.25, "images_per_second": 256.0, "operations_per_step": 1.78e12, "share_of_floor": 0.125,
    "peak_memory_bytes": 300 * 2**20, "paper_run_seconds": 9850.0,
}  # fmt: skip
TRIED = {
    "backbone": "resnet34", "batch_size": 8,
    "rows": [
        {"what": "default", "note": "", "seconds": 1.0, "ratio": 1.0, "same_method": True},
        {"what": "quick", "note": "known", "seconds": 0.5, "ratio": 0.5, "same_method": True},
        {"what": "other", "note": "", "seconds": 12.5, "ratio": 0.5, "same_method": False},
        {"what": "same", "note": "", "seconds": 0.99, "ratio": 0.99, "same_method": True},
    ],
}  # fmt: skip


def speed_record(folder: Path, environment: dict[str, Any] = ENVIRONMENT, **changes: Any) -> None:
    content = {
        "matrix_rates": {"float32": {"square products": 123e9}}, "settings": [ROW | changes], "tried": [TRIED],
    }  # fmt: skip
    name = f"speed-{environment['device']}".replace(" ", "-")
    write_record(folder, "speed", name, "python benchmarks/speed.py", environment, content)


def run_record(folder: Path, name: str, environment: dict[str, Any] = ENVIRONMENT, **changes: Any) -> None:
    content: dict[str, Any] = {
        "status": "complete", "train_seconds": 8000.0, "data": {"train": 12608},
        "settings": {
            "recipe": "fsgl", "backbone": "resnet34", "data": {"name": "cifar100", "imbalance_factor": 50.0},
            "optim": {"epochs": 200, "batch_size": 64},
        },
    }  # fmt: skip
    write_record(folder, "run", name, "fsgl train", environment, content | changes)


def cells(page: str, start: str) -> list[str]:
    (line,) = [line for line in page.splitlines() if line.startswith(f"| {start}")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_training_shows_each_figure_in_its_unit(tmp_path: Path) -> None:
    speed_record(tmp_path)
    page = speed_page(tmp_path)
    assert cells(page, "cifar100") == [
        "cifar100 IF 50, resnet34, fsgl, batch 64, float32", "250", "256", "1,780.0", "12.5%", "300", "39,400",
        "9,850 s (2.7 h), extrapolated",
    ]  # fmt: skip
    assert cells(page, "float32, square") == ["float32, square products", "123"]
    assert "`python benchmarks/speed.py`: 2 threads, torch 2.11, commit `cccccccccccc`, 20" in page
    assert "\n## CPU X\n" in page


def test_only_what_is_faster_beyond_scatter_is_stressed(tmp_path: Path) -> None:
    speed_record(tmp_path)
    page = speed_page(tmp_path)
    assert "| **quick** | **500** | **0.50** |" in page
    assert "| same | 990 | 0.99 |" in page
    assert "| other | 12,500 | 0.50 |" in page, "what is another method is no gain"
    assert "- quick: known" in page


def test_memory_that_no_system_told_is_a_dash(tmp_path: Path) -> None:
    speed_record(tmp_path, peak_memory_bytes=None)
    assert cells(speed_page(tmp_path), "cifar100")[5] == "–"


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "stopped after 3 steps"},
        {"data": {"train": 11000}},  # a validation set was taken out
        {"environment": ON_GPU},
        {"environment": ENVIRONMENT | {"precision": "bf16"}},
        {"sessions": [{"jobs": 4, "runtime": {"cuda_graphs": False}}]},  # others ran beside it
        {"sessions": [{"jobs": 1, "runtime": {"cuda_graphs": True}}]},
    ],
)
def test_paper_run_is_measured_only_by_a_run_of_the_same_kind(tmp_path: Path, changes: dict[str, Any]) -> None:
    speed_record(tmp_path)
    run_record(tmp_path, "other", **changes)
    assert cells(speed_page(tmp_path), "cifar100")[-1].endswith("extrapolated")
    run_record(tmp_path, "same")
    assert cells(speed_page(tmp_path), "cifar100")[-1] == "8,000 s (2.2 h), measured, without evaluation"
    run_record(tmp_path, "timed", wall_seconds=8500.0, sessions=[{"jobs": 1, "runtime": {"cuda_graphs": False}}])
    assert cells(speed_page(tmp_path), "cifar100")[-1] == "8,500 s (2.4 h), measured, evaluation included"


@pytest.mark.parametrize("kind", ["speed", "benchmark", "run"])
def test_gpu_is_said_to_be_missing_until_one_is_measured(tmp_path: Path, kind: str) -> None:
    missing = "No GPU has been measured yet."
    assert missing in speed_page(tmp_path)
    speed_record(tmp_path)
    assert missing in speed_page(tmp_path)
    if kind == "speed":
        speed_record(tmp_path, ON_GPU)
    elif kind == "run":
        run_record(tmp_path, "run", ON_GPU)
    else:
        write_record(tmp_path, "benchmark", "step", "step.py", ON_GPU, {"rows": []})
    assert missing not in speed_page(tmp_path)


def test_each_machine_has_its_own_section(tmp_path: Path) -> None:
    speed_record(tmp_path)
    speed_record(tmp_path, ON_GPU, precision="bf16", cuda_graphs=True)
    rows = [{"what": "w", "figure": 1.0, "target": 2.0, "met": True}]
    write_record(tmp_path, "benchmark", "step", "step.py", ENVIRONMENT, {"rows": rows})
    _, cpu, gpu = speed_page(tmp_path).split("\n## ")
    assert cpu.startswith("CPU X\n")
    assert gpu.startswith("GPU Y\n")
    assert "**step**" in cpu
    assert "**step**" not in gpu
    assert "batch 64, bf16, CUDA graph |" in gpu


def test_a_profile_stands_beside_the_authors_release_on_the_same_machine(tmp_path: Path) -> None:
    kernels = [
        {"name": "void at::native::batch_norm<float>(int)", "calls_per_step": 144.0, "seconds_per_step": 0.00174},
        {"name": "sm90_xmma_fprop_bf16bf16_bf16f32_f32_nhwc_tilesize64x64x64_g1_execute", "calls_per_step": 2.0,
         "seconds_per_step": 0.001},
    ]  # fmt: skip
    device = {"busy_seconds_per_step": 0.015, "kernels_per_step": 2885.3, "top_kernels": kernels}
    settings = {
        "recipe": "fsgl", "backbone": "resnet34", "data": {"name": "cifar100", "imbalance_factor": 50.0},
        "optim": {"epochs": 200, "batch_size": 64},
    }  # fmt: skip
    content = {
        "settings": settings, "data": {"train": 12608}, "seconds_per_step": 0.016, "share_of_matrix_rate": 0.142,
        "device": device, "runtime": {"cuda_graphs": True}, "matrix_dtype": "bfloat16",
    }  # fmt: skip
    write_record(tmp_path, "profile", "p", "paper_run.py profile", ON_GPU | {"precision": "bf16"}, content)
    words = ["--dataset", "cifar100", "-a", "resnet34", "-b", "64"]
    theirs = {
        "seconds_per_step": 0.56, "changed": "zero gradients", "precision": "float32", "images": 12608,
        "arguments": words,
    }  # fmt: skip
    write_record(tmp_path, "published-code", "theirs", "published_code.py", ON_GPU, theirs)
    write_record(tmp_path, "published-code", "slower", "published_code.py", ENVIRONMENT, theirs | {"changed": "other"})
    other = theirs | {"changed": "other", "arguments": [*words[:-1], "32"]}
    write_record(tmp_path, "published-code", "batch", "published_code.py", ON_GPU, other)
    page = speed_page(tmp_path)
    assert "**cifar100 IF 50, resnet34, fsgl, batch 64, bf16, replayed as a CUDA graph**" in page
    assert cells(page, "a step |")[1] == "16.0 ms"
    assert cells(page, "share of the matrix rate, bfloat16")[1] == "14.2%"
    assert cells(page, "a paper run")[1] == "630 s"  # 39,400 steps
    assert cells(page, "the GPU is busy")[1] == "94% of the time"
    assert cells(page, "a step of the authors")[1] == "560 ms, 35 times as long"
    assert cells(page, r"batch\_norm") == [r"batch\_norm", "144", "1.74"]
    assert cells(page, "sm90")[0] == r"sm90\_xmma\_fprop, tilesize64x64x64"
    assert "kernel by kernel: zero gradients." in page
    assert "other" not in page


def test_benchmark_tells_on_which_side_of_its_target_it_should_be(tmp_path: Path) -> None:
    rows = [
        {"what": "share", "figure": 0.0028, "target": 0.02, "met": True},
        {"what": "ratio", "figure": 12.5, "target": 20, "bound": "at least", "met": False},
        {"what": "rate", "figure": 149_000.4, "target": 100_000, "bound": "at least", "met": True},
        {"what": "seen", "figure": 3.0, "target": None, "met": True},
    ]
    write_record(tmp_path, "benchmark", "all", "all.py", ENVIRONMENT, {"rows": rows})
    page = speed_page(tmp_path)
    assert cells(page, "share") == ["share", "0.0028", "at most 0.02", "yes"]
    assert cells(page, "ratio") == ["ratio", "12.500", "at least 20.000", "no"]
    assert cells(page, "rate") == ["rate", "149,000", "at least 100,000", "yes"]
    assert cells(page, "seen") == ["seen", "3.000", "–", "–"]


@pytest.mark.parametrize(("value", "shown"), [(0, "0.000"), (1.05, "1.050"), (272.7, "272.700"), (1000, "1,000")])
def test_number(value: float, shown: str) -> None:
    assert number(value) == shown
