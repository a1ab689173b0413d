"""What the README may show, and what is said of short runs; the horizon's page from its rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benchmarks.pages.front import NONE_YET, front_part
from benchmarks.pages.fsm import fsm_page
from benchmarks.pages.horizon import horizon_page

from fsgl.comparison.entries import make_entries
from fsgl.comparison.tables import accuracy_table
from fsgl.recipes import make_experiment
from fsgl.recipes.budget import budget_note, fc_cb_budget
from fsgl.recipes.experiment import override

COUNTS = [5000, 2000, 500]
ENVIRONMENT = {"processor": "CPU X", "threads": 1, "versions": {"torch": "2.11"}}


def record(recipe: str, seed: int, accuracy: float, epochs: int = 60, data: str = "cifar10") -> dict[str, Any]:
    settings = override(make_experiment(recipe, data), f"optim.epochs={epochs}", f"seed={seed}").to_json()
    del settings["data"]["root"]
    groups = {"many": accuracy + 9, "medium": accuracy, "few": accuracy - 9}
    scores = {"balanced": accuracy, "top1": accuracy, **groups, "ece": 1.0}
    gains = {"predict": 0, "fc": 0, "fc minus log prior": 5, "fc, rows of length 1": 3}
    heads = {head: {"balanced": accuracy + by, "many": 1.0, "medium": 2.0, "few": None} for head, by in gains.items()}
    content = {
        "settings": settings, "class_counts": COUNTS, "train_seconds": 7200.0, "heads": heads, "adjustment": None,
        "norms": {"many": 3.0 + seed, "medium": 2.0, "few": None},
        "calibration": {"ece": 30.0, "ece_at_temperature": 4.0 + seed, "temperature": 0.5},
        "data": {"split_hash": "f" * 64, "train": 555, "test": 99, "largest_class": 500, "smallest_class": 5},
        "cost": {"passes_per_step": 4, "backbone_parameters": 10, "multiply_adds_per_image": 10},
        "epochs": [{"epoch": 0, "val": None, "test": scores}],
    }  # fmt: skip
    return {"content": content, "environment": ENVIRONMENT}


def rows_of(page: str) -> dict[str, list[str]]:
    lines = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| :--")]
    return {cells[0]: cells[1:] for line in lines if (cells := [cell.strip() for cell in line.strip("|").split("|")])}


def test_readme_shows_trained_methods_of_three_seeds_and_post_hoc_rows(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    records = [record("cross-entropy", seed, 60.0 + seed) for seed in range(3)]
    records += [record("fsgl", seed, 70.0 + seed) for seed in range(3)]
    records += [record("glmc", seed, 90.0) for seed in range(2)]  # a seed too few
    part = front_part([("cell", records)], tmp_path)
    rows = rows_of(part)
    assert list(rows)[1:] == [
        "fsgl", "cross-entropy, minus log prior (post hoc)", "cross-entropy, tau-norm (post hoc)", "cross-entropy",
    ]  # fmt: skip
    assert rows["fsgl"] == ["4", "71.0 ± 2.5", "2.0"]
    assert rows["cross-entropy, minus log prior (post hoc)"] == ["0", "66.0 ± 2.5", "–"]
    assert "glmc" not in rows
    assert "resnet34, 60 epochs, trained from scratch" in part
    assert "over 3 seeds" in part
    assert (tmp_path / "results-resnet34.svg").exists()


def test_readme_shows_data_sets_side_by_side(tmp_path: Path) -> None:
    both = [
        (data, [record(recipe, seed, of + seed, data=data) for recipe, of in scores.items() for seed in range(3)])
        for data, scores in (
            ("cifar10", {"cross-entropy": 60.0, "fsgl": 70.0}), ("cifar100", {"glmc": 40.0, "fsgl": 30.0}),
        )
    ]  # fmt: skip
    part = front_part(both, tmp_path)
    assert part.count("![") == part.count("| method |") == 1
    rows = rows_of(part)
    assert rows["method"] == ["passes", "cifar10 IF 100", "hours", "cifar100 IF 100", "hours"]
    assert rows["fsgl"] == ["4", "71.0 ± 2.5", "2.0", "31.0 ± 2.5", "2.0"]
    assert rows["cross-entropy"][3:] == ["–", "–"]
    assert list(rows)[1:] == [  # by the first, then by the second
        "fsgl", "cross-entropy, minus log prior (post hoc)", "cross-entropy, tau-norm (post hoc)", "cross-entropy",
        "glmc",
    ]  # fmt: skip


def test_a_gpus_runs_have_minutes_and_stand_beside_the_same_runs_of_a_cpu(tmp_path: Path) -> None:
    gpu = {**ENVIRONMENT, "device": "GPU Y", "precision": "tf32"}
    fast = [{**record("fsgl", seed, 71.0 + seed), "environment": gpu} for seed in range(3)]
    slow = [record("fsgl", 0, 70.2), record("glmc", 0, 60.0)]
    for number, each in enumerate((*fast, *slow)):
        each["content"] |= {"hash": f"{number % 3}", "sessions": [{"jobs": 14}]}
        each["content"]["cost"]["multiply_adds_per_image"] = 10**7
    slow[1]["content"]["hash"] = "another"
    part = front_part([("on a GPU", fast), ("on a CPU", slow)], tmp_path)
    rows = rows_of(part)
    assert rows["method"][-1] == "TMAC"
    assert rows["fsgl"] == ["4", "72.0 ± 2.5", "4"]  # 60 epochs x 4 passes x 555 images x 10^7 x 3
    assert "(up to 14 runs at a time shared one GPU Y, so that seconds say little)" in part
    slower = [record("fsgl", seed, 60.0 + seed) for seed in range(3)]
    for each in slower:
        each["content"]["hash"] = "none of those"
    both = front_part([("on a GPU", fast), ("on a CPU", slower)], tmp_path)
    assert "docs/results-resnet34.svg" in both
    assert "docs/results-resnet34-2.svg" in both  # a table and a figure each
    beside = "The same runs on a CPU (CPU X, 1 thread a run, beside other work), with the GPU's figure: fsgl, seed 0: "
    assert beside + "70.2 in 2.0 h (71.0). On average the GPU's are +0.8" in part


@pytest.mark.parametrize(("epochs", "data", "seeds"), [(39, "cifar10", 3), (60, "digits", 3), (60, "cifar10", 2)])
def test_readme_shows_nothing_untrained(tmp_path: Path, epochs: int, data: str, seeds: int) -> None:
    records = [record("fsgl", seed, 70.0, epochs, data) for seed in range(seeds)]
    assert front_part([("cell", records)], tmp_path) == NONE_YET
    assert not list(tmp_path.iterdir())


def test_short_runs_say_how_little_their_classifier_was_trained() -> None:
    run = record("fsgl", 0, 3.0, epochs=8)["content"]
    short = fc_cb_budget(override(make_experiment("fsgl", "cifar10"), "optim.epochs=8"), COUNTS)
    note = budget_note([record("cross-entropy", 0, 40.0, epochs=8)["content"], run])
    assert note is not None
    assert f"as {short:.0f} steps at full rate" in note
    table = accuracy_table(make_entries([run, record("fsgl", 1, 3.0, epochs=8)["content"]]), "a comparison")
    assert note in table.notes
    assert budget_note([record("cross-entropy", 0, 40.0, epochs=8)["content"]]) is None  # has no such classifier
    pretrained = {**run["settings"], "transfer": {**run["settings"]["transfer"], "weights": "package"}}
    assert budget_note([{**run, "settings": pretrained}]) is None  # good features need few steps
    assert budget_note([record("fsgl", 0, 40.0)["content"]]) is None


def test_fsm_page_answers_from_trained_runs_and_shows_lengths_and_calibration() -> None:
    noise = (0.3, -0.2, 0.1)
    trained = [record("glmc-sam", seed, 70.0) for seed in range(3)]
    trained += [record("fsgl", seed, 75.0 + noise[seed]) for seed in range(3)]
    short = [record("glmc-sam", seed, 9.0, 8) for seed in range(2)]
    short += [record("fsgl", seed, 3.0 + noise[seed], 8) for seed in range(2)]
    page = fsm_page([("long", trained), ("brief", short)])
    assert "**Networks trained from scratch: Yes, where it was seen. Of 1 comparison" in page
    before, after = page.split("## Runs too short to say anything")
    assert "brief" not in before
    assert "brief" in after
    assert "steps at full rate" in after
    rows = rows_of(before)
    assert rows["many"][1] == "+5.1"
    assert rows["few"][1] == "+5.1"
    assert rows["long: fsgl"] == ["3", "30.0", "5.0", "0.50"]  # the calibration, the last table
    assert "| long: fsgl | 3 | 4.00 | 2.00 | – |" in before
    assert "| long: fsgl | 3 | 75.1 | 75.1 | 80.1 |" in before  # fc_cb, fc, fc minus log prior


def test_horizon_says_from_when_on_a_method_is_ahead(tmp_path: Path) -> None:
    def row(recipe: str, epochs: int, seed: int, accuracy: float) -> dict[str, Any]:
        heads = {name: {"balanced": accuracy + seed} for name in ("predict", "fc", "fc minus log prior")}
        look = {"heads": heads, "calibration": {"ece": 9.0, "ece_at_temperature": 2.0}}
        return {"recipe": recipe, "epochs": epochs, "seed": seed, "fc_cb_budget": epochs / 4, **look}

    scores = {"cross-entropy": (70, 80), "glmc": (60, 85), "glmc-sam": (50, 79), "fsgl": (71, 81)}
    rows = [row(name, epochs, seed, of[i]) for name, of in scores.items() for i, epochs in enumerate((10, 40))
            for seed in range(2)]  # fmt: skip
    page = horizon_page({"content": {"rows": rows}, "environment": ENVIRONMENT}, tmp_path)
    assert "glmc is behind cross-entropy up to 10 epochs and ahead from 40 on." in page
    assert "glmc-sam stays behind cross-entropy at every length measured." in page
    assert "fsgl is ahead of cross-entropy at every length measured." in page
    assert "2.5 (10 epochs), 10.0 (40 epochs)" in page
    assert "| glmc | 60.5 ± 6.4 | 85.5 ± 6.4 |" in page
    assert (tmp_path / "horizon.svg").exists()
    assert "Nothing is measured yet" in horizon_page(None, tmp_path)
