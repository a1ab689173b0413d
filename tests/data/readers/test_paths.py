from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsgl.data.readers.paths import inside, leaves_root, require_some_file, shorten
from fsgl.errors import UserError


@pytest.mark.parametrize(
    ("written", "relative"),
    [("a/b.jpg", "a/b.jpg"), (" a b.jpg ", "a b.jpg"), ("./a.jpg", "a.jpg"), (".//./a.jpg", "a.jpg"),
     ("...jpg", "...jpg"), ("a..b/c", "a..b/c"), ("/data/pets/cat/1.jpg", "cat/1.jpg"),
     ("img//a.png", "img/a.png"), ("img/./a.png", "img/a.png"), ("/data//pets//cat/1.jpg", "cat/1.jpg"),
     ("/data/pets//etc/passwd", "etc/passwd"), ("a./b", "a./b")],
)  # fmt: skip
def test_paths_inside(written: str, relative: str) -> None:
    assert inside(Path("/data/pets"), written, "here") == relative


@pytest.mark.parametrize(
    "written",
    ["", " ", ".", "./", "..", "../x", "a/../../x", "a\\..\\x", "/etc/passwd", "/data/petshop/1.jpg", "/data/pets/",
     "/data/pets/../x", "\\\\server\\x", "C:\\x", "c:/x", "a\0b", "./../x", "//etc/passwd"],
)  # fmt: skip
def test_paths_that_lead_out_are_refused(written: str) -> None:
    with pytest.raises(UserError, match=r"^t\.csv, line 3: '.*' must be a path inside the image folder '/data/pets'$"):
        inside(Path("/data/pets"), written, "t.csv, line 3")


@given(st.text(max_size=30) | st.text("./a\\", max_size=9))
def test_whatever_is_taken_stays_inside(written: str) -> None:
    try:
        relative = inside(Path("/data/pets"), written, "here")
    except UserError:
        return
    assert os.path.normpath(os.path.join("/data/pets", relative)).startswith("/data/pets/")
    assert not leaves_root(relative)


def test_wrong_folder_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "b.jpg").touch()
    require_some_file(tmp_path, ["a.jpg", "b.jpg"], "t.csv")  # one missing file is no wrong folder
    with pytest.raises(UserError, match=r"t\.csv: its first image 'a\.jpg' is not under .*--root"):
        require_some_file(tmp_path, ["a.jpg", "x" * 300, "c\ud800"], "t.csv")
    with pytest.raises(UserError, match=r"t\.csv: the image folder '.*none' does not exist"):
        require_some_file(tmp_path / "none", ["a.jpg"], "t.csv")


def test_shortened_text_is_one_line() -> None:
    assert shorten(" a\nb\x1b[31m ") == "a?b?[31m"
    assert shorten("x" * 81) == "x" * 77 + "..."
