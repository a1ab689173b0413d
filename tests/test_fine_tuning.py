"""Fine-tuning from settings to run folders: what is trained, by what, and what stays as it was."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from fsgl.data.load import load_data
from fsgl.deploy.export import InferenceGraph
from fsgl.deploy.predict import predict_views
from fsgl.engine.predict import predict_logits
from fsgl.engine.runtime import Runtime
from fsgl.errors import UserError
from fsgl.models.assemble import build_classifier
from fsgl.models.backbones import build_backbone
from fsgl.optim.averaging import WeightAverage
from fsgl.optim.sam import SamSpec, make_ascent
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import Experiment, override
from fsgl.recipes.on_data import FINE_TUNE, experiment_on
from fsgl.runs.assemble import make_optimizer, parameter_groups
from fsgl.runs.begin import begin_heads
from fsgl.runs.feature_cache import with_cached_features
from fsgl.runs.network import ModelWithData, build_network
from fsgl.runs.saved import TrainedModel, load_model, load_network
from fsgl.runs.train import train
from fsgl.settings import settings_of
from fsgl.types import Batch, Sample

BEFORE = Path(__file__).parent / "before_the_move" / "run"


def experiment(*assignments: str) -> Experiment:
    return override(make_experiment("balanced-softmax", "digits"), *assignments)


def norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


@pytest.mark.parametrize("rho", [0.0, 0.1])
def test_frozen_statistics_stay_while_everything_is_trained(rho: float) -> None:
    model = build_classifier(build_backbone("resnet8-slim"), 3)
    for layer in norms(model):
        layer.running_mean.normal_()
    model.frozen_batch_norm = True
    before = copy.deepcopy(model.state_dict())
    optimizer = make_optimizer(experiment("optim.kind=adamw", "schedule.lr=0.01"), model)
    images, labels = torch.randn(6, 3, 32, 32), torch.arange(6) % 3
    model.train()
    alone = model.predict(images[:1])  # of itself, whatever else is in the batch
    torch.testing.assert_close(alone, model.predict(images)[:1], rtol=1e-4, atol=1e-5)

    def gradient() -> None:
        nn.functional.cross_entropy(model(images), labels).backward()

    optimizer.zero_grad()
    with make_ascent(model, SamSpec(rho))(gradient):
        gradient()
    optimizer.step()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == ("running" in name or "num_batches" in name), name
    average = WeightAverage(model)
    average.renew_statistics([Batch(Sample((images,), labels), None)])
    for layer, kept in zip(norms(average.model), norms(model), strict=True):
        assert torch.equal(layer.running_mean, kept.running_mean)


def tuned(*assignments: str) -> ModelWithData:
    """The digits, with a backbone that an old run of cross-entropy has trained."""
    weights = BEFORE / "model.safetensors"
    named = experiment(f"transfer.weights={weights}", "backbone=resnet8-slim", *assignments)
    return build_network(named, load_data(named.data), torch.device("cpu"))


def begun(network: ModelWithData, folder: Path) -> dict[str, Any] | None:
    runtime = Runtime("cpu", trackers=(), feature_cache=folder)
    return begin_heads(network, runtime, runtime.place())


def test_the_probe_trains_the_heads_and_nothing_else(tmp_path: Path) -> None:
    network = tuned("transfer.probe_epochs=3", "transfer.batch_norm=frozen")
    model = network.model
    before, train = copy.deepcopy(model.state_dict()), network.data.train
    done = begun(network, tmp_path)
    assert done is not None
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == (not name.startswith("fc.")), name
    assert all(weight.requires_grad for weight in model.parameters())
    assert not model.frozen
    assert not any(layer.training for layer in norms(model.train()))  # batch_norm=frozen holds again
    right = (network.logits(train, torch.device("cpu")).argmax(1) == train.labels).mean()
    assert right > 0.8  # by chance 0.1: that backbone knows digits
    assert (done["epochs"], done["loss"] < 1) == (3, True)


@pytest.mark.parametrize("cached", [0, 1])
def test_rows_of_the_cosine_classifier_begin_at_class_means(cached: int, tmp_path: Path) -> None:
    frozen = ["transfer.train=heads", f"transfer.cached_views={cached}"]
    network = tuned("transfer.classifier=cosine", "transfer.cosine_scale=20", *frozen)
    images, labels = network.data.train, network.data.train.labels
    features = network.features(images, torch.device("cpu")).astype(float)
    if cached:
        network = with_cached_features(network, tmp_path, torch.device("cpu"), 0, True)
    begun(network, tmp_path)
    rows = features / np.linalg.norm(features, axis=1, keepdims=True)
    means = np.array([rows[labels == k].mean(axis=0) for k in range(10)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(network.model.fc.weight.detach().numpy(), means, atol=1e-5)
    np.testing.assert_allclose(network.logits(network.data.train, torch.device("cpu")), 20 * rows @ means.T, atol=1e-3)


def test_rates_fall_layer_by_layer() -> None:
    """The heads have the whole rate, the layer under them half of the backbone's share, and so on down."""
    model = build_classifier(build_backbone("timm:test_vit", 3, 32), 3)
    groups = parameter_groups(model, 0.5, layer_decay=0.5)
    names = {id(weight): name for name, weight in model.named_parameters()}
    share = {names[id(weight)]: group.get("lr_factor", 1.0) for group in groups for weight in group["params"]}
    assert share.keys() == dict(model.named_parameters()).keys()
    blocks = [share[f"backbone.net.blocks.{block}.attn.qkv.weight"] for block in range(len(model.backbone.net.blocks))]
    assert share["fc.weight"] == 1
    assert max(value for name, value in share.items() if name.startswith("backbone")) == 0.25
    assert all(above == 2 * below for below, above in pairwise(blocks))
    assert share["backbone.net.patch_embed.proj.weight"] == blocks[0] / 2 == min(share.values())
    ours = build_classifier(build_backbone("resnet8-slim"), 3)
    assert len({group.get("lr_factor", 1.0) for group in parameter_groups(ours, 1.0, 0.5)}) >= 3


