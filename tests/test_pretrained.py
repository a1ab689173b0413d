"""Training with what was transferred: the command line, what stays and what moves, results apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fsgl.commands.cli import main
from fsgl.data.load import load_data
from fsgl.engine.fit import fit
from fsgl.engine.runtime import Runtime
from fsgl.errors import UserError
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import Experiment, override
from fsgl.runs.assemble import assemble
from fsgl.runs.network import build_model, build_network, cost
from fsgl.runs.saved import load_network, read_record
from fsgl.runs.train import train

CPU = torch.device("cpu")
MODES = {
    "fine-tuned": (),
    "slower": ("--backbone-lr", "0.1"),
    "frozen": ("--freeze",),
    "cached": ("--freeze", "--cached-views", "2"),
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of timm's two smallest models, as published, of random weights."""
    folder, paths = tmp_path_factory.mktemp("weights"), {}
    torch.manual_seed(2)
    for name in ("test_resnet", "test_vit"):
        paths[name] = folder / f"{name}.safetensors"
        save_file(timm.create_model(name, pretrained=False).state_dict(), paths[name])
    return paths


Train = Callable[..., int]


@pytest.fixture
def fsgl_train(weights: dict[str, Path], tmp_path: Path) -> Train:
    """``fsgl train RECIPE`` on a few digits of side 32, into tmp_path / run."""

    def run(*more: str, recipe: str = "fsgl", model: str = "test_resnet", folder: str = "run") -> int:
        return main([
            "train", recipe, "--data", "digits", "--imbalance-factor", "50", "--batch-size", "32", "--device", "cpu",
            "--track", "none", "--run", str(tmp_path / folder), "--backbone", f"timm:{model}",
            "--pretrained", str(weights[model]), "--image-size", "32", "--feature-cache", str(tmp_path / "features"),
            *more,
        ])  # fmt: skip

    return run


