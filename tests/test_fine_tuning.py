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
from safetensors.torch import load_file
from torch import nn

from fsgl.data.load import load_data
from fsgl.engine.runtime import Runtime
from fsgl.errors import UserError
from fsgl.models.assemble import build_classifier
from fsgl.models.backbones import build_backbone
from fsgl.optim.averaging import WeightAverage
from fsgl.optim.sam import SamSpec, make_ascent
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import Experiment, override
from fsgl.runs.assemble import make_optimizer, parameter_groups
from fsgl.runs.begin import begin_heads
from fsgl.runs.feature_cache import with_cached_features
from fsgl.runs.network import Network, build_network
from fsgl.runs.train import train
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


def tuned(*assignments: str) -> Network:
    """The digits, with a backbone that an old run of cross-entropy has trained."""
    weights = BEFORE / "model.safetensors"
    named = experiment(f"transfer.weights={weights}", "backbone=resnet8-slim", *assignments)
    return build_network(named, load_data(named.data), torch.device("cpu"))


def begun(network: Network, folder: Path) -> dict[str, Any] | None:
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
    np.testing.assert_allclose(
        network.logits(network.data.train, torch.device("cpu")), 20 * rows @ means.T, atol=1e-3
    )


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
        "averaging.ema=0.9", "transfer.layer_decay=0.7", "optim.epochs=1", "sam.rho=0.05",
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
