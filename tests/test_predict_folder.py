"""What predict takes of a folder: its pictures, and nothing that merely stands among them."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsgl.commands.cli import main
from fsgl.data.images.image_files import open_in_set
from fsgl.deploy.predict import find_images


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


def test_what_training_passes_over_is_not_asked_about_either(tmp_path: Path) -> None:
    files = ("a.png", "._a.png", ".hidden/b.png", "@eaDir/a.png", "sub/c.jpg", "Thumbs.db", "#recycle/d.png", "e.mp4")
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "x.jpg").mkdir()
    (tmp_path / "out.png").symlink_to("/etc/passwd")  # of which the reader says what is wrong
    files, said = find_images([str(tmp_path)])
    assert [file.relative for file in files] == ["a.png", "out.png", "sub/c.jpg"]
    assert any("'#recycle', '@eaDir'" in note for note in said), said
    assert any("cannot be read here: 1 .mp4" in note for note in said), said
    found, said = find_images([str(tmp_path / "**/*.*g")])  # as a shell, or glob, finds them
    assert [file.relative for file in found if file.relative != "passwd"] == ["a.png", "c.jpg"]
    assert said == ["passed over, as systems and programs leave it: '#recycle' 1, '@eaDir' 1"]
    found, said = find_images([str(path) for path in sorted(tmp_path.glob("*")) if path.is_file() or "@" in path.name])
    assert [Path(file.shown).name for file in found] == ["._a.png", "a.png", "e.mp4", "out.png"]
    assert said == ["passed over, as systems and programs leave it: '@eaDir' 1, 'Thumbs.db' 1"]
    assert [file.relative for file in find_images([str(tmp_path / "@eaDir")])[0]] == [
        "a.png"
    ]  # named alone, it is meant


def test_links_of_a_folder_are_followed_where_that_is_said(tmp_path: Path) -> None:
    """As the caches of hubs and DVC lay out pictures."""
    for name in ("blobs/1.png", "far/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    folder = tmp_path / "new"
    folder.mkdir()
    for name, target in {"a.png": "../blobs/1.png", "sub": "../far", "loop": ".", "gone": "nothing"}.items():
        (folder / name).symlink_to(target)
    files, (said,) = find_images([str(folder)])
    assert [file.relative for file in files] == ["a.png"]  # the reader says that it leads out
    assert said == f"{folder}: links to folders left aside: 'gone', 'loop', 'sub' (--follow-links takes them)"
    files, (said,) = find_images([str(folder)], follow=True)
    assert [file.relative for file in files] == ["a.png", "sub/2.png"]
    assert said == f"{folder}: links to folders left aside: 'gone', 'loop' (they lead round, or to nothing)"
    for file in files:
        assert open_in_set(file.root, file.relative, None, None, file.follow).size == (8, 8)
