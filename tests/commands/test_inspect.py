"""fsgl inspect on the command line, on a folder with planted faults."""

from __future__ import annotations

import html.parser
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsgl.commands.cli import main
from fsgl.data.load import DataSpec, load_data

NASTY = "<script>alert(1)</script>"[:-9].replace("/", "")  # a folder's name cannot hold a slash


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    root = tmp_path / "photos"
    for part, counts in {"train": (30, 6), "test": (4, 3)}.items():
        for label, count in zip(("cat", NASTY), counts, strict=True):
            (root / part / label).mkdir(parents=True)
            for i in range(count):
                small = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8))
                small.resize((80 + i, 60), Image.Resampling.BICUBIC).save(root / part / label / f"{i}.png")
    with Image.open(root / "test" / "cat" / "1.png") as image:
        image.save(root / "train" / "cat" / "leak.png")
        image.convert("RGBA").save(root / "train" / NASTY / "two & labels.png")
    with Image.open(root / "train" / "cat" / "7.png") as image:
        image.point(lambda value: min(255, value + 4)).save(root / "train" / "cat" / "near.png")
    (root / "train" / "cat" / "empty.png").write_bytes(b"")
    (root / "val" / "cat").mkdir(parents=True)
    Image.new("L", (100, 100), 30).save(root / "val" / "cat" / "grey.png")
    return root


@pytest.mark.parametrize("workers", ["0", "2"])
def test_everything_planted_is_found(photos: Path, workers: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "photos", "--json", "-", "--workers", workers]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parts"] == {"train": 40, "val": 1, "test": 7}
    assert found["counts"] == {"cat": 33, NASTY: 7}
    assert found["tail"]["imbalance_factor"] == pytest.approx(33 / 7)
    assert found["unreadable"]["count"] == 1
    assert found["unreadable"]["listed"][0]["reason"] == "empty"
    assert found["missing"] == {"train": [], "val": [NASTY], "test": []}
    exact = found["duplicates"]["exact"]
    assert (exact["count"], exact["across_parts"], exact["across_classes"]) == (1, 1, 1)
    (group,) = exact["listed"]
    assert sorted(Path(image).name for image in group["images"]) == ["1.png", "leak.png", "two & labels.png"]
    near = [sorted(Path(image).name for image in group["images"]) for group in found["duplicates"]["near"]["listed"]]
    assert ["7.png", "near.png"] in near
    assert found["modes"]["PNG RGB"] == 45
    assert (found["modes"]["PNG RGBA"], found["modes"]["PNG L"]) == (1, 1)
    assert found["sizes"]["shorter_side"] == {"least": 60, "median": 60.0, "most": 100}


def test_terminal_and_files(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--html", "out/page.html", "--json", "found.json", "--workers", "0", "--no-label-errors"]
    assert main(["inspect", "photos", *options]) == 0
    said = capsys.readouterr().out
    for part in (
        "imbalance factor 4.714",
        "1 unreadable",
        "across parts (leaks)",
        "fsgl auto photos --minutes 5",
        NASTY,
    ):
        assert part in said
    assert json.loads(Path("found.json").read_text())["label_errors"] is None
    page = Path("out/page.html").read_text()
    assert NASTY not in page
    assert "&lt;script&gt;" in page
    assert "two &amp; labels.png" in page
    assert not re.search(r"(src|href|url)\s*[=(]\s*['\"]?(?!data:)\w", page)  # nothing is fetched
    assert page.count("data:image/jpeg") >= 4

    class Tags(html.parser.HTMLParser):
        seen: set[str] = set()  # noqa: RUF012  one page, one parser

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.seen.add(tag)

    Tags().feed(page)
    assert "script" not in Tags.seen
    assert {"svg", "table", "img"} <= Tags.seen


def test_arrays_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "digits", "--json", "-", "--workers", "0"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tail"]["classes"] == 10
    assert found["recommendation"]["command"] == "auto"
    assert found["label_errors"]["trusted"] is True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("inspect nowhere", "nowhere: no such file or folder"),
        ("inspect photos --workers -1", "--workers must be from 0"),
        ("inspect broken", "not one of 2 images can be read"),
        ("inspect photos --html photos", "photos: cannot be written"),
    ],
)
def test_mistakes_are_one_line(photos: Path, arguments: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    for label in "ab":
        (photos.parent / "broken" / label).mkdir(parents=True)
        (photos.parent / "broken" / label / "x.png").write_bytes(b"x")
    assert main([*arguments.split(), "--no-label-errors"]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_what_train_will_keep_together_is_foretold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The sentences are those of train on the same folder; without given parts no "0 across parts" is claimed."""
    random = np.random.default_rng(0)
    for i in range(24):
        folder = tmp_path / "icons" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(random.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        image.save(folder / f"{i}.png")
        image.save(folder / f"{i} copy.png")
    assert main(["inspect", str(tmp_path / "icons"), "--workers", "0", "--no-label-errors"]) == 0
    said = capsys.readouterr().out
    assert "across parts" not in said
    assert "24 groups are the same image: 0 labelled in two ways" in said
    notes = load_data(DataSpec("own", str(tmp_path / "icons"), copies="together")).notes
    assert sum("each stays on one side" in note for note in notes) == 1
    for note in notes[notes.index(next(note for note in notes if note.startswith("copies: 48"))) :]:
        assert f"  {note}\n" in said
