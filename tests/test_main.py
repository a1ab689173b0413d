from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import pytest
import torch

from fsgl.data.imbalance import exponential_counts
from fsgl.experiment import Experiment
from fsgl.methods import Glmc
from fsgl.models.feature_scaling import FeatureScalingSpec

ROOT = Path(__file__).resolve().parents[1]

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


class MakeCifar(Protocol):
    def __call__(self, root: Path, name: str, times: int = 1) -> Path: ...


@pytest.fixture
def experiment(main_py: ModuleType) -> Callable[..., Experiment]:
    """The experiment that flags stand for: ``experiment("--fcc 0.5")``."""
    return lambda text="": main_py.experiment_of(main_py.parse(text.split()))


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


def method_of(experiment: Experiment) -> Glmc:
    assert isinstance(experiment.method, Glmc)
    return experiment.method


# ----- defaults and spellings ---------------------------------------------------------------------


def test_defaults_are_the_releases(main_py: ModuleType, experiment: Callable[..., Experiment]) -> None:
    options = main_py.parse([])
    assert (options.print_freq, options.gpu, options.resume, options.start_epoch) == (1000, None, None, 0)
    plain = experiment()
    data, optim, method = plain.data, plain.optim, method_of(plain)
    assert (data.name, data.root, data.imbalance_factor) == ("cifar100", "data/", 100)
    assert (data.draw, data.draw_seed, data.val, plain.seed) == ("release", 3407, 0, 3407)
    assert (plain.backbone, optim.epochs, optim.batch_size) == ("resnet34", 200, 64)
    assert (optim.momentum, optim.weight_decay) == (0.9, 5e-3)
    assert (plain.schedule.lr, plain.schedule.kind) == (0.01, "cosine")
    assert (method.beta, method.resample_weighting, method.label_weighting) == (0.5, 0.2, 1.0)
    assert (method.contrast_weight, method.feature_scaling.gamma, plain.sam.rho) == (10, 0, 0.05)


def test_defaults_of_imagenet(experiment: Callable[..., Experiment]) -> None:
    plain = experiment("--dataset ImageNet-LT")
    assert (plain.data.name, plain.data.train_list, plain.data.test_list) == ("imagenet-lt", *LISTS)
    assert (plain.backbone, plain.schedule.kind) == ("resnext50_32x4d", "warmup-cosine")


def test_inaturalist(experiment: Callable[..., Experiment]) -> None:
    given = experiment("--dataset iNaturelist2018 --root images --dir_train_txt a.txt --dir_test_txt b.txt")
    data = given.data
    assert (data.name, data.root, data.train_list, data.test_list) == ("inaturalist2018", "images", "a.txt", "b.txt")
    assert (given.backbone, given.schedule.kind) == ("resnext50_32x4d", "warmup-cosine")


@pytest.mark.parametrize(
    "spellings",
    [
        ["--imbanlance_rate 0.02", "--imbalance_rate 0.02", "--imb_factor 0.02", "--imb_factor=2e-2"],
        ["-a resnet18", "--arch resnet18"],
        ["--lr 0.3", "--learning-rate 0.3"],
        ["-b 32", "--batch_size 32"],
        ["--wd 1e-4", "--weight_decay 1e-4", "--weight_decay 0.0001"],
        ["--rho -1", "--rho=-1.0"],
        ["", "--num_classes 100", "-p 10", "--print_freq 20", "-j 3", "--workers 2", "--gpu 1", "--max-steps 5",
         "--root_log x", "--root_model y", "--store_name z"],
    ],
    ids=lambda spellings: spellings[-1],
)  # fmt: skip
def test_spellings_of_the_same_experiment(experiment: Callable[..., Experiment], spellings: list[str]) -> None:
    assert len({experiment(spelling).hash for spelling in spellings}) == 1
    if spellings[0]:
        assert experiment(spellings[0]).hash != experiment().hash


