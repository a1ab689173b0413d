from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.pages.leaderboard import of_today, tuning_table
from benchmarks.pages.results import BEGIN, END, results_sections, write_pages
from benchmarks.pages.which import which_page

from fsgl.comparison.entries import make_entries
from fsgl.errors import UserError
from fsgl.recipes import RECIPES, make_experiment
from fsgl.recipes.experiment import Experiment, override
from fsgl.report.records import write_record
from fsgl.report.table import EMPTY

ROOT = Path(__file__).resolve().parents[3]


def run_record(
    folder: Path, recipe: str, seed: int, last: float, best: float, epochs: int = 2, rho: float = 0.05,
    status: str = "complete", device: str = "cpu",
) -> None:  # fmt: skip
    def scores(top1: float) -> dict:
        return {"top1": top1, "balanced": top1, "many": top1 + 1, "medium": top1, "few": None, "ece": 5.0}

    content = {
        "status": status,
        "settings": {
            "method": {"name": "glmc"}, "sam": {"rho": rho},
            "recipe": recipe, "seed": seed, "backbone": "resnet8-slim",
            "data": {"name": "digits", "imbalance_factor": 20.0, "draw": "ldam", "val": 0.0},
            "optim": {"epochs": epochs, "batch_size": 32, "weight_decay": 0.1}, "schedule": {"lr": 0.1},
        },
        "data": {"split_hash": "f" * 64, "train": 500, "test": 500, "largest_class": 124, "smallest_class": 6},
        "cost": {"passes_per_step": 4, "backbone_parameters": 74640, "multiply_adds_per_image": 10**6},
        "train_seconds": 60.0,
        "epochs": [{"epoch": i, "val": None, "test": scores(top1)} for i, top1 in enumerate((best, last))],
    }  # fmt: skip
    environment = {"processor": "CPU X", "threads": 1, "versions": {"torch": "2.11"}, "device": device}
    environment["commit"] = "c" * 40
    write_record(folder, "run", f"{recipe}-{seed}-{epochs}-{rho}-{device}", "fsgl train", environment, content)


