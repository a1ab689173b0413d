"""``fsgl.compare``: as many processes as ``fsgl compare`` starts, so one grid for all of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fsgl
from fsgl.comparison.entries import HEADLINE
from fsgl.errors import UserError

Tail = Callable[..., tuple[Any, Any]]
RECIPES = ["cross-entropy", "cross-entropy+logit-adjustment"]


@pytest.mark.slow
@pytest.mark.usefixtures("cells_forked")
def test_arrays_are_compared_and_can_be_looked_at_afterwards(tail: Tail, tmp_path: Path) -> None:
    (data, test), folder = tail(), tmp_path / "runs"
    settings: dict[str, Any] = {
        "test": test, "seeds": 2, "epochs": 1, "runs": folder, "device": "cpu", "show": False,
        "backbone": "resnet8-slim", "batch_size": 32, "lr": 0.1,
    }  # fmt: skip
    found = fsgl.compare(RECIPES, data, **settings)
    table = found.table()
    assert {row[0] for row in table.rows} == set(RECIPES)
    assert "logit-adjustment" in str(found.table("differences"))
    assert "<table>" in table._repr_html_()
    assert "<table>" in found._repr_html_()
    assert "&lt;table" not in found._repr_html_()
    assert (folder / "comparison.html").exists()
    assert found.failed == {}
    # Each run reads the one copy of the arrays, and knows the labels as they were given.
    assert sorted(path.parent for path in folder.rglob("arrays.npz")) == [folder]
    runs = found.runs
    assert runs.keys() == {(recipe, seed) for recipe in RECIPES for seed in (0, 1)}
    accuracies = [runs["cross-entropy", seed].metrics["balanced"] for seed in (0, 1)]
    (row,) = (row for row in table.rows if row[0] == "cross-entropy")
    assert row[table.headings.index(HEADLINE)].startswith(f"{np.mean(accuracies):.1f}")
    one = runs["cross-entropy", 1]
    assert 100 * np.mean(one.predict(test[0]) == test[1]) == pytest.approx(one.metrics["top1"])
    (difference,) = found.differences
    gained = [runs[RECIPES[1], seed].metrics["balanced"] - accuracies[seed] for seed in (0, 1)]
    assert difference["difference"] == pytest.approx(np.mean(gained))
    # The same call trains nothing again; other arrays do not mix with these.
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/*.safetensors")}
    assert str(fsgl.compare(RECIPES, data, **settings)) == str(found)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/*.safetensors")} == before
    with pytest.raises(UserError, match="runs on other arrays"):
        fsgl.compare(RECIPES, tail(40)[0], **settings)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"recipes": []}, "name the recipes"),
        ({"recipes": ["fsgll"]}, "did you mean 'fsgl'"),
        ({"recipes": ["glmc+tau-norm+prior"]}, "one adjustment at most"),
        ({"against": "glmc"}, "against='glmc'"),
        ({"recipes": None}, "recipes must be names"),
        ({"recipes": [3]}, "recipes must be names"),
        ({"seeds": 0}, "1 or more"),
        ({"seeds": [0, 1]}, "seeds is how many there are"),
        ({"seeds": "3"}, "seeds is how many there are"),
        ({"max_steps": 3}, "'max_steps' is for fsgl.train"),
        ({"device": "gpu"}, "device 'gpu'"),
        ({"data": (np.zeros((2, 4, 4)), [1, 1])}, "of one class"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(given: dict[str, Any], said: str, tmp_path: Path) -> None:
    asked = {"recipes": ["fsgl"], "data": "digits", "runs": tmp_path / "runs", "show": False, **given}
    with pytest.raises(UserError, match=said):
        fsgl.compare(**asked)
    assert not (tmp_path / "runs").exists()
