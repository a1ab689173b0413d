"""report/table.py: which epochs the protocol picks, and what a reader sees."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pytest
from rich.console import Console

from fsgl.errors import UserError
from fsgl.evaluation.metrics import evaluate_predictions
from fsgl.report.table import (
    EMPTY,
    NOT_FAIR,
    Table,
    comparison_table,
    per_class_table,
    protocol_table,
    render_protocol,
)
from fsgl.report.tested import UNTESTED

COUNTS = [300, 50, 10]


def metrics(top1: float, balanced: float | None = None, **more) -> dict:
    return {
        "top1": top1,
        "top5": None,
        "balanced": top1 if balanced is None else balanced,
        "many": top1 + 5,
        "medium": top1,
        "few": None,
        "per_class": [top1 + 5, top1, None],
        "ece": 3.14159,
        "groups": {"boundaries": [100, 20], "classes": {"many": 1, "medium": 1, "few": 1}},
        "n": 40,
    } | more


def history(test: list[float | None], val: list[float | None] | None = None) -> list[dict]:
    val = val or [None] * len(test)
    return [
        {
            "epoch": epoch,
            "lr": 0.1,
            "loss": {"total": 1.0},
            "seconds": 1.0,
            "val": None if on_val is None else metrics(0.0, balanced=on_val),  # top1 must not decide
            "test": None if on_test is None else metrics(on_test),
        }
        for epoch, (on_test, on_val) in enumerate(zip(test, val, strict=True))
    ]


def shown(table: Table, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(table.rich())
    return console.file.getvalue()


# ---- the protocol


def test_the_three_figures_are_of_the_last_best_validation_and_best_test_epoch() -> None:
    rows = protocol_table(history(test=[50, 70, 60, 65], val=[10, 20, 40, 30]))
    assert [(row["name"], row["epoch"], row["top1"]) for row in rows] == [
        ("last epoch", 4, 65),
        ("best on validation", 3, 60),
        ("best on test (unfair)", 2, 70),
    ]
    assert [row["headline"] for row in rows] == [True, False, False]
    assert [row["note"] for row in rows] == [None, None, NOT_FAIR]
    assert rows[0]["many"] == 70
    assert rows[0]["few"] is None
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows


def test_ties_go_to_the_earliest_epoch() -> None:
    rows = protocol_table(history(test=[50, 70, 70], val=[30, 40, 40]))
    assert [row["epoch"] for row in rows] == [3, 2, 2]


def test_without_validation_its_row_is_absent_and_the_last_epoch_is_the_headline() -> None:
    for headline in ("last", "validation"):
        rows = protocol_table(history(test=[50, 40]), headline)
        assert [row["name"] for row in rows] == ["last epoch", "best on test (unfair)"]
        assert [row["headline"] for row in rows] == [True, False]


def test_validation_can_be_the_headline_and_the_best_test_epoch_never() -> None:
    rows = protocol_table(history(test=[50, 60, 40], val=[30, 10, 20]), "validation")
    assert [row["headline"] for row in rows] == [False, True, False]
    with pytest.raises(UserError, match="unknown headline 'best-test'"):
        protocol_table(history(test=[50]), "best-test")


def test_epochs_without_a_test_score_are_passed_over_and_said() -> None:
    rows = protocol_table(history(test=[50, 45, None], val=[10, 20, 90]))
    assert [(row["name"], row["epoch"]) for row in rows[:2]] == [("last scored epoch", 2), ("best on validation", 2)]
    assert protocol_table(history(test=[None, None])) == protocol_table([]) == []
    assert "No epoch has been scored" in render_protocol([]).text()


def test_the_protocol_as_text_fits_80_columns_aligns_decimals_and_marks_the_unfair_row() -> None:
    text = render_protocol(protocol_table(history(test=[9.04, 70, 100, 65.06], val=[10, 20, 40, 30])), "run").text(80)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "run (% of 40 test images; headline: last epoch)"
    figures = [line for line in lines if re.match(r"(last|best) .*\d\.\d", line)]
    assert len(figures) == 3
    assert len({tuple(m.start() for m in re.finditer(r"\.\d", line)) for line in figures}) == 1
    assert "65.1" in figures[0]
    assert f"best on test (unfair): {NOT_FAIR}" in text
    assert "many over 100 (1), medium 21 to 100 (1), few up to 20 (1)" in " ".join(text.split())


def test_what_does_not_exist_is_a_dash_in_every_rendering() -> None:
    table = render_protocol(protocol_table(history(test=[50])))
    assert [dict(zip(table.headings, row, strict=True))["few"] for row in table.rows] == [EMPTY, EMPTY]
    for rendered in (table.text(), table.markdown(), shown(table)):
        row = next(line for line in rendered.splitlines() if "last epoch" in line and "headline" not in line)
        assert row.count(EMPTY) == 2  # top-5 and few
        assert not re.search(r"\b(nan|none)\b", rendered, re.IGNORECASE)
        assert " 0.0" not in row
    assert per_class_table(metrics(50, per_class=[1.0, float("nan"), None]), None, COUNTS).rows[1][-1] == UNTESTED


def test_rich_shows_the_same_cells_and_fits() -> None:
    table = render_protocol(protocol_table(history(test=[50, 60, 40], val=[30, 10, 20])))
    rendered = shown(table, 90)
    assert max(map(len, rendered.splitlines())) <= 90
    for cell in (cell for row in (table.headings, *table.rows) for cell in row):
        assert cell in rendered


def test_markdown_is_a_table_whose_cells_cannot_break_it() -> None:
    markdown = per_class_table(metrics(50), ["a|b", "c*d", "e\nf"], COUNTS).markdown()
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert lines[0] == "| class | train images | group | accuracy |"
    assert lines[1] == "| :-- | --: | --: | --: |"
    assert lines[2:] == [
        r"| a\|b | 300 | many | 55.0 |",
        r"| c\*d | 50 | medium | 50.0 |",
        "| e&#10;f | 10 | few | untested |",
    ]
    rows = render_protocol(protocol_table(history(test=[50]))).markdown()
    assert "| **last epoch** | **1** | **50.0** |" in rows
    assert "| _best on test (unfair)_ |" in rows


# ---- class by class


def test_classes_stand_by_training_count_ties_by_index() -> None:
    table = per_class_table(metrics(50, per_class=[1.0, 2.0, 3.0, 4.0]), ["a", "b", "c", "d"], [20, 21, 101, 21])
    assert table.rows == (
        ("c", "101", "many", "3.0"),
        ("b", "21", "medium", "2.0"),
        ("d", "21", "medium", "4.0"),
        ("a", "20", "few", "1.0"),
    )
    unsigned = np.array([20, 21, 101, 21], np.uint8)  # whose negative is positive
    assert per_class_table(metrics(50, per_class=[1.0, 2.0, 3.0, 4.0]), list("abcd"), unsigned).rows == table.rows


def test_of_many_classes_the_best_and_worst_stand_and_the_rest_is_summed_up() -> None:
    accuracy = [float(k % 101) for k in range(105)]
    accuracy[50] = None
    table = per_class_table(metrics(50, per_class=accuracy), None, list(range(205, 100, -1)), ends=2)
    assert [row[0] for row in table.rows] == ["class 100", "class 99", "mean of 100 others", "class 0", "class 101"]
    others = [value for k, value in enumerate(accuracy) if value is not None and k not in (100, 99, 0, 101)]
    assert table.rows[2][-1] == f"{np.mean(others):.1f}"
    assert "1 classes have no test images." in table.notes
    whole = per_class_table(metrics(50, per_class=accuracy), None, list(range(205, 100, -1)), max_classes=105)
    assert len(whole.rows) == 105


def test_names_counts_and_metrics_must_match() -> None:
    with pytest.raises(ValueError, match="3 accuracies, 2 class names and 3 counts"):
        per_class_table(metrics(50), ["a", "b"], COUNTS)


# ---- runs beside each other


def test_two_runs_stand_with_their_difference() -> None:
    overall, by_class = comparison_table({"ce": history([90, 50]), "fsgl": metrics(56.25)}, list("abc"), COUNTS)
    cells = {row[0]: dict(zip(overall.headings, row, strict=True)) for row in overall.rows}
    assert cells["ce"]["top-1"] == "50.0"  # the last epoch, not the best on test
    assert cells["difference"]["top-1"] == "+6.2"
    assert cells["difference"]["few"] == EMPTY
    assert cells["difference"]["ECE"] == "+0.0"
    assert by_class.headings == ("class", "train images", "ce", "fsgl")
    assert by_class.rows[0] == ("a", "300", "55.0", "61.2")
    assert by_class.rows[2] == ("c", "10", EMPTY, EMPTY)


def test_the_headline_chooses_the_epoch_of_every_run_and_a_run_without_validation_is_named() -> None:
    runs = {"a": history([50, 60], val=[20, 10]), "b": history([30, 40])}
    overall = comparison_table(runs, headline="validation")[0]
    assert [row[1] for row in overall.rows[:2]] == ["50.0", "40.0"]
    assert {"a: best on validation", "b: last epoch"} <= set(overall.notes)
    assert comparison_table(runs)[0].title == "Test set, % (last epoch)"


def test_runs_on_different_test_sets_or_groups_are_not_ranked() -> None:
    other = metrics(60, groups={"boundaries": [50, 5], "classes": {"many": 1, "medium": 2, "few": 0}})
    for second in (other, metrics(60, n=41)):
        overall = comparison_table({"a": metrics(50), "b": second})[0]
        assert len(overall.rows) == 2
        assert any("do not rank" in note for note in overall.notes)
    different_classes = metrics(60, per_class=[1.0, 2.0])
    assert len(comparison_table({"a": metrics(50), "b": different_classes})) == 1


def test_a_run_without_a_score_has_dashes() -> None:
    overall, by_class = comparison_table({"a": metrics(50), "b": history([None])})
    assert set(overall.rows[1][1:]) == {EMPTY}
    assert all(row[2] == EMPTY for row in by_class.rows)
    assert len(comparison_table({"b": []})) == 1


def test_too_many_run_names_for_the_width_become_letters_with_a_key() -> None:
    runs = {f"method-number-{i}": metrics(50) for i in range(8)}
    by_class = comparison_table(runs, None, COUNTS, width=80)[1]
    assert by_class.headings[2:] == tuple("ABCDEFGH")
    assert by_class.notes[8] == "H: method-number-7"
    assert max(map(len, by_class.text(80).splitlines())) <= 80
    assert comparison_table(runs, None, COUNTS, width=200)[1].headings[2:] == tuple(runs)


def test_many_classes_are_gathered_into_bands_by_frequency() -> None:
    rng = np.random.default_rng(0)
    counts, accuracy = rng.permutation(np.arange(1, 206)), rng.uniform(0, 100, 205)
    table = comparison_table({"a": metrics(50, per_class=accuracy.tolist())}, None, counts)[1]
    assert len(table.rows) == 10
    order = np.argsort(-counts)
    assert table.rows[0] == ("ranks 1 to 20", "205 to 186", f"{accuracy[order[:20]].mean():.1f}")
    ends = [re.match(r"ranks (\d+) to (\d+)", row[0]).groups() for row in table.rows]
    assert [int(low) for low, _ in ends] == [1, *(int(high) + 1 for _, high in ends[:-1])]  # no class left out
    assert ends[-1][1] == "205"


# ---- names as people give them


def test_strange_names_stay_in_their_cell() -> None:
    names = ["[red]x[/red]", "数字" * 12, "\x1b[31m" + "y" * 60]
    table = per_class_table(metrics(50), names, COUNTS)
    assert all("\x1b" not in cell and "\n" not in cell for row in table.shown() for cell in row)
    assert "[red]x[/red]" in shown(table)
    text = table.text().splitlines()
    assert text[4].startswith("[red]x[/red]")
    assert all("\u2026" in row[0] and len(row[0]) <= 28 for row in table.shown()[1:])
    assert [row[0] for row in table.rows] == names


def test_real_metrics_go_through_every_table() -> None:
    rng = np.random.default_rng(0)
    measured = evaluate_predictions(rng.normal(size=(60, 6)), rng.integers(0, 5, 60), [500, 90, 30, 25, 22, 21])
    rows = [{"epoch": 0, "lr": 0.1, "loss": {}, "seconds": 1.0, "val": measured, "test": measured}]
    rows = json.loads(json.dumps(rows, allow_nan=False))
    tables = [render_protocol(protocol_table(rows)), *comparison_table({"a": rows}, None, [500, 90, 30, 25, 22, 21])]
    tables.append(per_class_table(measured, None, [500, 90, 30, 25, 22, 21]))
    for table in tables:
        assert "nan" not in table.text() + table.markdown() + shown(table)