def test_pages_show_means_ranges_and_keep_comparisons_apart(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    results = tmp_path / "results"
    for seed, (last, best) in enumerate([(70.0, 75.0), (80.0, 81.0)]):
        run_record(results, "fsgl", seed, last, best)
        run_record(results, "glmc", seed, last + 2, best)
    run_record(results, "glmc", 0, 99.0, 99.0, epochs=200)
    (tmp_path / "README.md").write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_pages(tmp_path)
    readme = (tmp_path / "README.md").read_text()
    assert readme.startswith("before\n")
    assert readme.endswith("after\n")
    assert "old" not in readme
    page = (tmp_path / "docs" / "results.md").read_text()
    fsgl = next(line for line in page.splitlines() if line.startswith("| fsgl"))
    assert [cell.strip() for cell in fsgl.strip("|").split("|")] == [
        "fsgl", "75.0 ± 63.5", "2", "76.0", "75.0", EMPTY, EMPTY, EMPTY, "5.0", "4", "60", EMPTY, "78.0",
    ]  # fmt: skip
    tables = page.split("**digits, imbalance factor 20, resnet8-slim, ")
    assert len(tables) == 3, "runs of other epochs stand in a table of their own"
    assert page.index("| glmc") < page.index("| fsgl")  # by accuracy, within the table
    write_pages(tmp_path)
    assert (tmp_path / "README.md").read_text() == readme, "generating twice changes nothing"


def test_runs_of_a_gpu_stand_apart(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    for seed in range(2):
        run_record(tmp_path / "results", "fsgl", seed, 50.0 + seed, 50.0)
        run_record(tmp_path / "results", "fsgl", seed, 70.0 + seed, 70.0, device="GPU Y")
    slow, fast = results_sections(tmp_path / "results")
    assert ("50.5" in slow, "GPU Y" in slow) == (True, False)
    assert ("70.5" in fast, "50.5" in fast, "GPU Y" in fast) == (True, False, True)


def test_readme_without_markers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("hello")
    with pytest.raises(UserError, match="markers"):
        write_pages(tmp_path)


def test_committed_pages_are_what_the_records_give(tmp_path: Path) -> None:
    """A figure typed by hand, or a record added without ``make docs``, fails here."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "results").symlink_to(ROOT / "results")
    (tmp_path / "README.md").write_text((ROOT / "README.md").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "src" / "fsgl" / "recipes").mkdir(parents=True)
    for path in write_pages(tmp_path):
        committed = ROOT / path.relative_to(tmp_path)
        assert committed.read_text(encoding="utf-8") == path.read_text(encoding="utf-8"), f"{committed}: run make docs"


def test_runs_of_other_settings_are_not_averaged(tmp_path: Path) -> None:
    results = tmp_path / "results"
    run_record(results, "fsgl", 0, 70.0, 70.0)
    run_record(results, "fsgl", 0, 90.0, 90.0, rho=0.5)
    (section,) = results_sections(results)
    rows = [line for line in section.splitlines() if line.startswith("| fsgl")]
    assert [row.split("|")[2].strip() for row in rows] == ["90.0", "70.0"]


def test_run_that_did_not_end_is_refused(tmp_path: Path) -> None:
    run_record(tmp_path, "fsgl", 0, 70.0, 70.0, status="stopped after 3 steps")
    with pytest.raises(UserError, match="not complete"):
        results_sections(tmp_path)


def test_every_recipe_says_its_command_and_results() -> None:
    for name, recipe in RECIPES.items():
        first, *rest = (recipe.__doc__ or "").strip().splitlines()
        assert first
        assert f"Command: fsgl train {name} --data cifar100 --val 0" in rest
        assert any(line.startswith("Published: ") for line in rest)
        assert any(line.startswith("Ours: ") for line in rest)
    assert "Published: CIFAR-10-LT IF 50 92.2, IF 100 89.3" in (RECIPES["fsgl"].__doc__ or "")
    assert "Ours: digits, imbalance factor 20, resnet8-slim, 40 epochs: " in (RECIPES["cross-entropy"].__doc__ or "")


def test_the_leaderboard_is_of_todays_recipes() -> None:
    """A record of other settings, or from before a setting that changed what is trained, is obsolete."""

    def record(experiment: Experiment, **changes: object) -> dict:
        settings = experiment.to_json()
        settings["data"].pop("root")
        settings["method"] = {k: v for k, v in settings["method"].items() if k not in changes}
        return {"name": "x", "content": {"settings": settings, "hash": experiment.hash if not changes else "0" * 16}}

    made = make_experiment("lws", "digits")
    records = [record(made), record(override(made, "method.second=0.2")), record(made, bias="was not there")]
    assert [each["content"]["settings_from"] for each in of_today(records)] == ["published"]
    assert of_today(records)[0]["content"]["settings"] == records[0]["content"]["settings"]


def test_what_to_use_says_what_is_told_apart() -> None:
    def runs(recipe: str, values: tuple[float, ...]) -> list[dict]:
        scores = [{"top1": value, "balanced": value, "ece": 1.0 + len(recipe)} for value in values]
        return [
            {"content": {
                "settings": {
                    "method": {"name": recipe}, "sam": {}, "recipe": recipe, "seed": seed, "backbone": "x",
                    "data": {"name": "digits"}, "optim": {"weight_decay": 0.1}, "schedule": {"lr": 0.1},
                },
                "data": {"split_hash": "f"}, "epochs": [{"test": each}],
            }}
            for seed, each in enumerate(scores)
        ]  # fmt: skip

    records = [*runs("cross-entropy", (70.0, 71.0, 72.0)), *runs("balanced-softmax", (75.0, 76.1, 77.0)),
               *runs("mixup", (69.0, 72.0, 75.0)), *runs("crt", (80.0, 80.0))]  # fmt: skip
    page = which_page([("digits, 40 epochs", records)])
    line = {row.split("|")[1].strip()[:12]: row for row in page.splitlines() if row.startswith("| ")}
    assert "**+5.0 \\[" in line["you train, a"]
    assert "mixup +1.0" in line["mixing alone"]
    assert "| – |" in line["you can trai"], "two seeds say too little"
    assert "mixup 6.0" in line["probabilitie"]
    assert line["a network is"].count("–") == 1  # nobody adjusted a run
    for number, record in enumerate(records[:3]):  # but the records of these hold what it would give
        record["content"]["heads"] = {
            "fc minus log prior": {"balanced": 80.0 + 1.1 * number},
            "fc, rows of length 1": {"balanced": 75.5 + number},
        }  # fmt: skip
    page = which_page([("digits, 40 epochs", records)])
    line = {row.split("|")[1].strip()[:12]: row for row in page.splitlines() if row.startswith("| ")}
    assert "+10.1" in line["a network is"]
    assert "tau-norm" in line["or its class"].split("|")[2]
    assert "+5.5" in line["or its class"]
    assert "mixup 6.0" in line["probabilitie"]  # of those whose error is known


def test_tuned_and_as_it_comes_stand_side_by_side_at_equal_seeds() -> None:
    def runs(recipe: str, values: tuple[float, ...], epochs: int = 2, tuned: bool = False) -> list[dict]:
        tuning = {"tuning": {"budget": "6 trials", "trials": 6, "on": "validation"}} if tuned else {}
        return [
            {
                "settings": {
                    "method": {"name": recipe}, "sam": {}, "recipe": recipe, "seed": seed, "backbone": "x",
                    "data": {"name": "digits"}, "optim": {"weight_decay": 0.1, "epochs": epochs},
                    "schedule": {"lr": 0.5 if tuned else 0.1}, **tuning,
                },
                "data": {"split_hash": "f"}, "epochs": [{"test": {"top1": value, "balanced": value, "ece": 1.0}}],
                "settings_from": "tuned, 6 trials" if tuned else "published",
            }
            for seed, value in enumerate(values)
        ]  # fmt: skip

    plain, better = runs("cross-entropy", (70.0, 71.0, 72.0)), runs("cross-entropy", (73.0, 73.5, 75.0), tuned=True)
    longer = runs("focal", (90.0, 90.0), epochs=9)
    groups = [[*plain, *runs("focal", (60.0, 61.0))], [*better, *runs("crt", (1.0, 2.0), tuned=True)], longer]
    entries = [entry for group in groups for entry in make_entries(group)]
    table = tuning_table(entries)
    assert table is not None
    (row,) = table.rows
    assert [cell.split(" ")[0] for cell in row] == ["cross-entropy", "3", "71.0", "73.8", "+2.8", "tuned,"]
    assert tuning_table(make_entries(plain)) is None
    views = {"transfer": {"cached_views": 2}}
    others = [[{**run, "settings": {**run["settings"], **views}} for run in group] for group in (plain, better)]
    table = tuning_table([*entries, *(entry for group in others for entry in make_entries(group))])
    assert table is not None
    assert [row[0] for row in table.rows] == ["cross-entropy", "cross-entropy, 2 kept views"]

    def comparison(title: str, *runs: dict) -> tuple[str, list[dict]]:
        return title, [{"content": run} for run in runs]

    page = which_page([
        comparison("digits", *plain, *runs("focal", (72.0, 72.0, 72.0))),
        comparison("digits, tuned", *better, *runs("focal", (71.5, 72.0, 71.5), tuned=True)),
    ])  # fmt: skip
    (said,) = [line for line in page.splitlines() if line.startswith("Tuning (digits; ")]
    assert "6 trials for each of 2 methods, on validation" in said
    assert "by -0.3 (focal) to +2.8 (cross-entropy) points, on average by +1.2; 1 of the 2 changes are" in said
    assert "focal is highest as they come (72.0), cross-entropy when tuned (73.8)" in said
    seen = [{**run, "settings": {**run["settings"], "data": {"name": "digits", "view": "whole"}}} for run in plain]
    page = which_page([comparison("digits", *seen), comparison("digits, tuned", *better)])
    assert "Tuning (" not in page, "shown otherwise at test: what differs is not the tuning alone"
