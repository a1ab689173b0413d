from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fsgl.commands.cli import main
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import override
from fsgl.runs import duration

CPU = torch.device("cpu")


def test_operations_against_arithmetic_by_hand() -> None:
    experiment = override(make_experiment("fsgl", "cifar10"), "data.imbalance_factor=1", "optim.epochs=3")
    stem, first = 27 * 32 * 256, 2 * 9 * 32 * 32 * 256  # resnet8-lite, stage by stage
    second = (9 * 32 * 128 + 9 * 128 * 128 + 32 * 128) * 64
    third = (9 * 128 * 256 + 9 * 256 * 256 + 128 * 256) * 16
    by_hand = 6 * (stem + first + second + third) * 50_000 * 4 * 3
    assert duration.training_flops(experiment, "resnet8-lite") == by_hand
    plain = override(make_experiment("glmc", "cifar10"), "data.imbalance_factor=1", "optim.epochs=3")
    assert duration.training_flops(plain, "resnet8-lite") == by_hand / 2


def test_long_runs_name_what_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duration, "matrix_rate", lambda: 1e11)
    state = torch.random.get_rng_state()
    published = make_experiment("fsgl", "cifar100")
    # 1.16 G multiply-adds x 6 x 10,847 images x 4 passes x 200 epochs, at 100 GFLOP/s: 604,000 s
    note = duration.cpu_note(published, CPU) or ""
    assert "note: on this CPU about 7 days or more (resnet34, 200 epochs, 4 passes a step)" in note
    assert note.endswith("--backbone resnet8-lite takes about 5 h")
    assert torch.equal(torch.random.get_rng_state(), state)  # nothing of the run to come has changed
    assert duration.cpu_note(published, torch.device("cuda")) is None
    assert duration.cpu_note(override(published, "optim.epochs=1"), CPU) is None
    assert duration.cpu_note(override(published, "backbone=resnet8-lite", "optim.epochs=9999"), CPU) is None
    assert duration.cpu_note(make_experiment("fsgl", "digits"), CPU) is None


def test_it_stands_below_the_first_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duration, "matrix_rate", lambda: 1e11)
    monkeypatch.setattr(duration, "LONG_HOURS", 0.0)
    arguments = ["--data", "cifar10", "--root", str(tmp_path / "none"), "--run", str(tmp_path / "run")]
    monkeypatch.setattr("fsgl.commands.train.train_and_explain", lambda *args: 1)
    assert main(["train", "cross-entropy", *arguments, "--device", "cpu"]) == 1
    first, second = capsys.readouterr().out.splitlines()[:2]
    assert first.startswith("cross-entropy on cifar10, resnet34")
    assert second.startswith("note: on this CPU about")
