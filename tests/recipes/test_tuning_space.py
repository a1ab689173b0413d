"""Every setting that is searched changes the training of its recipe: what changes nothing only dilutes the budget."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.builders import Tiny
from torch import Tensor

from fsgl.data.load import LoadedData, load_data
from fsgl.engine.fit import fit
from fsgl.engine.runtime import Runtime
from fsgl.methods.search import Range
from fsgl.optim.averaging import WeightAverage
from fsgl.recipes import RECIPES, make_experiment
from fsgl.recipes.experiment import Experiment, override
from fsgl.recipes.tuning import search_space, value_of
from fsgl.runs.assemble import assemble
from fsgl.runs.network import ModelWithData, build_model

EPOCHS = 8  # of which a second stage takes one or two, and averaging four or one


@pytest.fixture(scope="module")
def data() -> LoadedData:
    """Some of the digits, as unequal as all of them."""
    whole = load_data(make_experiment("cross-entropy", "digits").data)
    few = whole.train.take(torch.arange(0, len(whole.train), 6).numpy())
    counts = torch.bincount(torch.from_numpy(few.labels), minlength=whole.num_classes).numpy()
    return replace(whole, train=few, counts=counts)


def trained(experiment: Experiment, data: LoadedData) -> Tensor:
    """All weights in the end, of the average where there is one."""
    runtime, counts = Runtime("cpu"), torch.from_numpy(data.counts)
    torch.manual_seed(0)
    model, _ = build_model(experiment, len(data.mean), counts, backbone=Tiny(len(data.mean)))
    state, plan = assemble(experiment, ModelWithData(model, experiment, data), runtime, runtime.place())
    average = WeightAverage(model)
    for report in fit(state, plan, lambda step: False):
        if experiment.averaging.counts(report.epoch, EPOCHS):
            average.add(model)
    kept = average.model if average.count else model
    return torch.cat([weight.detach().flatten() for weight in kept.parameters()])


@pytest.mark.parametrize("recipe", [*RECIPES, "cross-entropy+sam"])
def test_every_searched_setting_changes_the_training(recipe: str, data: LoadedData) -> None:
    base = override(make_experiment(recipe, "digits"), f"optim.epochs={EPOCHS}", "data.val=0.1")
    plain = trained(base, data)
    assert torch.equal(plain, trained(base, data)), "otherwise this would prove nothing"
    for name, search in search_space(base).items():
        values = (search.low, search.high) if isinstance(search, Range) else search.values
        others = [value for value in values if value != value_of(base, name)]
        same = (torch.equal(plain, trained(override(base, f"{name}={value}"), data)) for value in others)
        assert not all(same), f"{recipe} is the same with any {name}"


def test_settings_of_averaging_are_searched_whatever_they_are() -> None:
    made = make_experiment("weight-averaging", "digits")
    names = {"averaging.start", "averaging.high", "averaging.low", "averaging.cycle"}
    assert names <= set(search_space(made))
    assert not any(name.startswith("averaging") for name in search_space(make_experiment("crt", "digits")))
    for given in ((), ("low=0.8", "high=0.9"), ("low=0.01", "high=0.02"), ("low=2", "high=3", "cycle=7", "start=0.2")):
        experiment = override(made, *(f"averaging.{each}" for each in given))
        space = search_space(experiment)
        assert all(search.holds(value_of(experiment, name)) for name, search in space.items())
        for low in ("low", "high"):  # the highest low rate, the lowest high one
            override(experiment, f"averaging.low={space['averaging.low'].high}",
                     f"averaging.high={getattr(space['averaging.high'], low)}")  # fmt: skip
    moving = override(made, "averaging.start=1", "averaging.ema=0.995")
    assert search_space(moving)["averaging.ema"].holds(0.995)
    assert "averaging.cycle" not in search_space(moving)


def test_what_is_switched_off_is_not_searched() -> None:
    assert "method.label_weighting" not in search_space(make_experiment("glmc-balanced-softmax", "digits"))
    assert "method.label_weighting" in search_space(make_experiment("glmc", "digits"))
    assert "method.feature_scaling.gamma" not in search_space(make_experiment("glmc", "digits"))
    assert "method.feature_scaling.gamma" in search_space(make_experiment("fsgl", "digits"))
