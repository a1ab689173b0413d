"""What tuned settings are for: a comparison with anything else refuses them; and files that are damaged."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.comparison.pretended import Pretended, study, tune

import fsgl
from fsgl.commands.cli import main
from fsgl.comparison.entries import label_of, ranked_with
from fsgl.comparison.settings_file import images_of, read_settings, settings_of, shared_by, tuned
from fsgl.comparison.tune import Budget
from fsgl.data.images.sources import ImageFiles
from fsgl.data.load import BOTH, MIDDLE
from fsgl.errors import UserError
from fsgl.files import write_json
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import Experiment, override
from fsgl.recipes.on_data import experiment_on
from fsgl.recipes.tuning import how_set


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
    view = f"data.view={MIDDLE if photos.base.data.view == BOTH else BOTH}"
    for change in ("data.test_seed=1", f"data.root={tmp_path / 'pictures'}", view):
        with pytest.raises(UserError, match=r"was tuned for data\.[tv].*, and this comparison has"):
            tuned(override(photos.base, change), content, path)
    path.write_text("{}")
    with pytest.raises(UserError, match="no settings of fsgl tune"):
        read_settings(path)
    runs = [{"settings": each.to_json(), "data": {"split_hash": "f"}} for each in (found.base, experiment)]
    assert ranked_with(runs[0]) != ranked_with(runs[1]), "rows of different kinds stand apart"
    assert [label_of(run) for run in runs] == ["ldam-drw", "ldam-drw+tuned"]


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


def test_photographs_are_known_by_their_sizes_too(tmp_path: Path) -> None:
    """Two cameras number their files alike; what they hold differs, and so do bytes."""
    found = []
    for number in (0, 1):
        drawn = np.random.default_rng(number)
        for label in "ab":
            for k in range(6):
                path = tmp_path / str(number) / "photos" / label / f"{k:04}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                height, width = drawn.integers(64, 90, 2)
                Image.fromarray(drawn.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
        _, source = experiment_on("crt", str(tmp_path / str(number) / "photos"), {}, [], scratch=True)
        assert source is not None
        assert isinstance(source.train, ImageFiles)
        found.append(images_of(source))
    assert found[0] != found[1]
