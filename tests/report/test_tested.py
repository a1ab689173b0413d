"""What a mean over classes rests on, where some classes have no test images: said wherever it stands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fsgl
from fsgl.comparison.entries import Entry
from fsgl.comparison.tables import accuracy_table, reliability_table
from fsgl.evaluation.metrics import evaluate_predictions
from fsgl.report import run_page, web
from fsgl.report.summary import print_metrics
from fsgl.report.table import comparison_table, per_class_table, protocol_table, render_protocol
from fsgl.report.tested import of_classes, rests_on

COUNTS, NAMES = [500, 50, 10], ["a", "b", "c"]
SOME = evaluate_predictions(np.eye(3)[[0, 0, 0]], [0, 0, 0], COUNTS)  # b and c are untested
ALL = evaluate_predictions(np.eye(3), [0, 1, 2], COUNTS)
MANY = evaluate_predictions(np.eye(3)[[0, 2]], [0, 2], [500, 400, 10])  # of the many-shot classes one of two
SAID = "Not all classes have test images: balanced is of 1 of 3 classes (medium untested; few untested)."


def row(metrics: dict) -> dict:
    return {"epoch": 0, "lr": 0.1, "loss": {"total": 1.0}, "seconds": 1.0, "val": None, "test": metrics}


def test_the_sentence() -> None:
    assert rests_on(SOME["groups"]) == [SAID]
    assert rests_on(ALL["groups"]) == rests_on({"boundaries": [100, 20], "classes": {"many": 3}}) == []
    assert "balanced is of 2 of 3 classes (many of 1 of 2 classes)" in rests_on(MANY["groups"])[0]
    assert (of_classes(MANY["groups"]), of_classes(MANY["groups"], "few")) == ("2 of 3 classes", "")


def test_every_table_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    protocol = render_protocol(protocol_table([row(SOME)]))
    for table in (protocol, comparison_table({"x": SOME})[0], per_class_table(SOME, NAMES, COUNTS)):
        assert SAID in table.notes
        assert "untested" in table.text().split("Classes by")[0]
    assert dict(zip(protocol.headings, protocol.rows[0], strict=True))["few"] == "untested"
    assert [cells[-1] for cells in per_class_table(SOME, NAMES, COUNTS).rows] == ["100.0", "untested", "untested"]
    print_metrics("run", SOME, NAMES, COUNTS)  # fsgl evaluate
    assert "balanced is of 1 of 3 classes" in " ".join(capsys.readouterr().out.split())
    assert not any("untested" in str(part) for part in comparison_table({"x": ALL}))


def test_runs_on_other_classes_are_compared_without_a_word_for_the_wrong_number() -> None:
    """Of two runs with different tested classes neither number of classes holds for both."""
    other = {**SOME, "groups": ALL["groups"]}
    assert not any("of 1 of 3" in note for note in comparison_table({"x": SOME, "y": other})[0].notes)


def test_cards_of_the_page_and_the_run_in_python(tmp_path: Path) -> None:
    assert run_page._of_group(MANY["groups"], "many") == "many-shot: 1 of 2 classes"
    assert run_page._of_group(SOME["groups"], "few") == "few-shot classes"
    assert run_page._percent(None, untested=True) == "untested"
    run = object.__new__(fsgl.Run)
    settings = {"recipe": "fsgl", "backbone": "resnet8-slim"}
    run.folder, run.record = tmp_path, {"result": {"last": SOME}, "settings": settings, "status": "complete"}
    assert "accuracy 100.0 % (mean over 1 of 3 classes)" in repr(run)


def test_a_comparison_says_it() -> None:
    settings = {"recipe": "fsgl", "seed": 0, "optim": {"epochs": 1}, "method": {}}
    found = {"settings": settings, "epochs": [row(SOME)], "cost": {}, "train_seconds": 1.0}
    table = accuracy_table([Entry("fsgl", (found,))], "Test set")
    assert "mean over classes is of 1 of 3 classes" in table.notes[-1]
    assert table.rows[0][3:6] == ("100.0", "untested", "untested")
    assert reliability_table([Entry("fsgl", (found,))]).rows[0][2:4] == ("untested", "untested")


def test_given_parts_that_leak_are_marked_on_the_page() -> None:
    leaks = ["LEAK: 3 of 7 test images are training images as well (the same content)", "LEAK, perhaps: <2> images"]
    told = str(web.notes(["a table of images: 2 classes", *leaks], "the images"))
    assert told.count("<li class=warn>") == 2
    assert "<li class=warn>LEAK: 3 of 7" in told
    assert "<li class=warn>LEAK, perhaps: &lt;2&gt; images" in told
    assert "<li>a table of images" in told
