from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.recipes.every_setting import NEEDS, NOT_FOR_CIFAR, NOT_WITH_THE_REST, ON_OTHER_DATA, OTHERS

from fsgl.data.known import DATA_SETS
from fsgl.errors import UserError
from fsgl.methods import Glmc
from fsgl.optim.sam import SamSpec
from fsgl.recipes import RECIPES, make_experiment
from fsgl.recipes.experiment import EvaluationSpec, Experiment, OptimSpec, override, setting_names


def make(recipe: str, data: str) -> Experiment:
    lists = {"train_list": "train.txt", "test_list": "test.txt"} if DATA_SETS[data].lists else {}
    return make_experiment(recipe, data, **lists)


FSGL = make("fsgl", "cifar10")

# What these experiments' hashes were before the settings of ON_OTHER_DATA were added.
EARLIER_HASHES = {
    ("fsgl", "digits"): "99a19de21d43584b",
    ("fsgl", "cifar10"): "ba3a8a99bcaca069",
    ("fsgl", "imagenet-lt"): "ac99d47128ae12b5",
    ("release", "cifar100"): "b13f69201bedf9f8",
    ("cross-entropy", "places-lt"): "767b986fa9ee4a14",
}


def value_of(experiment: Experiment, name: str) -> Any:
    value: Any = experiment
    for part in name.split("."):
        value = getattr(value, part)
    return value


