from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
import scipy.stats

from fsgl.comparison.differences import compare_with
from fsgl.comparison.entries import best_on_test, best_on_validation, describe_shared, label_of, make_entries
from fsgl.comparison.tables import accuracy_table, differences_table, priors_table, reliability_table
from fsgl.evaluation.power import seeds_needed
from fsgl.recipes import make_experiment
from fsgl.report.table import EMPTY


def run(
    recipe: str, seed: int, last: float, *, earlier: tuple[float, float] = (50.0, 40.0), epochs: int = 2,
    adjustment: str | None = None, right: list[bool] | None = None, top1: float | None = None,
    class_images: list[int] | None = None, **changes: Any,
) -> dict[str, Any]:  # fmt: skip
    """earlier: test and validation accuracy of the epoch before the last.  top1: of the last, where it is another."""

    def scores(accuracy: float) -> dict[str, Any]:
        return {"top1": accuracy, "balanced": accuracy, "many": accuracy + 1, "medium": None, "few": 1.0, "ece": 5.0}

    return {
        "settings": {
            "recipe": recipe, "seed": seed, "method": {"name": recipe}, "sam": {"rho": 0.0}, "backbone": "resnet8-slim",
            "data": {"name": "digits", "imbalance_factor": 20.0, "draw": "ldam"}, "schedule": {"lr": 0.1},
            "optim": {"epochs": epochs, "batch_size": 32, "weight_decay": 0.1}, **changes,
        },
        "data": {"split_hash": "f" * 64},
        "cost": {"passes_per_step": 1},
        "adjustment": adjustment and {"name": adjustment},
        "train_seconds": 2.5,
        "epochs": [
            {"epoch": 0, "val": scores(earlier[1]), "test": scores(earlier[0])},
            {"epoch": 1, "val": scores(30.0), "test": {**scores(last), "top1": last if top1 is None else top1}},
        ],
        **({} if right is None else {
            "right": base64.b64encode(np.packbits(right).tobytes()).decode(), "n": len(right),
            "class_images": class_images,
        }),
    }  # fmt: skip


GRID = [run("ce", seed, value) for seed, value in enumerate((70.0, 72.0, 71.0))]
GRID += [run("fsgl", seed, value) for seed, value in enumerate((75.0, 76.5, 76.2))]


def test_runs_from_before_a_setting_was_renamed_or_added_are_of_the_same_row() -> None:
    earlier = run("fsgl", 0, 70.0, method={"name": "glmc", "beta": 0.5}, sam={"rho": 0.05, "climb": "global"})
    now = run("fsgl", 1, 71.0, method={"name": "glmc", "beta": 0.5}, sam={"rho": 0.05, "ascent": "global"})
    other = run("fsgl", 2, 71.0, method={"name": "glmc", "beta": 0.5}, sam={"rho": 0.05, "ascent": "each"})
    assert [entry.seeds for entry in make_entries([now, earlier])] == [[0, 1]]
    assert len(make_entries([earlier, now, other])) == 2


def test_entries_are_by_label_best_first_and_seeds_in_order() -> None:
    entries = make_entries([*reversed(GRID), run("ce", 0, 71.5, adjustment="tau-norm")], {"mixup": [0, 2]})
    assert [entry.label for entry in entries] == ["fsgl", "ce+tau-norm", "ce", "mixup"]
    assert entries[0].seeds == [0, 1, 2]
    assert label_of(run("ce", 0, 1.0, adjustment="prior")) == "ce+prior"
    table = accuracy_table(entries, "t")
    assert table.rows[-1][:3] == ("mixup", EMPTY, "0 (2 failed)")
    values = (75.0, 76.5, 76.2)
    half = scipy.stats.t.ppf(0.975, 2) * scipy.stats.sem(values)
    assert table.rows[0][1] == f"{np.mean(values):.1f} ± {half:.1f}"


