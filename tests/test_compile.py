"""A compiled network trains as the plain one does, within rounding."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fsgl.engine.runtime import Runtime
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import override
from fsgl.runs.train import train


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # of the compiler's own
def test_two_compiled_steps_are_two_plain_ones(tmp_path: Path) -> None:
    experiment = override(make_experiment("fsgl", "digits"), "backbone=resnet8-slim", "optim.batch_size=16")
    weights = {}
    for name, compiled in (("plain", False), ("compiled", True)):
        torch.compiler.reset()
        train(experiment, tmp_path / name, Runtime("cpu", max_steps=2, trackers=(), compile=compiled))
        weights[name] = load_file(tmp_path / name / "model.safetensors")
    assert weights["plain"].keys() == weights["compiled"].keys()
    for name, value in weights["plain"].items():
        torch.testing.assert_close(weights["compiled"][name], value, rtol=1e-4, atol=1e-5, msg=name)