def test_the_option_is_settings_of_which_each_can_be_given(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for k in range(2):
        for i in range(6):
            (folder / f"{k}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((70 + i, 80, 3), 90 * k, dtype=np.uint8)).save(folder / f"{k}" / f"{i}.png")
    made, _ = experiment_on("cross-entropy", str(folder), {}, ["schedule.lr=1e-3"], fine_tune=True)
    settings = {each.name: str(each.value) for each in settings_of(made)}
    expected = {**FINE_TUNE, "schedule.lr": "0.001", "transfer.weights": "package"}
    assert {name: settings[name] for name in expected} == expected
    with pytest.raises(UserError, match=r"name transfer.weights"):
        experiment_on("cross-entropy", str(folder), {}, [], scratch=True, fine_tune=True)
    with pytest.raises(UserError, match=r"leave transfer.train=heads \(--freeze\) off"):
        experiment_on("cross-entropy", str(folder), {}, ["transfer.train=heads"], fine_tune=True)


@pytest.fixture(scope="module")
def small_vit(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A small transformer with weights in a file, as assignments."""
    path = tmp_path_factory.mktemp("vit") / "vit.safetensors"
    torch.manual_seed(0)
    save_file(build_backbone("timm:test_vit", 1, 32).net.state_dict(), path)
    return ["backbone=timm:test_vit", f"transfer.weights={path}", "transfer.image_size=32"]


@pytest.mark.parametrize("kind", ["lora", "bias"])
def test_little_of_a_transformer_is_trained_and_the_run_is_read_without_adapters(
    kind: str, small_vit: list[str], tmp_path: Path
) -> None:
    light = [f"transfer.train={kind}", *(["transfer.lora_rank=2"] if kind == "lora" else [])]
    named = experiment(*small_vit, *light, "transfer.probe_epochs=1", "optim.kind=adamw", "optim.epochs=1")
    fresh = build_network(named, load_data(named.data), torch.device("cpu"))
    plain = build_network(experiment(*small_vit), fresh.data, torch.device("cpu"))
    images = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(fresh.model.eval().features(images), plain.model.eval().features(images))  # B is 0
    trained = {name for name, weight in fresh.model.backbone.named_parameters() if weight.requires_grad}
    assert trained == {name for name, _ in fresh.model.backbone.named_parameters()
                       if (".lora_" in name if kind == "lora" else name.endswith("bias"))}  # fmt: skip
    assert (
        0
        < sum(weight.numel() for weight in fresh.model.backbone.parameters() if weight.requires_grad)
        < 0.1 * sum(weight.numel() for weight in plain.model.backbone.parameters())
    )
    runtime = Runtime("cpu", trackers=(), feature_cache=tmp_path / "features", max_steps=2)
    train(named, tmp_path / "run", runtime)
    start, end = fresh.model.state_dict(), load_file(tmp_path / "run" / "model.safetensors")
    moved = {name for name in start if not torch.equal(start[name], end[name])}
    assert {name for name in moved if name.startswith("backbone.")} <= {f"backbone.{name}" for name in trained}
    assert any(name.endswith(("lora_B.default.weight", "qkv.bias")) for name in moved)
    merged = load_model(tmp_path / "run")
    assert not any("lora" in name for name in merged.model.state_dict())
    whole = load_network(tmp_path / "run")
    shown = torch.rand(3, 1, 32, 32)
    torch.testing.assert_close(merged.model.predict(shown), whole.model.eval().predict(shown), rtol=1e-4, atol=1e-4)


def test_mirrored_views_are_averaged_wherever_the_network_is_asked() -> None:
    model = build_classifier(build_backbone("resnet8-slim"), 3).eval()
    images, method = torch.randn(4, 3, 32, 32), experiment().method
    with torch.no_grad():
        mean = (model.predict(images) + model.predict(torch.from_numpy(images.numpy()[..., ::-1].copy()))) / 2
    np.testing.assert_allclose(predict_logits(model, method, [images], mirror=True), mean.numpy(), atol=1e-5)
    named = experiment("backbone=resnet8-slim", "evaluation.mirror=true")
    trained = TrainedModel(
        model, named, ("a", "b", "c"), np.ones(3), (0.0,) * 3, (1.0,) * 3, 32, (32, 32), 1.0, np.ones(3)
    )  # fmt: skip
    with torch.no_grad():
        np.testing.assert_allclose(InferenceGraph(trained, False)(images).numpy(), mean.numpy(), atol=1e-5)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    both = [predict_views(trained, list(each)) for each in (pixels, pixels[:, :, ::-1])]
    np.testing.assert_allclose(both[0], both[1], atol=1e-5)
    with pytest.raises(UserError, match="features have no mirror image"):
        override(named, "transfer.train=heads", "transfer.cached_views=1")


def test_moving_average_by_a_loop() -> None:
    layer = nn.BatchNorm1d(1)
    average, weights, means = WeightAverage(layer), [1.0], [0.0]
    for step, value in enumerate([3.0, -2.0, 5.0, 4.0], start=1):
        nn.init.constant_(layer.weight, value)
        layer.running_mean.fill_(10 * value)
        average.blend(layer, 0.3)
        decay = min(0.3, (1 + step) / (10 + step))
        weights.append(decay * weights[-1] + (1 - decay) * value)
        means.append(decay * means[-1] + (1 - decay) * 10 * value)
    assert average.model.weight.item() == pytest.approx(weights[-1], rel=1e-6)
    assert average.model.running_mean.item() == pytest.approx(means[-1], rel=1e-6)


def test_a_fine_tuning_run_is_resumed_to_the_same_bits_and_scores_its_average(tmp_path: Path) -> None:
    named = tuned(
        "transfer.probe_epochs=1", "optim.kind=adamw", "schedule.lr=1e-3", "schedule.kind=step-cosine",
        "averaging.ema=0.9", "transfer.layer_decay=0.7", "optim.epochs=1", "sam.rho=0.05", "evaluation.mirror=true",
    ).experiment  # fmt: skip
    runtime = Runtime("cpu", trackers=(), feature_cache=tmp_path / "features")
    whole = train(named, tmp_path / "whole", runtime)
    train(named, tmp_path / "parts", replace(runtime, max_steps=2))
    parts = train(named, tmp_path / "parts", runtime, resume=True)
    assert whole["probe"]["epochs"] == parts["probe"]["epochs"] == 1
    assert whole["result"]["last"] == parts["result"]["last"]
    saved = [load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts")]
    assert all(torch.equal(saved[0][name], saved[1][name]) for name in saved[0])
    checkpoint = torch.load(next((tmp_path / "whole" / "checkpoints").iterdir()), weights_only=True)
    assert torch.equal(saved[0]["fc.weight"], checkpoint["average"]["model"]["fc.weight"])
    assert not torch.equal(saved[0]["fc.weight"], checkpoint["state"]["model"]["fc.weight"])


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["transfer.probe_epochs=2"], "name transfer.weights"),
        (["transfer.probe_lr=0.1"], "which are none"),
        (["transfer.cosine_scale=3"], "is of transfer.classifier=cosine"),
        (["transfer.train=lora"], "leaves most of the backbone as it is: name transfer.weights"),
        (["averaging.ema=0.9", "averaging.start=0.5"], "two ways to average"),
        (["optim.kind=adamw", "optim.momentum=0.5"], "optim.momentum is of sgd"),
        (["optim.kind=adam"], "did you mean 'adamw'"),
        (["transfer.batch_norm=frozen"], "name transfer.weights"),
    ],
)
def test_settings_that_say_nothing_are_refused(assignments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        experiment(*assignments)


def test_settings_that_came_later_leave_hashes_as_they_were() -> None:
    plain = experiment()
    assert experiment("optim.kind=sgd", "transfer.batch_norm=batch", "schedule.warmup_share=0.1").hash == plain.hash
    assert experiment("optim.kind=adamw").hash != plain.hash
    read = Experiment.from_json({key: value for key, value in plain.to_json().items() if key != "transfer"}, "old")
    assert read == plain
