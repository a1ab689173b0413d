"""Tuning with trainings that only pretend: what a trial is worth is a known function of its settings."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from tests.comparison.pretended import Pretended, study, tune, worth

from fsgl.commands.cli import main
from fsgl.comparison.grid import Word
from fsgl.comparison.settings_file import read_settings, settings_of, tuned
from fsgl.comparison.tune import FAILURES, Budget, Study
from fsgl.data.draw.split import carve_validation
from fsgl.errors import UserError
from fsgl.methods import METHODS
from fsgl.recipes import RECIPES, make_experiment
from fsgl.recipes.experiment import override, setting_names
from fsgl.recipes.tuning import how_set, search_space, value_of


def test_the_same_budget_for_each_the_recipes_own_settings_first_and_better_ones_found(tmp_path: Path) -> None:
    studies, launch = [study(name, tmp_path, Budget(trials=12)) for name in ("cross-entropy", "ldam-drw")], Pretended()
    tune(studies, launch)
    for each in studies:
        assert len(each.trials) == 12
        own = {name: value_of(each.base, name) for name in each.space}
        assert each.trials[0].settings == own
        assert each.best.value > worth(each.base) + 1, "0.1 is the digits' rate"
        assert not list(each.folder.rglob("model.safetensors")), "weights of trials are not kept"
        assert {name.split("/")[0] for name in launch.trained} == {"cross-entropy", "ldam-drw"}
    assert set(studies[1].space) == {
        "schedule.lr", "optim.weight_decay", "method.largest_margin", "method.scale", "method.deferred"
    }  # fmt: skip


def test_what_was_stopped_goes_on_and_a_failed_trial_is_one(tmp_path: Path) -> None:
    launch = Pretended("crt/trial1")
    tune([study("crt", tmp_path, Budget(trials=6))], launch, stop_after=2)
    again = study("crt", tmp_path, Budget(trials=6))
    assert 2 <= len(again.trials) < 6
    tune([again], launch)
    assert len(launch.trained) == len(set(launch.trained)) == 6, "nothing is trained twice"
    assert again.trials[1].failed == "fsgl: training diverged"
    content = settings_of([again])["recipes"]["crt"]
    assert [row["value"] is None for row in content["trials"]] == [False, True, False, False, False, False]


def test_minutes_are_of_training_and_folds_are_averaged(tmp_path: Path) -> None:
    by_time = study("cross-entropy", tmp_path, Budget(minutes=2))  # a training takes 30 seconds
    tune([by_time], Pretended())
    assert 4 <= len(by_time.trials) <= 5, "two at a time: one more may have begun"
    folded = study("lws", tmp_path, Budget(trials=2), folds=3)
    tune([folded], Pretended())
    assert folded.trials[0].value == pytest.approx(worth(folded.base) + 1)
    assert {cell.experiment.data.val_fold for cell in folded.trials[0].cells} == {0, 1, 2}


def test_trials_go_to_ray_where_a_cluster_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the launcher of ``fsgl compare``, of which a test starts a cluster (tests/test_compare.py)."""
    launch, asked = Pretended(), []

    @contextlib.contextmanager
    def cluster(address: str, device: str):
        asked.append((address, device))
        yield launch, ["cpu", "cpu"]

    monkeypatch.setattr("fsgl.comparison.ray_launch.ray_cluster", cluster)
    words = ["cross-entropy", "lws", "--data", "digits", "--trials", "2", "--runs", str(tmp_path / "runs")]
    assert main(["tune", *words, "--ray", "head:6379", "--device", "cpu"]) == 0
    assert asked == [("head:6379", "cpu")]
    assert len(set(launch.trained)) == 4
    found = read_settings(tmp_path / "runs" / "tuned.json")
    assert {name: len(each["trials"]) for name, each in found["recipes"].items()} == {"cross-entropy": 2, "lws": 2}


