"""Which comparisons are of several data sets."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from tests.comparison.test_looks_and_cost import run

from fsgl.comparison.across import read_sets, report_across, sets_of
from fsgl.errors import UserError
from fsgl.files import write_json


def comparison(
    name: str, split: str, epochs: int = 40, factor: float | None = 20.0, **data: Any
) -> list[dict[str, Any]]:
    """Two recipes by two seeds."""
    runs = [copy.deepcopy(run(recipe, seed, 70.0 + seed + len(recipe), epochs=epochs))
            for recipe in ("cross-entropy", "crt") for seed in (0, 1)]  # fmt: skip
    for each in runs:
        each["settings"]["data"] |= {"name": name, "imbalance_factor": factor, **data}
        each["data"]["split_hash"] = split
    return runs


@pytest.mark.parametrize(
    "again",
    [
        comparison("digits", "a" * 64, epochs=20),
        comparison("digits", "b" * 64, epochs=20, val=0.2),
        comparison("digits", "b" * 64, epochs=20, draw="balanced"),
    ],
    ids=["other epochs", "other validation images", "another draw"],
)
def test_the_same_images_are_one_data_set(again: list[dict[str, Any]]) -> None:
    said = r"'digits IF 20, resnet8-slim, 40 epochs' and 'digits IF 20, .* 20 epochs' are of the same images"
    with pytest.raises(UserError, match=said):
        sets_of([comparison("digits", "a" * 64), again], "cross-entropy", ["a", "b"])


def test_other_images_are_another_data_set() -> None:
    groups = [
        comparison("digits", "a" * 64), comparison("digits", "b" * 64, factor=50.0), comparison("cifar10", "c" * 64),
        comparison("own", "d" * 64, factor=None), comparison("own", "e" * 64, factor=None),
    ]  # fmt: skip
    names = ["digits", "digits-50", "cifar", "photos", "mine"]
    report = report_across(sets_of(groups, "cross-entropy", names), "cross-entropy")
    assert [title.split(",")[0] for title in report.content["data_sets"]] == [
        "digits IF 20", "digits IF 50", "cifar10 IF 20", "photos", "mine"
    ]  # fmt: skip
    groups[-1] = comparison("own", "d" * 64, epochs=20, factor=None)
    with pytest.raises(UserError, match="are of the same images"):
        sets_of(groups, "cross-entropy", names)


def test_rows_at_equal_cost_are_no_data_set_of_their_own(tmp_path: Path) -> None:
    """Where the reference has one of its own, of more epochs."""
    runs = comparison("digits", "a" * 64)
    costly = [each for each in comparison("digits", "a" * 64, epochs=160) if each["settings"]["recipe"] != "crt"]
    for name, content in {"a": runs, "b": comparison("cifar10", "c" * 64)}.items():
        write_json(tmp_path / name / "comparison.json", {"runs": content, "at_equal_cost": 0})
    write_json(tmp_path / "a" / "comparison.json", {"runs": [*runs, *costly], "at_equal_cost": len(costly)})
    sets = read_sets([tmp_path / "a", tmp_path / "b"], "cross-entropy")
    assert [each.title.split(",")[0] for each in sets] == ["digits IF 20", "cifar10 IF 20"]
