"""A compiled network trains as the plain one does, within rounding."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.builders import Tiny
from torch import nn

from fsgl.engine.runtime import Runtime
from fsgl.models.backbones import BACKBONES, BackboneInfo
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import override
from fsgl.runs.train import train


# Torch's own compiler with a network of three layers (each kernel takes g++ seconds); a real one with its graphs traced
# and cut alike, which torch then runs operation by operation.
@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "compiler"), [("tiny", "inductor"), ("resnet8-slim", "aot_eager")])
@pytest.mark.filterwarnings("ignore")  # of the compiler's own
def test_two_compiled_steps_are_two_plain_ones(
    backbone: str, compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if compiler == "inductor" and not (shutil.which("g++") or shutil.which("clang++")):
        pytest.skip("torch.compile needs a C++ compiler")
    monkeypatch.setitem(BACKBONES, "tiny", BackboneInfo("tiny", Tiny, 32, ""))
    experiment = override(make_experiment("fsgl", "digits"), f"backbone={backbone}", "optim.batch_size=16")
    compiled_with = []

    def compile_by(network: nn.Module, **options: object) -> None:
        compiled_with.append(options)
        really(network, backend=compiler, **options)

    really = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", functools.wraps(really)(compile_by))
    weights = {}
    for name, compiled in (("plain", False), ("compiled", True)):
        torch.compiler.reset()
        train(experiment, tmp_path / name, Runtime("cpu", max_steps=2, trackers=(), compile=compiled))
        weights[name] = load_file(tmp_path / name / "model.safetensors")
    assert compiled_with == [{"dynamic": False}]
    assert weights["plain"].keys() == weights["compiled"].keys()
    for name, value in weights["plain"].items():
        torch.testing.assert_close(weights["compiled"][name], value, rtol=1e-4, atol=1e-5, msg=name)