def test_learning_rate_and_decay_belong_to_the_method_and_are_named_with_it() -> None:
    slow = [run("fsgl", seed, 80.0 + seed, schedule={"lr": 0.01, "kind": "cosine"}) for seed in range(2)]
    fast = [run("ce", seed, 70.0, schedule={"lr": 0.1, "kind": "cosine"}) for seed in range(2)]
    entries = make_entries([*fast, *slow])
    assert [(entry.label, entry.seeds) for entry in entries] == [("fsgl", [0, 1]), ("ce", [0, 1])]
    other = run("ce", 0, 60.0, schedule={"lr": 0.2, "kind": "cosine"})
    assert [entry.seeds for entry in make_entries([*fast, other])] == [[0, 1], [0]]  # not one more seed of the same
    shared = {"data": {"split_hash": "f" * 64, "train": 5, "test": 5, "largest_class": 4, "smallest_class": 1}}
    cost = {"cost": {"backbone_parameters": 1, "multiply_adds_per_image": 1}}
    environment = {"processor": "CPU X", "threads": 1, "versions": {"torch": "2.11"}}
    words = describe_shared([{**each, **shared, **cost} for each in (*fast, *slow)], environment)
    assert "learning rate and weight decay 0.01 and 0.1 (fsgl); 0.1 and 0.1 (ce), 2 epochs" in words
    alone = describe_shared([{**each, **shared, **cost} for each in fast], environment)
    assert "learning rate 0.1, weight decay 0.1, 2 epochs" in alone
    assert alone.endswith("Measured on CPU X, 1 thread a run, torch 2.11.")
    gpu = {**environment, "device": "GPU Y", "precision": "tf32"}
    on_gpu = describe_shared([{**each, **shared, **cost} for each in fast], gpu)
    assert on_gpu.endswith("Measured on GPU Y in tf32, torch 2.11.")