@pytest.mark.parametrize(
    ("recipe", "model", "mode"),
    [("fsgl", model, mode) for model in ("test_resnet", "test_vit") for mode in MODES]
    + [("cross-entropy", "test_resnet", mode) for mode in ("frozen", "cached")],  # one view: other features are kept
)
def test_every_mode_takes_two_steps(
    recipe: str, model: str, mode: str, fsgl_train: Train, weights: dict[str, Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert fsgl_train(*MODES[mode], "--max-steps", "2", recipe=recipe, model=model) == 0
    assert f"note: timm:{model} is shown the 8 x 8 images resized to 32 x 32" in capsys.readouterr().out
    record = read_record(tmp_path / "run")
    assert record["result"]["steps"] == 2
    assert record["pretrained"]["kind"] == "file"
    assert record["pretrained"]["source"] == f"{model}.safetensors"
    published = timm.get_pretrained_cfg(model)
    assert record["data"]["image_size"] == 32
    assert record["data"]["mean"] == pytest.approx([np.mean(published.mean)])
    assert record["data"]["std"] == pytest.approx([np.mean(published.std)])
    network = load_network(tmp_path / "run")
    with np.load(tmp_path / "run" / "predictions.npz") as saved:
        logits = network.logits(network.data.test, CPU)
        np.testing.assert_allclose(logits, saved["logits"], rtol=1e-3, atol=1e-4)
    begun, ended = load_file(weights[model]), network.model.get_submodule("backbone.net").state_dict()
    moved = {name for name, value in ended.items() if name in begun and not torch.equal(value, begun[name])}
    moved -= {name for name in moved if begun[name].shape != ended[name].shape}  # grey, and positions of another size
    assert bool(moved) == (mode in ("fine-tuned", "slower"))


def backbone_of(folder: Path) -> dict[str, Tensor]:
    tensors = load_file(folder / "model.safetensors")
    return {name: value for name, value in tensors.items() if name.startswith("backbone.")}


@pytest.mark.parametrize("rho", ["0", "0.05"])
@pytest.mark.parametrize("cached", [(), ("transfer.cached_views=2",)], ids=["images", "features"])
def test_a_frozen_backbone_keeps_every_bit_and_the_heads_learn(
    cached: tuple[str, ...], rho: str, tmp_path: Path
) -> None:
    """BatchNorm's statistics too; with SAM and without."""
    experiment = override(
        make_experiment("fsgl", "digits"), "transfer.train=heads", f"sam.rho={rho}", "optim.epochs=2",
        "data.imbalance_factor=50", *cached,
    )  # fmt: skip
    before, _ = build_model(experiment, 1, torch.from_numpy(load_data(experiment.data).counts))
    before_state = {name: value.clone() for name, value in before.state_dict().items()}
    train(experiment, tmp_path / "run", Runtime("cpu", trackers=(), feature_cache=tmp_path / "features"))
    after = load_file(tmp_path / "run" / "model.safetensors")
    kept = backbone_of(tmp_path / "run")
    assert any("running_var" in name for name in kept)
    assert all(torch.equal(value, before_state[name]) for name, value in kept.items())
    assert not torch.equal(after["heads.fc_cb.weight"], before_state["heads.fc_cb.weight"])
    assert not torch.equal(after["heads.fc.weight"], before_state["heads.fc.weight"])


def test_the_backbones_share_of_the_learning_rate_is_that_of_two_groups_made_by_hand(tmp_path: Path) -> None:
    experiment = override(
        make_experiment("cross-entropy", "digits"), "transfer.backbone_lr=0.1", "optim.epochs=2", "schedule.lr=0.05",
        "data.imbalance_factor=50", "optim.weight_decay=0.01",
    )  # fmt: skip
    data = load_data(experiment.data)
    ours, by_hand = (build_network(experiment, data, CPU) for _ in range(2))
    placement = Runtime("cpu").place()
    state, recipe = assemble(experiment, ours, Runtime("cpu"), placement)
    for _ in fit(state, recipe, lambda report: False):
        pass
    model: Any = by_hand.model
    sgd = torch.optim.SGD(
        [{"params": model.backbone.parameters()}, {"params": model.fc.parameters()}],
        lr=1.0, momentum=0.9, weight_decay=0.01,
    )  # fmt: skip
    model.train()
    for epoch in range(2):
        rate = 0.05 * 0.5 * (1 + np.cos(np.pi * epoch / 2))
        for group, share in zip(sgd.param_groups, (0.1, 1.0), strict=True):
            group["lr"] = rate * share
        for batch in recipe.stream.batches(epoch):
            sgd.zero_grad()
            nn.functional.cross_entropy(model(batch.original.views[0]), batch.original.labels).backward()
            sgd.step()
    for name, value in ours.model.state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[name], rtol=1e-4, atol=1e-5, msg=name)
    whole = override(experiment, "transfer.backbone_lr=1")
    other = build_network(whole, data, CPU)
    state, recipe = assemble(whole, other, Runtime("cpu"), placement)
    for _ in fit(state, recipe, lambda report: False):
        pass
    first = "backbone.stem.0.weight"
    assert not torch.allclose(other.model.state_dict()[first], ours.model.state_dict()[first], atol=1e-3)


@pytest.mark.parametrize("mode", ["slower", "frozen", "cached"])
def test_resumed_is_as_uninterrupted(mode: str, fsgl_train: Train, tmp_path: Path) -> None:
    more = (*MODES[mode], "--epochs", "2", "--batch-size", "64")
    assert fsgl_train(*more, folder="whole") == 0
    assert fsgl_train(*more, "--max-steps", "3", folder="run") == 0
    resume = ["train", "--run", str(tmp_path / "run"), "--resume", "--device", "cpu", "--track", "none"]
    assert main([*resume, "--feature-cache", str(tmp_path / "features")]) == 0
    whole, run = (tmp_path / name / "model.safetensors" for name in ("whole", "run"))
    assert whole.read_bytes() == run.read_bytes()


def test_a_run_goes_on_with_the_weights_that_it_began_with_alone(
    weights: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.safetensors"
    mine.write_bytes(weights["test_resnet"].read_bytes())
    arguments = [
        "train", "cross-entropy", "--data", "digits", "--backbone", "timm:test_resnet", "--image-size", "32",
        "--pretrained", str(mine), "--device", "cpu", "--track", "none", "--run", str(tmp_path / "run"),
    ]  # fmt: skip
    assert main([*arguments, "--max-steps", "1"]) == 0
    resume = ["train", "--run", str(tmp_path / "run"), "--resume", "--max-steps", "2", "--device", "cpu"]
    tensors = load_file(mine)
    tensors["conv1.0.weight"] += 1
    save_file(tensors, mine)
    capsys.readouterr()
    assert main(resume) == 2
    assert "the run began with other weights than" in capsys.readouterr().err
    mine.unlink()
    assert main(resume) == 2
    assert "mine.safetensors: no such file" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path / "run"), "--device", "cpu"]) == 0  # for that the run has its own


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--pretrained", "nowhere.safetensors"], "nowhere.safetensors: no such file"),
        (["--pretrained", ""], "--pretrained is given an empty name"),
        (["--cached-views", "2"], "needs a frozen backbone"),
        (["--freeze", "--cached-views", "1"], "glmc is shown 2 views of an image"),
        (["--freeze", "--backbone-lr", "0.5"], "of no use with transfer.train=heads"),
        (["--backbone", "resnet8-slim", "--image-size", "64"], "resnet8-slim takes the images of digits as they are"),
        (["--backbone", "resnet8-slim", "--pretrained"], "the hub has no weights for 'resnet8-slim'"),
        (["--image-size", "33", "--backbone", "timm:test_vit"], "cannot be a backbone for 33 x 33 images of 1 channel"),
    ],
)
def test_mistakes_are_answered_in_one_line(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["--run", str(tmp_path / "run"), "--device", "cpu", "--track", "none", "--backbone", "timm:test_resnet"]
    assert main(["train", "fsgl", "--data", "digits", *run, *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error
    assert not (tmp_path / "run").exists()


def fitting(*changes: str) -> Experiment:
    return override(make_experiment("fsgl", "digits"), *changes)


def test_normalisation_is_the_models_where_weights_come_with_it_and_the_datas_own_elsewhere(
    weights: dict[str, Path],
) -> None:
    data = load_data(fitting().data)
    vit = ("backbone=timm:test_vit", "transfer.image_size=32")
    scratch = build_network(fitting(*vit), data, CPU)
    assert (scratch.data.mean, scratch.data.std, scratch.origin) == (data.mean, data.std, None)
    given = fitting(*vit, f"transfer.weights={weights['test_vit']}")
    pretrained = build_network(given, data, CPU)
    assert (pretrained.data.mean, pretrained.data.std) == ((0.5,), (0.5,))
    shown = torch.cat(list(pretrained.data.evaluation_batches(data.test, CPU)))
    assert (shown.min().item(), shown.max().item()) == (-1.0, 1.0)
    assert build_network(given, data, CPU, pretrained=False).origin is None
    own = build_network(fitting(), data, CPU)
    assert own.data is data


def test_cost_is_of_what_the_backbone_is_shown_and_of_passes_that_are_taken() -> None:
    data = load_data(fitting().data)
    costs = []
    for size in (32, 64):
        net = build_network(fitting("backbone=timm:test_resnet", f"transfer.image_size={size}"), data, CPU)
        costs.append(cost(net.experiment, net.data, net.model)["multiply_adds_per_image"])
    assert costs[1] == 4 * costs[0]
    assert fitting("transfer.train=heads").passes_per_step == 4
    assert fitting("transfer.train=heads", "transfer.cached_views=2").passes_per_step == 0


def test_what_is_fresh_follows_from_the_seed_whatever_is_loaded(weights: dict[str, Path]) -> None:
    counts = torch.tensor([5, 4, 3])
    vit = ("backbone=timm:test_vit", "transfer.image_size=32")
    scratch, _ = build_model(fitting(*vit), 1, counts)
    loaded, origin = build_model(fitting(*vit, f"transfer.weights={weights['test_vit']}"), 1, counts)
    assert origin is not None
    assert torch.equal(scratch.state_dict()["heads.fc.weight"], loaded.state_dict()["heads.fc.weight"])


def test_a_method_that_builds_something_else_cannot_be_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsgl.methods.glmc.Glmc.build", lambda self, backbone, counts: nn.Sequential(backbone))
    with pytest.raises(TypeError, match="builds no RecognitionNet"):
        build_model(fitting("transfer.train=heads"), 1, torch.tensor([5, 4]))


def test_a_run_folder_of_before_is_read_resumed_and_scored(finished: Path, tmp_path: Path) -> None:
    """As written when there was no ``transfer``."""
    record = json.loads((finished / "experiment.json").read_text())
    del record["settings"]["transfer"], record["pretrained"]
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "experiment.json").write_text(json.dumps(record))
    (folder / "model.safetensors").write_bytes((finished / "model.safetensors").read_bytes())
    assert load_network(folder).experiment.hash == record["hash"]
    with pytest.raises(UserError, match="holds a run already"):
        train(load_network(folder).experiment, folder, Runtime("cpu", trackers=()))
    went_on = train(load_network(folder).experiment, folder, Runtime("cpu", trackers=(), max_steps=1), resume=True)
    assert (went_on["hash"], went_on["result"]["steps"]) == (record["hash"], 1)
