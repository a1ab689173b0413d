"""Tuning with trainings that only pretend: what a trial is worth is a known function of its settings."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fsgl
from fsgl.commands.cli import main
from fsgl.comparison.entries import label_of, ranked_with
from fsgl.comparison.grid import Cell, Word, run_grid
from fsgl.comparison.settings_file import images_of, read_settings, settings_of, shared_by, tuned
from fsgl.comparison.tune import FAILURES, Budget, Study, work
from fsgl.data.draw.split import carve_validation
from fsgl.errors import UserError
from fsgl.files import write_json
from fsgl.methods import METHODS
from fsgl.recipes import RECIPES, make_experiment
from fsgl.recipes.experiment import Experiment, override, setting_names
from fsgl.recipes.on_data import experiment_on
from fsgl.recipes.tuning import how_set, search_space, value_of
from fsgl.runs.saved import read_experiment


def worth(experiment: Experiment) -> float:
    """Highest at lr = 0.03."""
    return 80 - 10 * abs(math.log10(experiment.schedule.lr / 0.03))


class Pretended:
    """fails: run folders whose training ends without a result."""

    def __init__(self, *fails: str) -> None:
        self.fails, self.trained = fails, list[str]()

    def __call__(self, command: list[str], log: Path, environment: Mapping[str, str]):
        where = Path(command[command.index("--run") + 1])
        experiment = read_experiment(Path(command[command.index("--from") + 1]))
        self.trained.append(f"{where.parent.name}/{where.name}")
        if self.trained[-1] in self.fails:
            log.write_text("fsgl: training diverged\n")
            return (lambda: 1), lambda: None
        where.mkdir(parents=True)
        value = worth(experiment) + experiment.data.val_fold  # no test figure at all: nothing may ask for one
        row = {"epoch": 0, "lr": 0.1, "loss": {}, "seconds": 30.0, "images": 1, "test": None}
        row["val"] = {"balanced": value}
        (where / "metrics.jsonl").write_text(json.dumps(row) + "\n")
        (where / "model.safetensors").write_bytes(b"heavy")
        record = {"settings": experiment.to_json(), "data": {"split_hash": "f"}, "class_names": [], "class_counts": [],
                  "status": "complete"}  # fmt: skip
        (where / "experiment.json").write_text(json.dumps(record))
        return (lambda: 0), lambda: None


def study(recipe: str, runs: Path, budget: Budget, folds: int = 1, *data: str) -> Study:
    return Study(recipe, make_experiment(recipe, *(data or ["digits"])), runs / recipe, budget, folds)


def tune(studies: list[Study], launch: Pretended, stop_after: int | None = None) -> None:
    cells: list[Cell] = []
    fill = work(studies, cells, 2)
    fill()
    for number, _ in enumerate(run_grid(cells, ["cpu", "cpu"], [], 1, launch), start=1):
        fill()
        if number == stop_after:
            return


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


def test_the_settings_file_is_what_a_comparison_takes(tmp_path: Path) -> None:
    path, found = tmp_path / "tuned.json", study("ldam-drw", tmp_path, Budget(trials=3))
    tune([found], Pretended())
    write_json(path, settings_of([found]))
    content = read_settings(path)
    experiment = tuned(found.base, content, path)
    assert experiment.schedule.lr == found.best.settings["schedule.lr"]
    assert (experiment.tuning.budget, experiment.tuning.trials, experiment.tuning.on) == ("3 trials", 3, "validation")
    assert how_set(experiment, found.base) == "tuned, 3 trials on validation"
    assert Experiment.from_json(experiment.to_json(), "x") == experiment
    assert experiment.hash != found.base.hash
    with pytest.raises(UserError, match=r"no settings for lws \(only ldam-drw\)"):
        tuned(make_experiment("lws", "digits"), content, path)
    with pytest.raises(UserError, match=r"tuned for .*=40, and this comparison has .*=7"):
        tuned(override(found.base, "optim.epochs=7"), content, path)
    frozen = ("backbone=timm:tf_efficientnet_lite0", "transfer.weights=package", "transfer.train=heads")
    of_views = override(found.base, *frozen, "transfer.cached_views=2")
    content["of"] |= {name: shared_by(of_views)[name] for name in content["of"]}
    with pytest.raises(UserError, match=r"tuned for transfer\.cached_views=0, and this comparison has .*=2"):
        tuned(of_views, content, path)
    photos = study("lws", tmp_path / "photos", Budget(trials=1), 1, "own", str(tmp_path / "photos"))
    tune([photos], Pretended())
    content = settings_of([photos])
    for change in ("data.test_seed=1", f"data.root={tmp_path / 'pictures'}"):
        with pytest.raises(UserError, match=r"was tuned for data\.t.*, and this comparison has"):
            tuned(override(photos.base, change), content, path)
    path.write_text("{}")
    with pytest.raises(UserError, match="no settings of fsgl tune"):
        read_settings(path)
    runs = [{"settings": each.to_json(), "data": {"split_hash": "f"}} for each in (found.base, experiment)]
    assert ranked_with(runs[0]) != ranked_with(runs[1]), "rows of different kinds stand apart"
    assert [label_of(run) for run in runs] == ["ldam-drw", "ldam-drw+tuned"]


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


@pytest.mark.parametrize(
    "damage",
    [lambda c: c.pop("of"), lambda c: c.update(of=[]), lambda c: c["recipes"].update(crt=3), lambda c: c.pop("budget"),
     lambda c: c["recipes"]["crt"].update(of=[1]), lambda c: c["recipes"]["crt"].update(of=None),
     lambda c: c["recipes"]["crt"].update(settings=[1]), lambda c: c["recipes"]["crt"].update(trials=3),
     lambda c: c["recipes"]["crt"].update(trials=[]), lambda c: c["recipes"]["crt"].update(settings={"nothing": 1}),
     lambda c: c["recipes"]["crt"].pop("settings"), lambda c: c.update(budget=" trials"), lambda c: c.update(on=None)],
)  # fmt: skip
def test_settings_that_are_damaged_get_one_line(tmp_path: Path, damage, capsys) -> None:
    found = study("crt", tmp_path, Budget(trials=1))
    tune([found], Pretended())
    content, path = json.loads(json.dumps(settings_of([found]))), tmp_path / "tuned.json"
    damage(content)
    path.write_text(json.dumps(content))
    words = ["crt", "--data", "digits", "--settings", str(path), "--runs", str(tmp_path / "runs")]
    assert main(["compare", *words]) == 2
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    assert str(path) in said
    assert not (tmp_path / "runs").exists()


def test_tuned_settings_are_for_the_weights_and_the_optimiser(tmp_path: Path) -> None:
    found = study("crt", tmp_path, Budget(trials=1))
    tune([found], Pretended())
    content, path = settings_of([found]), tmp_path / "tuned.json"
    with pytest.raises(UserError, match=r"was tuned for optim\.kind=sgd, and this comparison has optim\.kind=adamw"):
        tuned(override(found.base, "optim.kind=adamw"), content, path)
    for name in ("a", "b", "copy"):
        (tmp_path / name).write_text(name[0])
    begins = [override(found.base, f"transfer.weights={tmp_path / name}") for name in ("a", "b", "copy")]
    with pytest.raises(UserError, match=r"tuned for transfer\.weights=None, and this .*=file [0-9a-f]"):
        tuned(begins[0], content, path)
    (tmp_path / "c").write_text("a")
    moved = override(found.base, f"transfer.weights={tmp_path / 'c'}")
    assert shared_by(begins[0]) == shared_by(moved) != shared_by(begins[1])
    with pytest.raises(UserError, match="no such file"):
        shared_by(override(found.base, f"transfer.weights={tmp_path / 'missing'}"))


def folder_of(where: Path, first: int, classes: str = "ab") -> Path:
    """Small images of one value each, a folder a class."""
    for name in classes:
        (where / name).mkdir(parents=True)
        for number in range(12):
            Image.new("L", (8, 8), first + number).save(where / name / f"{number}.png")
    return where


def test_other_images_of_the_same_name_are_refused(tmp_path: Path, monkeypatch, capsys) -> None:
    @contextlib.contextmanager
    def launcher(options):
        yield Pretended(), ["cpu"]

    monkeypatch.setattr("fsgl.commands.tune.grid_launcher", launcher)
    mine, runs = folder_of(tmp_path / "one" / "photos", 10), tmp_path / "tuning"
    tuning = ["--scratch", "--trials", "1", "--runs", str(runs)]
    assert main(["tune", "crt", "--data", str(mine), *tuning]) == 0
    settings = ["--settings", str(runs / "tuned.json"), "--scratch", "--runs", str(tmp_path / "runs"), "--seeds", "1"]
    others = [folder_of(tmp_path / "two" / "photos", 70), folder_of(tmp_path / "three" / "photos", 10, "abc")]
    capsys.readouterr()
    for other in others:
        assert main(["compare", "crt", "--data", str(other), *settings]) == 2
        said = capsys.readouterr().err.strip()
        assert len(said.splitlines()) == 1
        assert "was tuned on other images: 24 for training of 2 classes" in said
        with pytest.raises(UserError, match="was tuned on other images"):
            fsgl.compare(["crt"], other, tuned=runs / "tuned.json", runs=tmp_path / "runs", show=False)
        assert main(["tune", "crt", "--data", str(other), *tuning]) == 2
        assert "has trials on other images" in capsys.readouterr().err
    moved = tmp_path / "elsewhere" / "photos"
    shutil.copytree(mine, moved)
    for same in (mine, moved):
        base, source = experiment_on("crt", str(same), {}, ["data.val=0.2"], scratch=True)
        path = runs / "tuned.json"
        assert tuned(base, read_settings(path), path, images_of(source)).tuning.trials == 1, "whatever the shares are"
    assert not (tmp_path / "runs").exists()


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
