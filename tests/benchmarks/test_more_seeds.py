"""benchmarks/more_seeds.py: from the records of one seed to those of two, and nothing twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks import more_seeds
from tests.stand_ins import cells_here

from fsgl.commands.cli import main
from fsgl.errors import UserError
from fsgl.report.records import read_records
from fsgl.runs.saved import read_experiment

SETTINGS = ["data.imbalance_factor=50", "optim.epochs=1"]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the cells that were run, one after another in this process."""
    names: list[str] = []
    monkeypatch.setattr(more_seeds, "run_grid", cells_here(names))
    return names


def test_rows_are_run_with_further_seeds_and_recorded(tmp_path: Path, trained: list[str]) -> None:
    first, folder = tmp_path / "first", tmp_path / "records"
    words = ["cross-entropy", "cross-entropy+tau-norm", "--data", "digits", "--seeds", "1", "--device", "cpu"]
    assert main(["compare", *words, "--runs", str(first), "--record", str(folder), *SETTINGS]) == 0
    (plain, adjusted) = sorted(folder.glob("*.json"), key=lambda path: len(path.name))
    before = {path.name: path.read_bytes() for path in folder.glob("*.json")}
    command = [str(folder), "--seeds", "2", "--runs", str(tmp_path / "more"), "--jobs", "1"]
    assert more_seeds.main(command) == 0
    assert trained == ["cross-entropy-seed1", "cross-entropy+tau-norm-seed1"]
    records = read_records(folder, "run")
    assert len(records) == 4
    assert {path.name: path.read_bytes() for path in (plain, adjusted)} == before  # records are added, never changed
    new = [record for record in records if record["content"]["settings"]["seed"] == 1]
    assert {(r["content"]["adjustment"] or {}).get("name") for r in new} == {None, "tau-norm"}
    told = json.loads(plain.read_text())["content"]["settings"]
    for record in new:
        assert record["command"] == f"python -m benchmarks.more_seeds {folder} --seeds 2"
        assert {**record["content"]["settings"], "seed": 0} == told
    again = read_experiment(tmp_path / "more" / "board-0" / "cross-entropy-seed1" / "experiment.json")
    assert again.hash == next(r["content"]["hash"] for r in new)
    assert more_seeds.main(command) == 0
    assert len(trained) == 2


def test_a_row_of_two_settings_is_refused(
    tmp_path: Path, trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for number, rate in enumerate(("0.1", "0.2")):
        run = tmp_path / f"run{number}"
        words = ["cross-entropy", "--data", "digits", "--seeds", "2", "--device", "cpu", f"schedule.lr={rate}"]
        assert main(["compare", *words, "--runs", str(run), "--record", str(tmp_path / "r"), *SETTINGS]) == 0
    with pytest.raises(UserError, match="other settings than"):
        more_seeds.boards(read_records(tmp_path / "r", "run"))
    assert more_seeds.main([str(tmp_path / "r"), "--seeds", "3", "--runs", str(tmp_path / "more")]) == 2
    assert "which is of the same row" in capsys.readouterr().err
    assert trained == []
    assert more_seeds.main([str(tmp_path / "nothing"), "--seeds", "3"]) == 2
    assert "nothing: no record of a run is there" in capsys.readouterr().err
