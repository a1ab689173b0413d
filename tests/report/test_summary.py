from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from fsgl.errors import UserError
from fsgl.report.render import Table
from fsgl.report.summary import print_comparison, print_metrics, print_run, print_table
from fsgl.runs.saved import read_history, read_record


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> tuple[Path, dict[str, Any], list[dict[str, Any]]]:
    folder = tmp_path / "a run"
    folder.mkdir()
    for name in ("experiment.json", "metrics.jsonl"):
        shutil.copy(finished / name, folder)
    return folder, read_record(folder), read_history(folder)


def row_of(text: str, name: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(name + "  ")]
    return line.removeprefix(name).split()


@pytest.mark.usefixtures("curves_painted")
def test_run_is_summed_up(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder, record, history = run
    print_run(folder, record, history)
    text = capsys.readouterr().out
    last = history[-1]["test"]
    assert row_of(text, "last epoch")[:2] == ["3", f"{last['top1']:.1f}"]
    best = max(history, key=lambda row: row["val"]["balanced"])
    assert row_of(text, "best on validation")[:2] == [str(best["epoch"] + 1), f"{best['test']['top1']:.1f}"]
    unfair = max(row["test"]["top1"] for row in history)
    assert row_of(text, "best on test (unfair)")[1] == f"{unfair:.1f}"
    assert "best on test (unfair): not a fair figure" in text
    for k, accuracy in enumerate(last["per_class"]):
        assert row_of(text, str(k))[-1] == f"{accuracy:.1f}"
        assert row_of(text, str(k))[0] == str(record["class_counts"][k])
    assert text.rstrip().endswith(f"run folder  {folder}\ncurves      {folder / 'curves.png'}")
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_classes_too_small_for_validation_are_named(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder, record, history = run
    record["data"]["classes_without_validation"] = [8, 9]
    print_run(folder, record, history)
    assert "2 classes are too small to spare an image for validation: 8, 9\n" in capsys.readouterr().out
    record["class_names"] = [f"class {k}" for k in range(10)]
    record["data"]["classes_without_validation"] = [*range(10), 0]
    print_run(folder, record, history)
    assert "11 classes are too small" in (text := capsys.readouterr().out)
    assert "class 9, ...\n" in text


def test_run_without_any_score_is_summed_up_too(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder, record, history = run
    print_run(folder, record, [{**row, "test": None, "val": None} for row in history])
    assert "No epoch has been scored on the test set." in capsys.readouterr().out
    print_run(folder, record, [])
    assert "No epoch" in capsys.readouterr().out


@pytest.mark.usefixtures("curves_painted")
def test_runs_stand_beside_each_other(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder, record, history = run
    other = {**record, "settings": {**record["settings"], "recipe": "glmc"}}
    better = json.loads(json.dumps(history))
    better[-1]["test"]["top1"] += 5
    print_comparison(folder.parent, [folder, folder.parent / "x"], [record, other], [history, better])
    text = capsys.readouterr().out
    assert row_of(text, "fsgl")[0] == f"{history[-1]['test']['top1']:.1f}"
    assert row_of(text, "glmc")[0] == f"{history[-1]['test']['top1'] + 5:.1f}"
    assert row_of(text, "difference")[0] == "+5.0"
    assert "Short runs: the classifier that GLMC and FSGL use at test, fc_cb, was trained for" in text
    assert f"run folders {folder}, {folder.parent / 'x'}\n" in text
    assert (folder.parent / "curves.png").exists()


def test_runs_on_other_images_are_not_compared(run: Any) -> None:
    folder, record, history = run
    other = {**record, "data": {**record["data"], "split_hash": "0" * 64}}
    with pytest.raises(UserError, match="used different images and cannot be compared"):
        print_comparison(folder.parent, [folder, folder], [record, other], [history, history])


def test_pretrained_runs_are_not_compared_with_those_from_scratch(run: Any) -> None:
    folder, record, history = run
    transfer = {**record["settings"]["transfer"], "weights": "x.safetensors"}
    other = {**record, "settings": {**record["settings"], "recipe": "glmc", "transfer": transfer}}
    with pytest.raises(UserError, match="began with different weights"):
        print_comparison(folder.parent, [folder, folder], [record, other], [history, history])


def test_one_evaluation(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    _, record, history = run
    metrics = history[-1]["test"]
    print_metrics("my run", metrics, [f"digit {k}" for k in range(10)], record["class_counts"])
    text = capsys.readouterr().out
    assert row_of(text, "my run")[0] == f"{metrics['top1']:.1f}"
    assert row_of(text, "digit 3")[-1] == f"{metrics['per_class'][3]:.1f}"
    assert "nan" not in text.lower()


def test_notes_stand_once_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    print_table(Table("Title", ("a", "b"), (("x", "1"),), ("A note.",)))
    assert capsys.readouterr().out.count("A note.") == 1
