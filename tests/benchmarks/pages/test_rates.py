"""Rows that differ in rate, decay or version say so below their table."""

from __future__ import annotations

from typing import Any

from benchmarks.pages.rates import rates_note, tuning_note, versions_note


def record(
    recipe: str, lr: float = 0.1, torch: str = "2.14.1", tuned: bool = False, backbone: str = "x"
) -> dict[str, Any]:
    tuning = {"tuning": {"budget": "4 trials", "trials": 4, "on": "validation"}} if tuned else {}
    settings = {
        "recipe": recipe, "method": {"name": recipe}, "sam": {}, "schedule": {"lr": lr},
        "optim": {"weight_decay": 0.01}, "backbone": backbone, **tuning,
    }  # fmt: skip
    return {"environment": {"versions": {"torch": torch}}, "content": {"settings": settings}}


def test_rows_of_one_rate_and_one_version_need_no_note() -> None:
    records = [record("glmc"), record("crt"), record("crt", 0.5, tuned=True)]
    assert rates_note([each["content"] for each in records]) is None
    assert versions_note(records) is None


def test_rows_that_differ_are_named() -> None:
    note = rates_note([record("glmc")["content"], record("crt", 0.5)["content"], record("lws", 0.5)["content"]])
    assert note is not None
    assert "0.1 and 0.01 (glmc); 0.5 and 0.01 (crt, lws)" in note
    assert "searched" not in note, "of another network nothing was"
    own = [record(recipe, lr, backbone="resnet8-lite") for recipe, lr in (("glmc", 0.1), ("crt", 0.5))]
    assert "CIFAR-10-LT" in (rates_note([each["content"] for each in own]) or "")
    said = versions_note([record("glmc"), record("crt", torch="2.15.0"), record("lws", torch="2.15.0")])
    assert said is not None
    assert "2.14.1 (glmc); 2.15.0 (crt, lws)" in said


def test_how_rows_were_tuned_is_told_from_the_record() -> None:
    own = {"schedule.lr": 0.02, "optim.weight_decay": 0.003}
    recipes: dict[str, dict[str, Any]] = {
        "crt": {"of": {"transfer.cached_views": 2}, "space": {**own, "method.second": ""}},
        "cutmix": {"space": own},
    }
    for recipe in recipes.values():
        recipe["trials"] = [{"settings": own}]
    content = {"of": {}, "budget": "7 trials", "on": "3 folds", "recipes": recipes}
    assert tuning_note({"content": content}) == (
        "Tuned with 2 kept views: 7 trials for each of 2 methods, judged by 3 folds; the first has the recipe's rate "
        "0.02 and decay 0.003. Of cutmix these two alone were searched."
    )