@pytest.mark.parametrize(
    "other",
    [
        run("fsgl", 0, 70.0, schedule={"lr": 0.1, "kind": "warmup-cosine"}),
        run("fsgl", 0, 70.0, epochs=3), run("fsgl", 0, 70.0, backbone="resnet34"),
        run("fsgl", 0, 70.0, data={"name": "digits", "imbalance_factor": 20.0, "draw": "release"}),
        {**run("fsgl", 0, 70.0), "data": {"split_hash": "0" * 64}},
        {**run("fsgl", 0, 70.0, transfer={"weights": "hub"}), "pretrained": {"sha256": "1"}},
    ],
)  # fmt: skip
def test_what_differs_in_more_than_its_method_is_not_ranked(other: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not ranked against each other"):
        make_entries([run("ce", 0, 70.0), other])


def test_which_epoch() -> None:
    """The last one is the headline; that of the best validation beside it; the best on test in its own column."""
    chosen = run("ce", 0, 45.0, earlier=(50.0, 40.0))
    assert (best_on_validation(chosen), best_on_test(chosen)) == (50.0, 50.0)
    chosen = run("ce", 0, 45.0, earlier=(50.0, 20.0))
    assert (best_on_validation(chosen), best_on_test(chosen)) == (45.0, 50.0)
    row = accuracy_table(make_entries([chosen]), "t")
    cells = dict(zip(row.headings, row.rows[0], strict=True))
    headings = ("mean over classes", "best on val", "best on test (unfair)")
    assert tuple(cells[heading] for heading in headings) == ("45.0", "45.0", "50.0")


def test_differences_are_scipys_at_the_seeds_that_both_have() -> None:
    mixed = [run("mixup", seed, value) for seed, value in ((0, 71.0), (1, 72.0), (2, 70.5), (7, 99.0))]
    entries = make_entries([*GRID, *mixed])
    reference = next(entry for entry in entries if entry.label == "ce")
    found = {each.entry.label: each for each in compare_with(entries, reference)}
    fsgl = scipy.stats.ttest_rel([75.0, 76.5, 76.2], [70.0, 72.0, 71.0])
    mixup = scipy.stats.ttest_rel([71.0, 72.0, 70.5], [70.0, 72.0, 71.0])
    assert found["fsgl"].headline.difference.p_value == pytest.approx(fsgl.pvalue)
    assert found["mixup"].headline.difference.interval.n == 3
    assert found["mixup"].headline.p_adjusted == pytest.approx(max(mixup.pvalue, 2 * fsgl.pvalue))
    assert found["fsgl"].headline.p_adjusted == pytest.approx(2 * fsgl.pvalue)
    assert found["fsgl"].words == "fsgl is better than ce by 4.9 points (3 seeds)"
    needed = seeds_needed(1 / 6, np.std([1.0, 0.0, -0.5], ddof=1), 0.05 / 2)
    assert found["mixup"].words == (
        f"ce and mixup are not distinguishable with 3 seeds: about {needed - 3} more would tell, were the +0.2 seen "
        "the true difference"
    )
    assert (found["fsgl"].headline.sign, found["mixup"].headline.sign) == (1, 0)
    assert all(each.top1 is None for each in found.values()), "one metric where classes have as many test images"
    table = differences_table(list(found.values()), reference)
    assert [row[0] for row in table.rows] == list(found)
    assert all(row[5] == EMPTY for row in table.rows)  # no per-image results
    with pytest.raises(ValueError, match="no result to compare with"):
        compare_with(entries, make_entries([], {"lws": [0]})[0])


def test_over_images_uses_what_is_right_image_by_image() -> None:
    a, b = [True] * 60 + [False] * 40, [True] * 60 + [True] * 10 + [False] * 30
    entries = make_entries([run("ce", 0, 60.0, right=a), run("fsgl", 0, 70.0, right=b)])
    (found,) = compare_with(entries, entries[1])
    assert found.over_images is not None
    assert found.over_images.interval.mean == pytest.approx(10)
    assert found.over_images.interval.low > 3
    assert found.headline.p_adjusted is None
    assert "says nothing of chance" in found.words


def test_more_than_accuracy() -> None:
    beyond = {
        "worst_class": 3.0, "harmonic_mean": 9.0, "ece": {"many": 1.0, "medium": None, "few": 2.0},
        "selective": {"50": 99.0, "80": 88.0, "90": 77.0}, "aurc": 6.0, "priors": {"forward-50": 80.0, "uniform": 70.0},
    }  # fmt: skip
    entries = make_entries([{**run("ce", 0, 70.0), "beyond": beyond}, run("fsgl", 0, 60.0)])
    assert reliability_table(entries).rows == (
        ("ce", "1.0", EMPTY, "2.0", "77.0", "88.0", "99.0", "6.0"), ("fsgl", *[EMPTY] * 7)
    )  # fmt: skip
    assert priors_table(entries).rows == (("ce", "80.0", "70.0"), ("fsgl", EMPTY, EMPTY))
    assert accuracy_table(entries, "t").rows[0][6:8] == ("3.0", "9.0")


def test_two_metrics_are_named_and_each_has_its_own_verdict() -> None:
    """The mean over classes gains and top-1 loses, as re-weighting does on an unequal test set."""
    grid = [run("ce", seed, value, top1=90 + value / 100) for seed, value in enumerate((60.0, 61.0, 62.0))]
    grid += [run("cb", seed, 70.0 + seed, top1=85.0 + 0.1 * seed) for seed in range(3)]
    grid += [run("lws", seed, value, top1=95.0 + 0.1 * seed) for seed, value in enumerate((61.0, 60.0, 63.0))]
    entries = make_entries(grid)
    reference = next(entry for entry in entries if entry.label == "ce")
    found = {each.entry.label: each for each in compare_with(entries, reference)}
    assert found["cb"].headline.sign == 0, "the same difference in all seeds leaves nothing to test"
    grid[3] = run("cb", 0, 70.1, top1=85.0)
    entries = make_entries(grid)
    reference = next(entry for entry in entries if entry.label == "ce")
    found = {each.entry.label: each for each in compare_with(entries, reference)}
    assert found["cb"].words == (
        "cb gains 10.0 points in the mean over classes and loses 5.5 in top-1, against ce (3 seeds)"
    )
    assert "not distinguishable in the mean over classes with 3 seeds: about" in found["lws"].words
    assert found["lws"].words.endswith("; lws gains 4.5 points in top-1")
    table = differences_table(list(found.values()), reference)
    assert table.headings == (
        "method", "mean over classes, over seeds", "effect", "p", "p (Holm)", "mean over classes, over images",
        "top-1, over seeds", "in words",
    )  # fmt: skip
    shown = accuracy_table(entries, "t")
    assert shown.headings[1:3] == ("mean over classes", "top-1")


def test_a_second_look_is_tested_at_its_own_level() -> None:
    """At half the level a difference that is just significant no longer is."""
    noise = np.array([-1.0, 1.0, 0.3, -0.3, 0.0])
    gain = scipy.stats.t.isf(0.04 / 2, 4) * scipy.stats.sem(noise)  # p = 0.04
    grid = [run("ce", seed, 70.0) for seed in range(5)]
    grid += [run("fsgl", seed, 70.0 + gain + value) for seed, value in enumerate(noise)]
    entries = make_entries(grid)
    (first,) = compare_with(entries, entries[1])
    (second,) = compare_with(entries, entries[1], {"fsgl": [3, 5]})
    assert first.headline.p_adjusted == pytest.approx(0.04)
    assert second.headline.p_adjusted == pytest.approx(0.08)
    assert (first.headline.sign, second.headline.sign) == (1, 0)


def test_over_images_is_of_the_headline() -> None:
    """Class by class where records have the images so; None where only top-1 could be resampled."""
    a = [True] * 80 + [False] * 10 + [True] * 2 + [False] * 8
    b = [True] * 70 + [False] * 20 + [True] * 8 + [False] * 2
    pair = [run("ce", 0, 54.4, top1=82.0, right=a, class_images=[90, 10]),
            run("cb", 0, 78.9, top1=78.0, right=b, class_images=[90, 10])]  # fmt: skip
    entries = make_entries(pair)
    (found,) = compare_with(entries, entries[1])
    assert found.over_images.interval.mean == pytest.approx((-100 * 10 / 90 + 100 * 6 / 10) / 2)
    for each in pair:
        each["class_images"] = None
    (found,) = compare_with(entries, entries[1])
    assert found.over_images is None


def test_settings_that_came_later_part_no_older_record_from_its_like() -> None:
    """Neither a group of settings that there was not, nor one that had fewer, nor averaging without its rates."""
    data = {"name": "digits", "imbalance_factor": 20.0, "draw": "ldam"}
    old = run("ce", 0, 70.0, data=data, averaging={"start": 1.0})
    fewer = run("ce", 1, 71.0, data={**data, "reading": {"parts": None}})
    experiment = make_experiment("cross-entropy", "digits").to_json()
    reading = experiment["data"]["reading"]
    now = {**data, "imbalance_factor": 20, "reading": reading}
    new = run("ce", 2, 72.0, data=now, averaging=experiment["averaging"])
    (entry,) = make_entries([old, fewer, new])
    assert entry.seeds == [0, 1, 2]
    given = run("ce", 3, 72.0, data={**data, "reading": {**reading, "exclude": "x"}})
    with pytest.raises(ValueError, match="not ranked against each other"):
        make_entries([old, given])


def test_a_row_says_where_its_settings_come_from_and_its_adjustment_too() -> None:
    runs = [run("ce", 0, 70.0), run("ce", 0, 72.0, adjustment="tau-norm"), run("ce", 0, 71.0, adjustment="max-norm")]
    for each in runs:
        each["settings_from"] = "published"
    runs[1]["adjustment"]["tuned_on"] = "validation"
    runs[2]["adjustment"]["tuned_on"] = "given"
    rows = accuracy_table(make_entries(runs), "a title").rows
    assert [(row[0], row[2]) for row in rows] == [
        ("ce+tau-norm", "published, adjusted on validation"), ("ce+max-norm", "published"), ("ce", "published")
    ]  # fmt: skip
