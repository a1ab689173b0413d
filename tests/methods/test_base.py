"""Every method says where its settings come from, and what its paper has for a data set is what its recipe takes."""

from __future__ import annotations

from dataclasses import fields

import pytest

from fsgl.data.load import DATA_SETS
from fsgl.methods import METHODS, VectorScaling
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


def test_every_method_is_a_recipe() -> None:
    assert set(METHODS) <= set(RECIPES)
    assert VectorScaling.on("cifar100") == VectorScaling(gamma=0.05, tau=0.75)
    assert VectorScaling.on("cifar10") == VectorScaling.on("digits") == VectorScaling(gamma=0.15, tau=1.25)
    assert METHODS["logit-adjustment"].on("cifar10").tau == 1
    assert make_experiment("fsgl", "digits").method.contrast_weight == 4
