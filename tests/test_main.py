from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from fsgl.data.draw.imbalance import exponential_counts
from fsgl.methods import Glmc
from fsgl.models.feature_scaling import FeatureScalingSpec
from fsgl.recipes.experiment import Experiment

ROOT = Path(__file__).resolve().parents[1]

LISTS = ("./data/data_txt/ImageNet_LT_train.txt", "./data/data_txt/ImageNet_LT_test.txt")


@pytest.fixture
def experiment(main_py: ModuleType) -> Callable[..., Experiment]:
    """The experiment that flags stand for: ``experiment("--fcc 0.5")``."""
    return lambda text="": main_py.experiment_of(main_py.parse(text.split()))


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
        capture_output=True, text=True, timeout=300, check=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    loaded = set(re.findall(r"^import time:.*\|\s*([\w.]+)$", done.stderr, flags=re.MULTILINE))
    assert "fsgl.commands.cli" in loaded
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
        ("--lr 0", "schedule.lr must be positive"),
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
    refusal: Callable[[list[str]], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in refusal(flags.split(" "))
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_absent_gpu_is_refused(refusal: Callable[[list[str]], str]) -> None:
    assert "'cuda:0'" in refusal(["--gpu", "0"])
