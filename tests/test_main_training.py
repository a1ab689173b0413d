from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.builders import Tiny

from fsgl.models.backbones import BACKBONES, BackboneInfo

# As the authors publish them: their README, and issue 3.
CIFAR10 = shlex.split(
    "--dataset cifar10 -a resnet34 --num_classes 10 --imbanlance_rate 0.02 --beta 0.5 --lr 0.01 --epochs 200 -b 64 "
    "--momentum 0.9 --weight_decay 5e-3 --resample_weighting 0.0 --label_weighting 1.2 --contrast_weight 4 --rho 0.05 "
    "--fcc 0.5"
)
CIFAR100 = shlex.split(
    "--dataset cifar100 -a resnet34 --num_classes 100 --imbanlance_rate 0.02 --beta 0.5 --lr 0.01 --epochs 200 -b 64 "
    "--momentum 0.9 --weight_decay 5e-3 --resample_weighting 0.0 --label_weighting 1.2 --contrast_weight 4 --rho 0.05 "
    "--fcc 1"
)
IMAGENET = shlex.split(
    "--dataset ImageNet-LT -a resnext50_32x4d --num_classes 1000 --beta 0.5 --lr 0.1 --epochs 135 -b 120 "
    "--momentum 0.9 --weight_decay 2e-4 --resample_weighting 0.2 --label_weighting 1.0 --contrast_weight 4 --fcc 0.1"
)
LISTS = ("./data/data_txt/ImageNet_LT_train.txt", "./data/data_txt/ImageNet_LT_test.txt")
Refusal = Callable[[list[str]], str]


class MakeCifar(Protocol):
    def __call__(self, root: Path, name: str, times: int = 1) -> Path: ...


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_cifar: MakeCifar) -> Path:
    """A working directory with random pixels for CIFAR-10 and CIFAR-100 where main.py looks for them: in data/."""
    monkeypatch.chdir(tmp_path)
    make_cifar(tmp_path / "data", "cifar10", times=6)
    make_cifar(tmp_path / "data", "cifar100")
    return tmp_path


def record(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "experiment.json").read_text())
    return content


def only_run(folder: Path) -> Path:
    (run,) = (folder / "output").iterdir()
    assert not set(" :") & set(run.name)
    return run


