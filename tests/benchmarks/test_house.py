from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks import house
from benchmarks.pages.house import RECORD, architecture_page

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "src/fsgl/__init__.py": "1\n",
    "src/fsgl/alone.py": "class A:\n    def __post_init__(self):\n        pass\n\n    def other(self):\n        pass\n",
    "src/fsgl/data/load.py": "if isinstance(x, (int, ImageFiles)):\n    pass\nisinstance(x, int)\n",
    "src/fsgl/data/deep/x.py": "ImageFiles\n",
    "tests/test_a.py": "\n" * 9,
}


def test_counts_are_those_of_the_files() -> None:
    assert house.count(FILES) == {
        "src": {"files": 4, "lines": 11}, "tests": {"files": 1, "lines": 9}, "benchmarks": {"files": 0, "lines": 0},
        "flat": 1, "rooms": 1, "longest": 6, "post_init": 2, "kinds": 1,
    }  # fmt: skip


def test_the_end_of_the_page_is_the_record(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert architecture_page(text, ROOT / "results") == text
    record = json.loads((ROOT / "results" / RECORD).read_text())
    record["content"]["now"]["rooms"] = 777
    (tmp_path / RECORD).write_text(json.dumps(record))
    assert "| rooms | 11 | 777 |" in architecture_page(text, tmp_path)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no history here")
def test_a_commit_is_read_from_git() -> None:
    try:
        files = house.files_of("HEAD")
    except (OSError, house.subprocess.CalledProcessError):
        pytest.skip("git does not answer here")
    assert "src/fsgl/engine/step.py" in files
