"""What predict takes of a folder: its pictures, and nothing that merely stands among them."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsgl.commands.cli import main


def test_a_folder_with_junk_gives_its_pictures_alone(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("1.png", "sub/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(tmp_path / name)
    for folder in ("@eaDir", "#recycle", "$RECYCLE.BIN", "Thumbs", "sub/thumbnails", ".cache", "lost+found", "x.png"):
        (tmp_path / folder).mkdir()
        if folder != "x.png":  # a folder that is called like a picture holds none of these
            shutil.copy(tmp_path / "1.png", tmp_path / folder)
    for name in ("._1.png", "Thumbs.db", "desktop.ini", "sub/._2.png"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    assert main(["predict", str(finished), str(tmp_path), "--format", "csv"]) == 0
    said = capsys.readouterr()
    rows = list(csv.DictReader(said.out.splitlines()))
    assert [Path(row["path"]).relative_to(tmp_path).as_posix() for row in rows] == ["1.png", "sub/2.png"]
    assert not any(row["error"] for row in rows)
    assert "2 images" in said.err
