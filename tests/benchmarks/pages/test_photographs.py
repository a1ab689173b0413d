from __future__ import annotations

from pathlib import Path

import torch
from benchmarks.pages.photographs import photographs_page

from fsgl.engine.environment import environment
from fsgl.report.records import write_record

ROOT = Path(__file__).resolve().parents[3]


def row(recipe: str, few: float | None) -> dict:
    test = {"top1": 81.25, "many": 90.0, "medium": 70.0, "few": few, "balanced": 65.44, "n": 159}
    origin = {"source": "package/file.pth", "licence": "apache-2.0"}
    return {"recipe": recipe, "seconds": 49.6, "test": test, "pretrained": origin, "settings": {}}


def test_rows_are_those_of_the_record_and_absent_groups_are_no_numbers(tmp_path: Path) -> None:
    content = {"images": "some", "rows": [row("a", 47.6), row("b", None)], "load": [0.5, 1.25], "note": "shared"}
    write_record(tmp_path, "photographs", "p", "python x", environment(torch.device("cpu")), content)
    page = photographs_page(tmp_path)
    assert "| a | 50 | 81.2 | 90.0 | 70.0 | 47.6 | 65.4 |" in page
    assert "| b | 50 | 81.2 | 90.0 | 70.0 | – | 65.4 |" in page
    assert "159 test images" in page
    assert "(0.5 and 1.2)" in page
    assert "None" not in page


def test_the_committed_page_is_that_of_the_committed_records() -> None:
    assert (ROOT / "docs" / "photographs.md").read_text(encoding="utf-8") == photographs_page(ROOT / "results")
