from __future__ import annotations

import json
from pathlib import Path

import pytest

from fsgl.errors import UserError
from fsgl.report.records import read_records, run_content, write_record


def metrics(top1: float) -> dict:
    return {"top1": top1, "per_class": [top1, None], "few": None}


def test_written_record_is_read_by_its_kind(tmp_path: Path) -> None:
    path = write_record(tmp_path, "benchmark", "step", "python x.py", {"commit": "abc"}, {"rows": []})
    write_record(tmp_path, "run", "other", "fsgl train x", {}, {"a": 1})
    assert path == tmp_path / "step.json"
    (record,) = read_records(tmp_path, "benchmark")
    assert record["command"] == "python x.py"
    assert (record["environment"], record["content"]) == ({"commit": "abc"}, {"rows": []})
    assert record["date"].endswith("+00:00")


def test_what_is_no_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"kind": "run"}')
    with pytest.raises(UserError, match=r"x\.json: not a record"):
        read_records(tmp_path, "run")


def test_run_content_keeps_scored_epochs_and_the_last_classes() -> None:
    run: dict = {name: name for name in ("hash", "data", "class_counts", "cost", "status")}
    run["settings"] = {"seed": 1, "data": {"name": "digits", "root": "/home/somebody"}}
    run["settings"]["transfer"] = {"weights": "/home/somebody/x.safetensors"}
    run["result"] = {"train_seconds": 3.0}
    history = [
        {"epoch": 0, "loss": {"total": 2.0}, "val": None, "test": None},
        {"epoch": 1, "loss": {"total": 1.0}, "val": metrics(40.0), "test": metrics(30.0)},
        {"epoch": 2, "loss": {"total": 0.5}, "val": None, "test": metrics(50.0)},
    ]
    content = json.loads(json.dumps(run_content(run, history)))
    assert [epoch["epoch"] for epoch in content["epochs"]] == [1, 2]
    assert content["epochs"][0]["val"] == {"top1": 40.0, "few": None}
    assert content["last_per_class"] == [50.0, None]
    assert content["train_seconds"] == 3.0
    assert content["settings"] == {"seed": 1, "data": {"name": "digits"}, "transfer": {"weights": "file"}}
    assert "somebody" not in json.dumps(content)
    assert run["settings"]["data"]["root"] == "/home/somebody"