@pytest.mark.parametrize("data", DATA_SETS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_json_brings_back_every_recipe_on_every_data_set(recipe: str, data: str) -> None:
    experiment = make(recipe, data)
    back = Experiment.from_json(json.loads(json.dumps(experiment.to_json(), allow_nan=False)), "experiment.json")
    assert back == experiment
    assert back.hash == experiment.hash
    assert back.recipe == recipe
    assert back.to_json() == experiment.to_json()


def test_recipes_differ_and_so_do_their_hashes() -> None:
    hashes = [make(recipe, data).hash for recipe in RECIPES for data in DATA_SETS]
    assert len(set(hashes)) == len(hashes)


def test_every_setting_has_its_case() -> None:
    assert set(OTHERS) | set(ON_OTHER_DATA) == set(setting_names(FSGL)) - NOT_FOR_CIFAR


@pytest.mark.parametrize("name", ON_OTHER_DATA)
def test_settings_of_own_images_are_saved_and_change_the_hash(name: str) -> None:
    data, text, value = ON_OTHER_DATA[name]
    base = make("fsgl", data)
    changed = override(base, f"{name}={text}")
    assert value_of(changed, name) == value != value_of(base, name)
    assert (changed.hash == base.hash) == (name == "data.images")  # where the images lie decides no result
    assert Experiment.from_json(json.loads(json.dumps(changed.to_json())), "x") == changed


@pytest.mark.parametrize(("recipe", "data"), EARLIER_HASHES)
def test_later_settings_leave_the_hashes_of_earlier_runs_alone(recipe: str, data: str) -> None:
    experiment = make(recipe, data)
    if (recipe, data) == ("fsgl", "digits"):
        experiment = override(experiment, "method.contrast_weight=1")  # its default there until it was the paper's
    assert experiment.hash == EARLIER_HASHES[recipe, data]
    earlier = experiment.to_json()
    for name in {name.split(".")[1] for name in ON_OTHER_DATA}:
        del earlier["data"][name]
    assert Experiment.from_json(earlier, "experiment.json") == experiment


def test_a_renamed_setting_is_known_by_its_earlier_name_too() -> None:
    local = override(FSGL, "sam.ascent=local")
    assert override(FSGL, "sam.climb=local") == local != FSGL
    earlier = local.to_json()
    earlier["sam"]["climb"] = earlier["sam"].pop("ascent")
    assert Experiment.from_json(earlier, "experiment.json") == local
    with pytest.raises(UserError, match=r"sam\.climb"):  # both: which is meant is not guessed
        Experiment.from_json({**earlier, "sam": {**earlier["sam"], "ascent": "global"}}, "experiment.json")
    with pytest.raises(UserError, match=r"sam\.ascent is given twice"):
        override(FSGL, "sam.climb=local", "sam.ascent=global")


def test_only_settings_marked_as_later_are_left_out_of_the_hash() -> None:
    later = {item.name for item in fields(FSGL.data) if item.metadata.get("later")}
    assert later == {name.split(".")[1] for name in ON_OTHER_DATA}


def test_equal_experiments_have_equal_hashes_however_their_numbers_are_written() -> None:
    whole = replace(FSGL, data=replace(FSGL.data, imbalance_factor=100), sam=SamSpec(1))
    assert whole == replace(FSGL, data=replace(FSGL.data, imbalance_factor=100.0), sam=SamSpec(1.0))
    assert whole.hash == replace(FSGL, data=replace(FSGL.data, imbalance_factor=100.0), sam=SamSpec(1.0)).hash


@pytest.mark.parametrize("name", OTHERS)
def test_every_setting_can_be_overridden_is_saved_and_changes_the_hash(name: str) -> None:
    text, value = OTHERS[name]
    before = override(FSGL, *NEEDS.get(name, ()))
    changed = override(before, f"{name}={text}")
    found = value_of(changed, name)
    assert found == value
    assert type(found) is type(value)
    # Where the images lie decides no result; everything else may.
    assert (changed.hash == before.hash) == (name == "data.root")
    back = Experiment.from_json(json.loads(json.dumps(changed.to_json())), "x")
    assert (back, back.hash) == (changed, changed.hash)
    unchanged = [other for other in setting_names(FSGL) if value_of(changed, other) != value_of(before, other)]
    assert unchanged == [name]


def test_all_overrides_at_once_in_any_order() -> None:
    together = {name: other for name, other in OTHERS.items() if name not in NOT_WITH_THE_REST}
    assignments = [f"{name}={text}" for name, (text, _) in together.items()]
    forward, backward = override(FSGL, *assignments), override(FSGL, *reversed(assignments))
    assert forward == backward
    assert [value_of(forward, name) for name in together] == [value for _, value in together.values()]
    assert override(FSGL) == FSGL


def test_settings_that_need_each_other_are_set_together() -> None:
    changed = override(FSGL, "evaluation.few=200", "evaluation.many=300")
    assert (changed.evaluation.few, changed.evaluation.many) == (200, 300)


def test_none_is_written_as_none_or_nothing() -> None:
    seeded = override(FSGL, "data.draw_seed=5", "method.feature_scaling.decimals=2")
    for text in ("none", "None", ""):
        back = override(seeded, f"data.draw_seed={text}", f"method.feature_scaling.decimals={text}")
        assert back == FSGL


def test_hash_is_of_the_settings_alone() -> None:
    assert make("fsgl", "cifar10").hash == FSGL.hash
    assert len(FSGL.hash) == 16
    assert replace(FSGL, recipe="mine").hash != FSGL.hash


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("method.gama=1", "did you mean 'method"),
        ("method.feature_scaling.gama=1", "did you mean 'method.feature_scaling.gamma'"),
        ("schedule.learning=1", "unknown setting 'schedule.learning'"),
        ("sam.roh=1", "did you mean 'sam.rho'"),
        ("rho=1", "did you mean 'sam.rho'"),
        ("epochs=1", "did you mean 'optim.epochs'"),
        ("optim.epoch=1", "did you mean 'optim.epochs'"),
        ("method=glmc", "unknown setting 'method'"),
        ("recipe=glmc", "unknown setting 'recipe'"),
        ("method.name=glmc", "unknown setting 'method.name'"),
        ("schedule.lr", "write name=value"),
        ("=3", "unknown setting ''"),
        ("schedule.lr=fast", "schedule.lr must be a finite number, not 'fast'"),
        ("schedule.lr=", "schedule.lr must be a finite number"),
        ("schedule.lr=nan", "schedule.lr"),
        ("schedule.lr=-0.1", "must be positive"),
        ("method.contrast_weight=nan", "method.contrast_weight"),
        ("method.label_weighting=inf", "method.label_weighting"),
        ("optim.epochs=2.5", "optim.epochs must be a whole number, not '2.5'"),
        ("optim.epochs=0", "optim.epochs must be 1 or more"),
        ("optim.batch_size=1", "optim.batch_size must be 2 or more"),
        ("optim.momentum=1", "optim.momentum"),
        ("optim.weight_decay=-1", "optim.weight_decay"),
        ("evaluation.every=0", "evaluation.every"),
        ("evaluation.few=101", "evaluation.few"),
        ("evaluation.few=-1", "evaluation.few"),
        ("evaluation.headline=lsat", "did you mean 'last'"),
        ("backbone=resnet35", "did you mean 'resnet"),
        ("data.name=cifar11", "did you mean 'cifar1"),
        ("data.imbalance_factor=0.5", "from 1 to 1000"),
        ("data.draw_seed=-1", "data.draw_seed"),
        ("data.train_list=a.txt", "not given by lists"),
        ("method.cutmix_label=erea", "did you mean 'area'"),
        ("seed=-1", "seed must be 0 or more"),
        ("transfer.weights=hub", "the hub has no weights for 'resnet34'; take a backbone timm:NAME"),
        ("transfer.train=head", "did you mean 'heads'"),
        ("transfer.backbone_lr=0", "positive \\(for 0: transfer.train=heads\\), not 0.0"),
        ("transfer.image_size=0", "from 1 to 4096"),
        ("transfer.cached_views=2", "needs a frozen backbone"),
        ("transfer.cached_views=-1", "from 0 to 1000"),
    ],
)
def test_mistakes_in_overrides_are_answered_in_one_line(assignment: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        override(FSGL, assignment)
    assert "\n" not in str(caught.value)


def test_a_setting_given_twice_is_refused() -> None:
    with pytest.raises(UserError, match=r"schedule\.lr is given twice: 0\.1 and 0\.2"):
        override(FSGL, "schedule.lr=0.1", "seed=1", "schedule.lr=0.2")


def test_a_setting_of_another_method_is_refused() -> None:
    with pytest.raises(UserError, match=r"unknown setting 'method\.beta'"):
        override(make("cross-entropy", "cifar10"), "method.beta=1")


def test_settings_of_a_transfer_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(UserError, match="of no use with"):
        override(FSGL, "transfer.train=heads", "transfer.backbone_lr=0.1")
    with pytest.raises(UserError, match="glmc is shown 2 views of an image"):
        override(FSGL, "transfer.train=heads", "transfer.cached_views=1")


@pytest.mark.parametrize(
    ("recipe", "data", "hash_before"),
    [
        ("fsgl", "cifar10", "ba3a8a99bcaca069"),
        ("cross-entropy", "digits", "74c46ba3068d3e68"),
        ("release", "cifar100", "b13f69201bedf9f8"),
    ],
)
def test_a_setting_that_came_later_is_no_part_of_the_hash_at_its_default(
    recipe: str, data: str, hash_before: str
) -> None:
    """The hashes are those that the code gave when it had no ``transfer`` yet."""
    experiment = make(recipe, data)
    assert experiment.hash == hash_before
    old = {name: value for name, value in experiment.to_json().items() if name != "transfer"}
    assert Experiment.from_json(old, "x") == experiment


def test_where_a_file_of_weights_lies_is_no_part_of_the_hash_but_that_there_is_one_is() -> None:
    kinds = [override(FSGL, f"transfer.weights={text}").hash for text in ("a.safetensors", "b/c.safetensors", "none")]
    assert kinds[0] == kinds[1] != kinds[2] == FSGL.hash


def test_passes_of_a_step() -> None:
    passes = {recipe: make(recipe, "cifar10").passes_per_step for recipe in RECIPES}
    assert (passes["fsgl"], passes["glmc-sam"], passes["glmc"], passes["cross-entropy"]) == (4, 4, 2, 1)
    assert replace(make("cross-entropy", "cifar10"), sam=SamSpec(0.1)).passes_per_step == 2


# ---------------------------------------------------------------- settings read from files


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))