def test_help_is_quick_and_names_every_default(main_py: ModuleType) -> None:
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-X", "importtime", ROOT / "main.py", "--help"],
        capture_output=True, text=True, timeout=60, check=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    loaded = set(re.findall(r"^import time:.*\|\s*([\w.]+)$", done.stderr, flags=re.MULTILINE))
    assert "fsgl.cli" in loaded
    assert not {"torch", "numpy"} & loaded
    _, defaults, spellings = main_py.build_parser()
    for spelling in spellings:
        assert re.search(rf"(?m)^ .*{spelling}[ ,]", done.stdout), spelling
    shown = " ".join(done.stdout.split())
    values = [value for value in defaults.values() if value is not None]
    for default in [*values, 0.01, "resnet34", *LISTS, "./output/"]:
        assert f"(default: {default})" in shown or f": {default})" in shown, default


# ----- what the flags stand for -------------------------------------------------------------------


@pytest.mark.parametrize(("n_max", "classes"), [(5000, 10), (500, 100)])
def test_rate_gives_the_published_counts(main_py: ModuleType, n_max: int, classes: int) -> None:
    """0.055, say: 1 / (1 / 0.055) is an ulp below 0.055, and would cost the last of ten classes its 275th image.

    (Of rates with three decimals, 0.407, 0.813, 0.814 and 0.817 are no inverse of a float: there a last class of some
    thousand images has one more.)
    """
    for mu in [*(k / 1000 for k in range(1, 400)), *(k / 100 for k in range(40, 101))]:
        wanted = [int(n_max * mu ** (k / (classes - 1))) for k in range(classes)]
        found = exponential_counts(n_max, classes, main_py.factor(str(mu)))
        np.testing.assert_array_equal(found, np.maximum(wanted, 1), err_msg=f"rate {mu}")


@pytest.mark.parametrize(
    ("flags", "recipe", "gamma", "profile"),
    [
        ("", "glmc-sam", 0, "linear"),
        ("--rho -1", "glmc", 0, "linear"),
        ("--rho 0", "glmc", 0, "linear"),
        ("--fcc 0.5", "fsgl", 0.5, "linear"),
        ("--fcc_same 0.1", "fsgl-same", 0.1, "same"),
        ("--fcc_half 0.2 --fcc 0", "fsgl-half", 0.2, "half"),
        ("--behaviour release", "release", 0, "linear"),
        ("--behaviour release --fcc 0.5", "release", 0.5, "linear"),
        # METHOD section 8: they read --fcc's value, and multiply with it.
        ("--behaviour release --fcc_same 0.1", "release", 0, "same"),
        ("--behaviour release --fcc 0.5 --fcc_same 0.1", "release", 0.5, "linear*same"),
        ("--behaviour release --fcc 0.5 --fcc_half 0.1", "release", 0.5, "linear*half-release"),
        ("--behaviour release --fcc 0.5 --fcc_half 1 --fcc_same 1", "release", 0.5, "linear*same*half-release"),
    ],
)
def test_feature_scaling_flags(
    experiment: Callable[..., Experiment], flags: str, recipe: str, gamma: float, profile: str
) -> None:
    found = experiment(flags)
    scaling = method_of(found).feature_scaling
    assert (found.recipe, scaling.gamma, scaling.profile) == (recipe, gamma, profile)


def test_behaviours_differ_in_every_departure_and_nothing_else(experiment: Callable[..., Experiment]) -> None:
    """METHOD section 8, row by row."""
    ours, theirs = experiment("--fcc 1 --beta 0.5"), experiment("--fcc 1 --beta 0.5 --behaviour release")
    method = method_of(ours)
    assert (method.beta, method.cutmix_label, method.ascent) == (0.5, "area", "classification")
    assert method.feature_scaling == FeatureScalingSpec(1.0, "linear", "frequency", None)
    assert (ours.sam.batch_norm, ours.schedule.first_epoch) == ("first", "warmup")
    assert (ours.data.normalization, ours.evaluation.headline) == ("own", "last")
    scaling = FeatureScalingSpec(1.0, "linear", "index", 2)
    assert theirs == replace(
        ours,
        recipe="release",
        data=replace(ours.data, normalization="release"),
        method=replace(method, beta=1.0, cutmix_label="lambda", feature_scaling=scaling),
        schedule=replace(ours.schedule, first_epoch="full"),
        sam=replace(ours.sam, batch_norm="both"),
        evaluation=replace(ours.evaluation, headline="test"),
    )


