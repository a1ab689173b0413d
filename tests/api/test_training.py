"""The front door: trained from Python as from the command line, and what is given is kept or refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

import fsgl
from fsgl.commands.cli import main
from fsgl.errors import UserError
from fsgl.runs.saved import read_history

Tail = Callable[..., tuple[Any, Any]]


def test_a_named_data_set_ends_in_the_bits_of_the_command_line(tmp_path: Path) -> None:
    typed = ["train", "fsgl", "--data", "digits", "--epochs", "1", "--device", "cpu", "--track", "none", "--seed", "3"]
    settings = ["--batch-size", "64", "--imbalance-factor", "50", "sam.rho=0.1", "method.beta=0.7"]
    assert main([*typed, *settings, "--run", str(tmp_path / "typed")]) == 0
    run = fsgl.train(
        "fsgl", "digits", epochs=1, seed=3, batch_size=64, imbalance_factor=50, sam__rho=0.1, run=tmp_path / "called",
        device="cpu", show=False, **{"method.beta": 0.7},
    )  # fmt: skip
    typed_weights, called = (load_file(tmp_path / name / "model.safetensors") for name in ("typed", "called"))
    assert typed_weights.keys() == called.keys()
    assert all(np.array_equal(typed_weights[name], called[name]) for name in called)
    assert run.record["hash"] == fsgl.load(tmp_path / "typed").record["hash"]
    assert run.metrics == read_history(tmp_path / "typed")[-1]["test"]


def test_a_path_is_what_it_is_to_the_command_line(
    tail: Tail, names: np.ndarray, quick: dict[str, Any], tmp_path: Path
) -> None:
    (images, words), _ = tail()
    for word in names[:3]:
        (tmp_path / "photos" / word).mkdir(parents=True)
        for place, image in enumerate(images[words == word][:12]):
            Image.fromarray((image * 255).astype(np.uint8)).save(tmp_path / "photos" / word / f"{place}.png")
    run = fsgl.train("cross-entropy", tmp_path / "photos", epochs=1, run=tmp_path / "run", test=0.25, val=0, **quick)
    assert run.class_names == tuple(sorted(names[:3]))
    assert (run.record["data"]["test"], run.record["data"]["val"]) == (9, 0)
    assert not (tmp_path / "run" / "arrays.npz").exists()
    assert run.predict(tmp_path / "photos" / "null").shape == (12,)
    with pytest.raises(UserError, match="test and class_names: data that are named"):
        fsgl.train("fsgl", tmp_path / "photos", test=tail()[1], class_names=["a"])


def test_the_command_line_goes_on_with_a_run_of_arrays(
    names: np.ndarray, run: fsgl.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(run.folder, moved)
    (run.folder / "arrays.npz").rename(run.folder / "hidden.npz")  # only what was moved with the run is there now
    try:
        assert main(["evaluate", str(moved), "--device", "cpu", "--json"]) == 0
        assert f'"balanced": {run.metrics["balanced"]}' in capsys.readouterr().out
        assert main(["adjust", str(moved), "tau-norm", "--value", "0.5", "--device", "cpu"]) == 0
    finally:
        (run.folder / "hidden.npz").rename(run.folder / "arrays.npz")
    adjusted = fsgl.load(f"{moved}+tau-norm")
    assert adjusted.classes.tolist() == run.classes.tolist() == sorted(names)


def test_arrays_that_are_not_kept_are_given_again(
    tail: Tail, quick: dict[str, Any], run: fsgl.Run, tmp_path: Path
) -> None:
    data, test = tail()
    folder = tmp_path / "run"
    bare = fsgl.train("cross-entropy", data, test=test, epochs=2, run=folder, keep_data=False, **quick)
    assert not (folder / "arrays.npz").exists()
    assert bare.record["hash"] == run.record["hash"]
    assert bare.metrics == run.metrics  # the same bits, kept or not
    assert bare.evaluate()["top1"] == run.metrics["top1"]
    with pytest.raises(UserError, match=r"arrays\.npz: no such file"):
        fsgl.load(folder).evaluate()
    assert fsgl.load(folder, data, test=test).evaluate()["top1"] == run.metrics["top1"]
    with pytest.raises(UserError, match="other images than these"):
        fsgl.load(folder, tail(50)[0], test=test)


def test_it_says_what_it_understood(
    tail: Tail, quick: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, _ = tail(20)
    fsgl.train("cross-entropy", data, epochs=1, run=tmp_path / "run", max_steps=1, **{**quick, "show": True})
    said = capsys.readouterr().out
    assert "cross-entropy on arrays, resnet8-slim, seed 0" in said
    assert "0 (black) to 1 (white)" in said
    assert "no test images of its own: 0.2 of each class set aside" in said


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lrr": 0.1}, "unknown setting 'lrr'"),
        ({"sam__roh": 0.1}, "did you mean 'sam.rho'"),
        ({"lr": "fast"}, "must be a finite number"),
        ({"device": "gpu"}, "device 'gpu' cannot be used"),
        ({"batch_size": 1}, "2 or more"),
        ({"recipe": "fsgll"}, "did you mean 'fsgl'"),
        ({"val": 2}, "below 1"),
        ({"time_budget": "10"}, "time_budget is in minutes"),
        ({"time_budget": [10]}, "time_budget is in minutes"),
        ({"time_budget": 0}, "time_budget is in minutes"),
    ],
)
def test_mistakes_leave_no_folder(
    tail: Tail, quick: dict[str, Any], settings: dict[str, Any], said: str, tmp_path: Path
) -> None:
    given = {"recipe": "fsgl", "data": tail(20)[0], "run": tmp_path / "run", **quick, **settings}
    with pytest.raises(UserError, match=said):
        fsgl.train(**given)
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_trained_over(tail: Tail, quick: dict[str, Any], run: fsgl.Run) -> None:
    before = (run.folder / "arrays.npz").stat().st_mtime_ns
    with pytest.raises(UserError, match="holds a run already"):
        fsgl.train("cross-entropy", tail(20)[0], run=run.folder, **quick)
    assert (run.folder / "arrays.npz").stat().st_mtime_ns == before


def test_an_unfinished_run_is_resumed_to_the_same_end(
    tail: Tail, quick: dict[str, Any], run: fsgl.Run, tmp_path: Path
) -> None:
    data, test = tail()
    begun = fsgl.train("cross-entropy", data, test=test, epochs=2, run=tmp_path / "run", max_steps=3, **quick)
    assert begun.status.startswith("stopped after 3 steps")
    ended = begun.resume(show=False)
    assert ended.status == "complete"
    assert ended.metrics == run.metrics