@pytest.mark.slow
def test_published_cifar10_command(main_py: ModuleType, clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main_py.experiment_of(main_py.parse(CIFAR10)).optim.batch_size == 64
    assert main_py.main([*CIFAR10, "--max-steps", "1", "-b", "4"]) == 0
    out = capsys.readouterr().out
    run = only_run(clone)
    assert out.startswith("behaviour fsgl: fsgl on cifar10 (IF 50, draw release), resnet34, seed 3407 -> output/")
    assert run.name.startswith("cifar10_resnet34_0.02_fsgl_")
    assert str(run.relative_to(clone)) in out.splitlines()[-1]
    content = record(run)
    assert content["result"]["steps"] == 1
    assert content["data"]["train"] == sum(int(30 * 0.02 ** (k / 9)) or 1 for k in range(10))
    assert content["data"]["val"] == 0


@pytest.mark.slow
def test_published_cifar100_command(main_py: ModuleType, clone: Path) -> None:
    assert main_py.main([*CIFAR100, "--max-steps", "1", "-b", "2"]) == 0
    content = record(only_run(clone))
    assert content["result"]["steps"] == 1
    assert content["settings"]["method"]["feature_scaling"]["gamma"] == 1
    assert content["cost"]["passes_per_step"] == 4


def test_published_cifar100_command_on_genuine_images(
    main_py: ModuleType, cifar_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The images are the point: 10,000 are scored, by a network of one convolution in its place."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(BACKBONES, "resnet8-slim", BackboneInfo("resnet8-slim", Tiny, 32, ""))
    arguments = [*CIFAR100, "--max-steps", "2", "-a", "resnet8-slim", "--root", str(cifar_root)]
    assert main_py.main(arguments) == 0
    content = record(only_run(tmp_path))
    assert content["data"]["train"] == sum(int(500 * 0.02 ** (k / 99)) for k in range(100))
    assert content["data"]["test"] == 10000


@pytest.fixture
def imagenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with an ImageNet-LT of one small image a class, where main.py looks for it."""
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    random, folder = np.random.default_rng(0), tmp_path / "data"
    (folder / "train").mkdir(parents=True)
    (folder / "data_txt").mkdir()
    for k in range(1000):
        pixels = random.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "train" / f"image {k}.jpg")
    lines = [f"train/image {k}.jpg {k}\n" for k in range(1000)]
    (tmp_path / LISTS[0]).write_text("".join(lines))
    (tmp_path / LISTS[1]).write_text("".join(lines[:3]))
    return tmp_path


@pytest.mark.slow
def test_published_imagenet_command(
    main_py: ModuleType, imagenet: Path, capsys: pytest.CaptureFixture[str], refusal: Refusal
) -> None:
    assert "1000 classes" in refusal([*IMAGENET, "--num_classes", "999"])
    assert main_py.main([*IMAGENET, "--max-steps", "1", "-b", "2", "-j", "0"]) == 0
    assert capsys.readouterr().out.startswith("behaviour fsgl: fsgl on imagenet-lt (its own tail), resnext50_32x4d")
    run = only_run(imagenet)
    assert run.name.startswith("ImageNet-LT_resnext50_32x4d_fsgl_")
    content = record(run)
    assert content["result"]["steps"] == 1
    assert (content["data"]["classes"], content["data"]["train"], content["data"]["test"]) == (1000, 1000, 3)


SMALL = shlex.split("--dataset cifar10 -a resnet8-slim -b 16 --epochs 2 --fcc 0.5")  # 5 steps an epoch


def test_resumed_run_ends_as_the_uninterrupted_one(
    main_py: ModuleType, clone: Path, capsys: pytest.CaptureFixture[str], refusal: Refusal
) -> None:
    assert main_py.main([*SMALL, "--store_name", "whole", "--max-steps", "7"]) == 0
    assert main_py.main([*SMALL, "--store_name", "parts", "--max-steps", "2", "-p", "1"]) == 0
    out = capsys.readouterr().out
    assert next(line for line in out.splitlines() if " step " in line).startswith("epoch   1/2  step 1/5 ")
    assert out.count(" step ") == 2  # the run without -p has printed none

    parts, whole = Path("output/parts"), Path("output/whole")
    assert "holds a run already" in refusal([*SMALL, "--store_name", "parts"])
    assert "other settings" in refusal([*SMALL, "--lr", "0.5", "--resume", str(parts)])
    assert "leave --root_log" in refusal(["--resume", str(parts), "--store_name", "parts"])
    # By the same command and a named checkpoint, then by nothing but the folder.
    (newest,) = (parts / "checkpoints").iterdir()
    assert main_py.main([*SMALL, "--resume", str(newest), "--max-steps", "6"]) == 0
    assert "goes on at 1" in refusal(["--resume", str(parts), "--start-epoch", "2"])
    assert main_py.main(["--resume", str(parts), "--start-epoch", "1", "--max-steps", "7"]) == 0
    found, wanted = load_file(parts / "model.safetensors"), load_file(whole / "model.safetensors")
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert record(parts)["result"]["last"] == record(whole)["result"]["last"]


def test_root_log_and_root_model_name_the_same_folder(main_py: ModuleType, clone: Path) -> None:
    assert main_py.main([*SMALL, "--max-steps", "1", "--root_log", "logs/", "--root_model", "./logs"]) == 0
    assert main_py.main([*SMALL, "--max-steps", "1", "--root_log", "logs", "--store_name", "named"]) == 0
    assert main_py.main([*SMALL, "--max-steps", "1", "--root_model", "models", "--store_name", "./output/"]) == 0
    made, named = sorted((clone / "logs").iterdir())
    assert made.name.startswith("cifar10_resnet8-slim_0.01_fsgl_")
    assert named.name == "named"
    assert [run.name[:8] for run in (clone / "models").iterdir()] == ["cifar10_"]
    assert not (clone / "output").exists()


def test_release_behaviour_trains_and_says_what_it_does_not_heed(
    main_py: ModuleType, clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--behaviour", "release", "--draw", "ldam", "--fcc_same", "0.1", "--fcc_half", "0.1"]
    assert main_py.main([*SMALL, *flags, "--max-steps", "1"]) == 0
    said = capsys.readouterr().out.splitlines()[0]
    assert said.startswith("behaviour release (--beta is not used, --fcc_same and --fcc_half read --fcc's value)")
    assert "draw ldam" in said
    assert record(only_run(clone))["settings"]["data"]["draw"] == "ldam"
