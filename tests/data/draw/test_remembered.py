from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsgl.data.draw import together
from fsgl.data.draw.together import keep_together
from fsgl.data.images.sources import ImageFiles, Source

Found = tuple[dict[str, tuple[str, ...]], dict[str, object]]


@pytest.fixture
def find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Found]:
    """Groups and record of a folder that has copies; a search counts in ``find.searches``."""
    random = np.random.default_rng(0)
    for i in range(12):
        path = tmp_path / "images" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    shutil.copy(tmp_path / "images/a/0.png", tmp_path / "images/a/copy.png")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(together, "WORTH_KEEPING", -1.0)
    real, searches = together.same_content, []

    def counted(*arguments: object) -> list[list[int]]:
        searches.append(1)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(together, "same_content", counted)

    def found(copies: str = "together") -> Found:
        paths = tuple(sorted(str(path.relative_to(tmp_path / "images")) for path in tmp_path.glob("images/*/*.png")))
        labels = np.array([path[0] == "b" for path in paths], dtype=np.int64)
        images = ImageFiles(tmp_path / "images", paths, labels)
        source = Source("own", images, None, ("a", "b"), (0.5,) * 3, (0.5,) * 3)  # type: ignore[arg-type]
        kept, record = keep_together(source, copies, carves=True)
        return kept.groups, record

    found.searches = searches  # type: ignore[attr-defined]
    return found


def test_the_same_files_are_not_searched_again(find: Callable[..., Found], tmp_path: Path) -> None:
    first = find()
    assert first[1]["copies"] == {"images": 2, "groups": 1}
    assert find() == first
    assert len(find.searches) == 1  # type: ignore[attr-defined]
    (kept,) = (tmp_path / "cache/fsgl/copies").iterdir()
    kept.write_bytes(b"{")  # damaged
    assert find() == first
    assert len(find.searches) == 2  # type: ignore[attr-defined]


def test_a_change_is_noticed(find: Callable[..., Found], tmp_path: Path) -> None:
    first, one = find(), tmp_path / "images/b/1.png"
    shutil.copy(tmp_path / "images/a/2.png", one)  # another content, perhaps of another size
    second = find()
    assert second[1]["copies"] == {"images": 4, "groups": 2} != first[1]["copies"]
    os.utime(one, ns=(1, 1))
    assert find() == second
    one.rename(tmp_path / "images/b/new.png")
    assert find()[1]["copies"] == second[1]["copies"]
    assert len(find.searches) == 4  # type: ignore[attr-defined]


def test_where_nothing_can_be_kept_it_is_searched(find: Callable[..., Found], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the cache should be")
    assert find() == find()
    assert len(find.searches) == 2  # type: ignore[attr-defined]