def test_draws(experiment: Callable[..., Experiment]) -> None:
    """The release seeds its draw with --seed; LDAM-DRW's published images do not depend on it."""
    drawn = [experiment(flags).data for flags in ("--seed 7", "--draw release --seed 7", "--draw ldam --seed 7")]
    assert [(data.draw, data.draw_seed) for data in drawn] == [("release", 7), ("release", 7), ("ldam", None)]


# ----- mistakes -----------------------------------------------------------------------------------


def refusal(main_py: ModuleType, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """The one line on standard error of a command that must end with 2."""
    capsys.readouterr()
    try:
        code = main_py.main(arguments)
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr()
    assert code == 2
    assert said.err.count("\n") == 1
    assert said.err.startswith("main.py: ")
    return said.err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--dataset cifar10 --num_classes 100", "cifar10 has 10 classes"),
        ("--num_classes 10", "cifar100 has 100 classes"),
        ("--num_classes ten", "'ten' is not a whole number"),
        ("-a resnet35", "'resnet34'"),
        ("-a resnext50_32x4d", "not for cifar100"),
        ("--dataset cifar1000", "'cifar100'"),
        *((f"--rho {nonsense}", "--rho") for nonsense in ("abc", "nan", "inf", "-inf", "1e999", "0,05", "")),
        *((f"--{flag} nan", f"--{flag}") for flag in ("beta", "lr", "fcc", "val", "momentum", "label_weighting")),
        *((f"--imb_factor {nonsense}", "--imb_factor") for nonsense in ("0", "100", "1.1", "0.0009", "-1", "nan", "x")),
        ("--epochs 0", "--epochs"),
        ("--epochs 1.5", "--epochs"),
        ("-b 1", "--batch_size"),
        ("--seed -1", "--seed"),
        (f"--seed {2**32}", "--seed"),
        ("--lr 0", "learning rate"),
        ("--momentum 1", "momentum"),
        ("--wd -1", "weight_decay"),
        ("--beta 0", "beta"),
        ("--val 1", "val"),
        ("--fcc -1", "gamma"),
        ("--fcc 0.1 --fcc_same 0.1", "one of --fcc"),
        ("--fcc_half 0.1 --fcc_same 0.1", "one of --fcc"),
        ("-p 0", "--print_freq"),
        ("-j -1", "--workers"),
        ("--max-steps 0", "--max-steps"),
        ("--gpu -1", "--gpu"),
        ("--start-epoch 3", "--resume"),
        ("--resume nowhere", "neither a run folder nor a checkpoint"),
        ("--root_log a --root_model b", "one folder"),
        ("--batchsize 3", "did you mean '--batch_size'?"),
        ("--imbalance 0.1", "did you mean '--imbalance_rate'?"),
        ("spurious", "'spurious'"),
        ("--dir_train_txt a.txt", "not given by lists"),
        ("--dataset ImageNet-LT -a resnet34", "resnext50_32x4d"),
        ("--dataset ImageNet-LT --imbanlance_rate 0.01", "own tail"),
        ("--dataset ImageNet-LT --draw ldam", "own tail"),
        ("--dataset ImageNet-LT", "data"),
        ("--dataset ImageNet-LT --num_classes 1000", "data"),
        ("--dataset iNaturelist2018 --dir_train_txt a.txt", "--dir_test_txt"),
    ],
)
def test_mistake_is_answered_in_one_line(
    main_py: ModuleType,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: str,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = flags.split(" ")
    assert said in refusal(main_py, capsys, arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_absent_gpu_is_refused(main_py: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert "'cuda:0'" in refusal(main_py, capsys, ["--gpu", "0"])


# ----- training -----------------------------------------------------------------------------------


def only_run(folder: Path) -> Path:
    (run,) = (folder / "output").iterdir()
    assert not set(" :") & set(run.name)
    return run


@pytest.mark.slow
def test_published_cifar10_command(
    main_py: ModuleType, clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main_py.main([*CIFAR10, "--max-steps", "2"]) == 0
    out = capsys.readouterr().out
    run = only_run(clone)
    assert out.startswith("behaviour fsgl: fsgl on cifar10 (IF 50, draw release), resnet34, seed 3407 -> output/")
    assert run.name.startswith("cifar10_resnet34_0.02_fsgl_")
    assert str(run.relative_to(clone)) in out.splitlines()[-1]
    content = record(run)
    assert content["result"]["steps"] == 2
    assert content["data"]["train"] == sum(int(30 * 0.02 ** (k / 9)) or 1 for k in range(10))
    assert content["data"]["val"] == 0


@pytest.mark.slow
def test_published_cifar100_command(main_py: ModuleType, clone: Path) -> None:
    assert main_py.main([*CIFAR100, "--max-steps", "2", "-b", "4"]) == 0
    content = record(only_run(clone))
    assert content["result"]["steps"] == 2
    assert content["settings"]["method"]["feature_scaling"]["gamma"] == 1
    assert content["cost"]["passes_per_step"] == 4


def test_published_cifar100_command_on_genuine_images(
    main_py: ModuleType, cifar_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
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
def test_published_imagenet_command(main_py: ModuleType, imagenet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "1000 classes" in refusal(main_py, capsys, [*IMAGENET, "--num_classes", "999"])
    assert main_py.main([*IMAGENET, "--max-steps", "2", "-b", "2", "-j", "0"]) == 0
    assert capsys.readouterr().out.startswith("behaviour fsgl: fsgl on imagenet-lt (its own tail), resnext50_32x4d")
    run = only_run(imagenet)
    assert run.name.startswith("ImageNet-LT_resnext50_32x4d_fsgl_")
    content = record(run)
    assert content["result"]["steps"] == 2
    assert (content["data"]["classes"], content["data"]["train"], content["data"]["test"]) == (1000, 1000, 3)


SMALL = shlex.split("--dataset cifar10 -a resnet8-slim -b 16 --epochs 2 --fcc 0.5")  # 5 steps an epoch


def test_resumed_run_ends_as_the_uninterrupted_one(
    main_py: ModuleType, clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main_py.main([*SMALL, "--store_name", "whole", "--max-steps", "7"]) == 0
    assert main_py.main([*SMALL, "--store_name", "parts", "--max-steps", "2", "-p", "1"]) == 0
    out = capsys.readouterr().out
    assert next(line for line in out.splitlines() if " step " in line).startswith("epoch   1/2  step 1/5 ")
    assert out.count(" step ") == 2  # the run without -p has printed none

    parts, whole = Path("output/parts"), Path("output/whole")
    assert "holds a run already" in refusal(main_py, capsys, [*SMALL, "--store_name", "parts"])
    assert "other settings" in refusal(main_py, capsys, [*SMALL, "--lr", "0.5", "--resume", str(parts)])
    assert "leave --root_log" in refusal(main_py, capsys, ["--resume", str(parts), "--store_name", "parts"])
    # By the same command once more, then by nothing but the folder, then from a named checkpoint.
    assert main_py.main([*SMALL, "--resume", str(parts), "--max-steps", "4"]) == 0
    assert main_py.main(["--resume", str(parts), "--max-steps", "6"]) == 0
    (newest,) = (parts / "checkpoints").glob("epoch-0001-step-00001-*.pt")
    assert "goes on at 1" in refusal(main_py, capsys, ["--resume", str(newest), "--start-epoch", "2"])
    assert main_py.main(["--resume", str(newest), "--start-epoch", "1", "--max-steps", "7"]) == 0
    assert (parts / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
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
