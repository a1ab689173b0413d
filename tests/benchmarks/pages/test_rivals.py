"""docs/rivals.md: a published cell stands beside the runs at its very settings, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.pages.rivals import rivals_page
from benchmarks.published_rivals import published

from fsgl.recipes.experiment import Experiment, override
from fsgl.report.records import write_record

TITLE = "## A published cell, trained again"


def run(folder: Path, experiment: Experiment, accuracies: list[float]) -> None:
    epochs: list[dict[str, Any]] = [{"test": {"balanced": accuracy}} for accuracy in accuracies]
    content = {"hash": experiment.hash, "epochs": epochs}
    write_record(folder, "run", f"{experiment.recipe}-{experiment.hash[:6]}", "fsgl train", {}, content)


def test_a_published_cell_stands_beside_its_runs(tmp_path: Path) -> None:
    row = {"recipe": "ldam-drw", "accuracy": 77.03, "source": "a table"}
    write_record(tmp_path, "published cell", "cell", "transcribed", {}, {"cell": "A network", "rows": [row]})
    assert TITLE not in rivals_page(tmp_path), "nothing was trained yet"
    experiment = published("")
    run(tmp_path, experiment("ldam-drw", 0), [50.0, 76.9, 76.3])
    run(tmp_path, experiment("ldam-drw", 1), [50.0, 76.0, 76.8])
    run(tmp_path, override(experiment("ldam-drw", 2), "optim.epochs=10"), [12.3])
    run(tmp_path, experiment("cross-entropy", 0), [70.5])
    page = rivals_page(tmp_path)
    assert TITLE in page
    shown = [line for line in page.split(TITLE)[1].split("\n## ")[0].splitlines() if line.startswith("| ")]
    assert any(line.startswith("| ldam-drw | 77.03 |") for line in shown)
    (ldam,) = [line for line in shown if line.startswith("| ldam-drw")]
    assert sorted(ldam.split(" | ")[2].split(", ")) == ["76.8", "76.9"]
    assert sorted(ldam.split(" | ")[3].split(", ")) == ["76.3", "76.8"]
    (plain,) = [line for line in shown if line.startswith("| cross-entropy")]
    assert plain.split(" | ")[1:4] == ["–", "70.5", "70.5"]
    assert "12.3" not in page
