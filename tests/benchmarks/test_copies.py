"""What docs/own-images.md says of the search for copies is what was recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks.copies import WAYS, make_folder

from fsgl.data.draw.together import keep_together
from fsgl.data.readers.own import find_source

ROOT = Path(__file__).parents[2]


def content(name: str) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = json.loads((ROOT / "results" / f"{name}.json").read_text())["content"]
    return found


def test_the_page_has_the_records_figures() -> None:
    search, start = content("copies-of-100000")["medians"], content("start-of-100000")
    text = " ".join((ROOT / "docs" / "own-images.md").read_text(encoding="utf-8").split())
    assert f"{search['copies_processor']:.1f} seconds of a processor for 100,000 files on a warm disk" in text
    assert f"{search['again_processor']:.1f} at a second start" in text
    ways = [f"{way}_processor" for way in WAYS[1:]]
    for way, words in zip(ways, ("the first time", "afterwards"), strict=True):
        assert f"{100 * start['slower_by'][way]:.0f} % {words}" in text
    for way in ways:
        expected = start["medians"][way] / start["medians"]["before_processor"] - 1
        assert start["slower_by"][way] == pytest.approx(expected)


def test_a_hundredth_of_the_files_is_there_twice(tmp_path: Path) -> None:
    make_folder(tmp_path, 3000)
    source = find_source(tmp_path)
    assert len(source.train) == 3000
    assert keep_together(source, "together", carves=True)[1]["copies"] == {"images": 60, "groups": 30}