def with_leaf(settings: Any, path: tuple[str, ...], value: Any) -> Any:
    if not path:
        return value
    return {**settings, path[0]: with_leaf(settings[path[0]], path[1:], value)}


SETTINGS = FSGL.to_json()
JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.just(10**400),
    st.lists(st.integers(), max_size=2), st.dictionaries(st.text(), st.integers(), max_size=2),
)  # fmt: skip


@given(st.sampled_from(list(leaves(SETTINGS))), JUNK)
def test_whatever_stands_in_a_file_is_an_experiment_or_the_users_mistake(path: tuple[str, ...], junk: Any) -> None:
    settings = with_leaf(SETTINGS, path, junk)
    experiment = said = None
    try:
        experiment = Experiment.from_json(settings, "some.json")
    except UserError as error:
        said = str(error)
    if experiment is None:
        assert said is not None
        assert said.startswith("some.json: ")
    else:
        assert Experiment.from_json(json.loads(json.dumps(experiment.to_json(), allow_nan=False)), "x") == experiment


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ((), [], "must be an object"),
        (("data",), "cifar10", "'data' must be an object"),
        (("method", "feature_scaling"), None, r"'method\.feature_scaling' must be an object"),
        (("method", "name"), "glcm", "did you mean 'glmc'"),
        (("method", "name"), ["glmc"], "unknown method"),
        (("seed",), "3", "seed must be int"),
        (("seed",), 3.0, "seed must be int"),
        (("seed",), True, "seed must be int"),
        (("schedule", "lr"), False, r"schedule\.lr must be float"),
        (("schedule", "lr"), math.nan, r"schedule\.lr"),
        (("schedule", "lr"), 10**400, r"schedule\.lr must be a finite number"),
        (("method", "beta"), -1.0, "beta must be positive"),
        (("data", "train_list"), 3, r"data\.train_list must be str or null"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_value_in_a_file_is_named(path: tuple[str, ...], value: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Experiment.from_json(with_leaf(SETTINGS, path, value), "some.json")


def test_unknown_and_missing_settings_in_a_file_are_named() -> None:
    with pytest.raises(UserError, match=r"some\.json: unknown setting 'optim\.epoch'; did you mean 'optim\.epochs'"):
        Experiment.from_json({**SETTINGS, "optim": {"epoch": 3}}, "some.json")
    with pytest.raises(UserError, match=r"some\.json: the setting 'backbone' is missing"):
        Experiment.from_json({name: SETTINGS[name] for name in ("recipe", "data", "method")}, "some.json")


def test_settings_with_a_default_may_be_left_out_and_whole_numbers_stand_for_floats() -> None:
    method = {"name": "glmc", "beta": 1}
    short = {"recipe": "mine", "data": {"name": "digits"}, "backbone": "resnet18", "method": method}
    experiment = Experiment.from_json(short, "x")
    assert experiment.method == Glmc(beta=1.0)
    assert experiment.optim == OptimSpec()
    assert experiment.evaluation == EvaluationSpec()
    assert isinstance(experiment.method, Glmc)
    assert type(experiment.method.beta) is float