def test_words_of_tuned_rows() -> None:
    assert Word.read("mixup+sam+tuned+tau-norm") == Word("mixup+sam+tuned+tau-norm", "mixup+sam", "tau-norm", True)
    assert Word.read("crt+tau-norm").with_tuning() == Word.read("crt+tuned+tau-norm")


def test_nothing_is_tuned_on_test_images(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing is tuned on test images"):
        Study("crt", override(make_experiment("crt", "digits"), "data.val=0"), tmp_path, Budget(trials=1), 1)


@pytest.mark.parametrize("recipe", RECIPES)
def test_search_spaces_are_of_settings_and_hold_the_recipes_own(recipe: str) -> None:
    for data in ("digits", "cifar100"):
        experiment = make_experiment(recipe, data)
        for name, search in search_space(experiment).items():
            assert name in set(setting_names(experiment))
            assert search.holds(value_of(experiment, name))


@pytest.mark.parametrize("name", METHODS)
def test_a_methods_published_values_lie_in_the_space_it_declares(name: str) -> None:
    assert METHODS[name].search or not METHODS[name].origins, f"{name} has settings, and none that may be tuned"
    for data in ("cifar10", "cifar100"):
        method = METHODS[name].on(data)
        for setting, search in method.search.items():
            assert setting == "feature_scaling.gamma" or search.holds(value_of(method, setting)), f"{name}.{setting}"


def test_how_settings_came_about() -> None:
    made = make_experiment("ldam-drw", "digits")
    assert how_set(override(made, "schedule.lr=0.5"), made) == "published", "the rate is the data set's"
    assert how_set(override(made, "method.scale=20"), made) == "given"
    assert how_set(override(made, "sam.rho=0.1"), made) == "given"
    fsgl = make_experiment("fsgl", "digits")
    assert how_set(fsgl, fsgl) == "default"
    sharp = make_experiment("ldam-drw+sam", "digits")
    assert how_set(sharp, sharp) == "default", "SAM's radius is none of its paper's"


def test_folds_share_no_image_until_a_class_is_used_up() -> None:

    labels = np.repeat([0, 1, 2], [40, 10, 4])
    parts = [carve_validation(labels, 0.25, 0, 3, fold=fold)[1] for fold in range(4)]
    taken = np.concatenate(parts)
    assert len(set(taken[labels[taken] == 0].tolist())) == 40, "four quarters are all of them"
    assert len(set(taken[labels[taken] == 1].tolist())) == len(taken[labels[taken] == 1]) == 8
    assert not (labels[taken] == 2).any(), "a class of four keeps them"
    assert np.array_equal(parts[0], carve_validation(labels, 0.25, 0, 3)[1])


def test_of_a_larger_budget_before_only_the_first_trials_are_chosen_from(tmp_path: Path) -> None:
    tune([study("crt", tmp_path, Budget(trials=6))], Pretended("crt/trial1"))
    both, launch = [study(name, tmp_path, Budget(trials=3)) for name in ("crt", "lws")], Pretended()
    assert both[0].trials[5].over
    both[0].trials[5].values = [99.0]  # as if the last had been the best
    tune(both, launch)
    assert {name.split("/")[0] for name in launch.trained} == {"lws"}, "crt has more than enough"
    content = settings_of(both)
    for found in content["recipes"].values():
        assert [row["number"] for row in found["trials"]] == [0, 1, 2]
        assert found["chosen"] in (0, 1, 2)
        assert found["value"] == max(row["value"] for row in found["trials"] if row["value"] is not None)
    assert len(json.loads((tmp_path / "crt" / "trials.json").read_text())["trials"]) == 6, "none is forgotten"
    only_failed = study("crt", tmp_path / "failing", Budget(trials=1))
    tune([only_failed], Pretended("crt/trial0"))
    with pytest.raises(UserError, match="no trial of crt came to an end: fsgl: training diverged"):
        settings_of([only_failed])
    path, long = tmp_path / "tuned.json", settings_of([study("crt", tmp_path, Budget(trials=6))])
    with pytest.raises(UserError, match="says 3 trials, and crt has 6"):  # as such files were written once
        tuned(both[0].base, long | {"budget": "3 trials"}, path)


def test_of_more_minutes_before_only_what_began_within_is_chosen_from(tmp_path: Path) -> None:
    tune([study("cross-entropy", tmp_path, Budget(minutes=4))], Pretended())  # a training takes 30 seconds
    shorter, launch = study("cross-entropy", tmp_path, Budget(minutes=1.2)), Pretended()
    tune([shorter], launch)
    assert not launch.trained
    assert len(shorter.trials) >= 8
    found = settings_of([shorter])["recipes"]["cross-entropy"]
    assert [row["number"] for row in found["trials"]] == [0, 1, 2], "the third begins after 60 seconds, within 72"


def test_a_trial_that_the_budget_leaves_out_is_not_trained_to_its_end(tmp_path: Path) -> None:
    tune([study("crt", tmp_path, Budget(trials=4))], Pretended(), stop_after=2)
    again, launch = study("crt", tmp_path, Budget(trials=2)), Pretended()
    assert len(again.trials) > 2
    tune([again], launch)
    assert set(launch.trained) <= {"crt/trial0", "crt/trial1"}
    assert all(trial.over for trial in again.counted)


def test_the_first_trial_may_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    @contextlib.contextmanager
    def launcher(options):
        yield Pretended("lws/trial0"), ["cpu"]

    monkeypatch.setattr("fsgl.commands.tune.grid_launcher", launcher)
    assert main(["tune", "lws", "--data", "digits", "--trials", "2", "--runs", str(tmp_path)]) == 0
    assert "failed as it comes" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content",
    ["[]", "3", '{"trials": 3}', '{"trials": [3]}', '{"trials": [{"number": 0}]}', '{"space": {}}', '{"trials": null}',
     '{"trials": [{"number": 0, "settings": [1]}]}', '{"trials": [{"number": 4, "settings": {}}]}',
     '{"trials": [{"number": 0, "settings": {"sam.rho": 0.1}}]}',
     '{"trials": [{"number": 0, "settings": {"schedule.lr": "x", "optim.weight_decay": 1, "method.second": 0.1}}]}',
     '{"trials": [{"number": 0, "settings": {}, "failed": 3}]}'],
)  # fmt: skip
def test_trials_that_are_damaged_get_one_line(tmp_path: Path, content: str, capsys) -> None:
    (tmp_path / "crt").mkdir()
    path = tmp_path / "crt" / "trials.json"
    path.write_text(content)
    assert main(["tune", "crt", "--data", "digits", "--trials", "2", "--runs", str(tmp_path)]) == 2
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    assert str(path) in said
    assert path.read_text() == content


def test_no_more_trials_are_begun_than_the_minutes_will_hold(tmp_path: Path) -> None:
    """What runs counts as long as those took that are over: more would be trained for nothing."""
    running = study("cross-entropy", tmp_path, Budget(minutes=2))
    tune([running], Pretended(), stop_after=1)
    while len(running.trials) < 4:
        assert running.wants_more
        running.ask()  # and it has not trained an epoch yet
    assert not running.wants_more
    assert len(running.counted) == 4


def test_minutes_end_where_every_trial_fails_or_some_do(tmp_path: Path) -> None:
    """A trial that fails in its first epoch took no time that a run folder knows."""
    launch = Pretended(*(f"crt/trial{number}" for number in range(99)))
    tune([study("crt", tmp_path, Budget(minutes=2))], launch)
    assert FAILURES <= len(launch.trained) <= FAILURES + 1, "two at a time: one more may have begun"
    some = Pretended(*(f"lws/trial{number}" for number in range(1, 99, 2)))
    tune([study("lws", tmp_path, Budget(minutes=2))], some)
    assert 4 <= len(some.trained) <= 5, "as many as if none had failed"
