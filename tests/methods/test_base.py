"""Every method says where its settings come from, and what its paper has for a data set is what its recipe takes."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import torch
from tests.builders import make_batch
from tests.models.test_timm_backbones import FAMILIES

from fsgl.data.known import DATA_SETS
from fsgl.engine.step import Update, training_step
from fsgl.methods import METHODS, VectorScaling
from fsgl.models.backbones import BACKBONES, build_backbone
from fsgl.optim.sam import SamSpec, make_ascent
from fsgl.recipes import RECIPES, make_experiment

SOURCES = ("paper", "authors'", "code", "README", "ours")


@pytest.mark.parametrize("name", METHODS)
def test_every_method_states_where_its_settings_come_from(name: str) -> None:
    method = METHODS[name]
    assert set(method.origins) == {field.name for field in fields(method)}
    for setting, origin in method.origins.items():
        assert origin.startswith(SOURCES) or "(" in origin, f"{name}.{setting}: name a paper, its code, or say 'ours'"
        assert len(origin) > 8
    assert method.summary.endswith(".")


@pytest.mark.parametrize("name", METHODS)
def test_published_settings_are_those_of_its_recipe(name: str) -> None:
    method = METHODS[name]
    assert set(method.published) <= set(DATA_SETS)
    for data, settings in method.published.items():
        lists = ("train.txt", "test.txt") if DATA_SETS[data].lists else (None, None)
        made = make_experiment(name, data, "data", *lists).method
        assert {setting: getattr(made, setting) for setting in settings} == settings
        assert made == method(**settings) != method()
    assert name == "glmc" or make_experiment(name, "cifar10").method == method.on("cifar10")


LARGE = ("resnet50", "resnet50-imagenet", "resnext50_32x4d")


@pytest.mark.parametrize("backbone", [*BACKBONES, *(f"timm:{name}" for name in FAMILIES)])
@pytest.mark.parametrize("name", ["bcl", "disalign", "paco", "remix", "sade"])
def test_two_steps_on_every_backbone(name: str, backbone: str) -> None:
    """Of two stages, a step of each. A gradient reaches every weight of the backbone that is trained and some of the
    classifier's, all stays finite, and it predicts."""
    torch.manual_seed(0)
    method, counts = METHODS[name](), torch.tensor([30, 5, 2])
    ours = BACKBONES.get(backbone)
    model: Any = method.build(build_backbone(backbone, 1, None if ours else 64), counts)
    method.begin(model, False)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # or one step's statistics would leave a deep network's features without bounds
    side = 16 if ours and ours.image_size == 32 else 33
    # So small a rate, as fresh deep networks have large gradients of so few images.
    sgd = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=1e-4)
    update = Update(model.train(), method, sgd, make_ascent(model, SamSpec(0.0 if backbone in LARGE else 0.05)))
    batch = make_batch(4, (1, side, side), 3, views=method.views)
    for step in range(2):
        if step == method.second_stage(2):
            method.enter_second_stage(model, fresh=True)
        losses = training_step(update, method, batch, 3, step / 2, torch.Generator())
        assert torch.isfinite(losses.total)
        gradients = {key: weight.grad for key, weight in model.named_parameters() if weight.requires_grad}
        missed = {key for key, gradient in gradients.items() if gradient is None or not gradient.any()}
        assert not {key for key in missed if key.startswith("backbone.")}
        assert {key for key in gradients if key.startswith("fc.")} - missed
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    with torch.inference_mode():
        assert method.predict(model.eval(), batch.original.views[0]).shape == (4, 3)


def test_every_method_is_a_recipe() -> None:
    assert set(METHODS) <= set(RECIPES)
    assert VectorScaling.on("cifar100") == VectorScaling(gamma=0.05, tau=0.75)
    assert VectorScaling.on("cifar10") == VectorScaling.on("digits") == VectorScaling(gamma=0.15, tau=1.25)
    assert METHODS["logit-adjustment"].on("cifar10").tau == 1
    assert make_experiment("fsgl", "digits").method.contrast_weight == 4
