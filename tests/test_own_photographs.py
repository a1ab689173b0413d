"""From a folder of photographs, some of them bad, to a prepared set and a trained network, on the command line."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests import forked

from fsgl.commands.cli import main

TINY = ["--backbone", "resnet8-slim", "--batch-size", "4", "--image-size", "24", "--workers", "0", "--track", "none"]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for part, counts in {"train": (7, 4), "test": (3, 2)}.items():
        for label, count in zip(("cat", "dog"), counts, strict=True):
            folder = tmp_path / "photos" / part / label
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 256, (70 + i, 90, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.jpg")
    return tmp_path / "photos"


def record(run: str) -> dict:
    return json.loads((Path(run) / "experiment.json").read_text())


def test_prepare_verify_and_train(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "photos", "prepared", "--short-side", "32", "--workers", "0"]) == 0
    said = capsys.readouterr().out
    assert "16 images" in said
    assert "fsgl train fsgl --data prepared" in said
    assert main(["prepare", "prepared", "--verify"]) == 0
    assert "every byte is as it was written" in capsys.readouterr().out
    assert main(["train", "fsgl", "--data", "prepared", "--run", "run", "--epochs", "1", *TINY]) == 0
    found = record("run")
    assert found["class_names"] == ["cat", "dog"]
    assert found["status"] == "complete"
    assert found["data"]["unreadable"] == 0
    assert not Path("run/bad-images.json").exists()
    assert main(["evaluate", "run", "--workers", "0", "--json"]) == 0


def test_bad_images_are_listed_and_not_counted(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "train" / "cat" / "3.jpg").write_bytes(b"")
    (photos / "test" / "dog" / "1.jpg").write_bytes(b"hello")
    assert main(["train", "fsgl", "--data", "photos", "--run", "run", "--epochs", "2", "--val", "0", *TINY]) == 0
    said = capsys.readouterr().out
    assert "2 images cannot be read and are left out; run/bad-images.json lists them" in said
    listed = json.loads(Path("run/bad-images.json").read_text())
    assert {Path(path).name: reason for path, reason in listed.items()} == {
        "3.jpg": "empty",
        "1.jpg": "not an image (or of a format that is not read)",
    }
    assert record("run")["data"]["unreadable"] == 2
    predictions = np.load("run/predictions.npz")
    assert predictions["labels"].tolist() == [0, 0, 0, 1]
    assert np.isfinite(predictions["logits"]).all()
    assert main(["evaluate", "run", "--workers", "0", "--json"]) == 0
    scored = json.loads(capsys.readouterr().out)
    assert scored["top1"] == pytest.approx(record("run")["result"]["last"]["top1"])


def test_bad_images_may_be_an_error(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "train" / "cat" / "3.jpg").write_bytes(b"")
    options = ["--bad-images", "error", "--val", "0", "--epochs", "1", *TINY]
    assert main(["train", "fsgl", "--data", "photos", "--run", "run", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "3.jpg: empty; fix or remove it" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("prepare photos", "name the new folder as well"),
        ("prepare photos out --verify", "takes one folder"),
        ("prepare photos --verify", "photos/prepared.json: no such file"),
        ("prepare nowhere out", "nowhere: no such file or folder"),
        ("prepare photos out --encoding gif", "encoding"),
        ("prepare photos out --short-side 2", "the short side must be from 8 to 4096"),
        ("prepare photos out --workers 9999", "--workers must be from 0"),
        ("prepare photos photos", "holds something else"),
        ("train fsgl --data photos --image-size 0", "transfer.image_size must be from 1"),
        ("train fsgl --data photos --bad-images ignore", "unknown data.bad_images 'ignore'; known: skip, error"),
        ("train fsgl --data photos data.augmentation=slow", "augmentation"),
    ],
)
def test_mistakes_are_one_line(photos: Path, arguments: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_preparing_is_stopped_and_gone_on_with(photos: Path, number: int) -> None:
    for i in range(900):  # four shards
        Image.new("RGB", (300, 200), (i % 256, 0, 0)).save(photos / "train" / "cat" / f"more{i}.jpg")
    command = ["prepare", "photos", "out", "--workers", "1"]
    process = forked.start(*command, stdout=forked.DEVNULL)
    while process.poll() is None and not list(Path("out").glob("*.json")):
        time.sleep(0.02)
    process.send_signal(number)
    _, errors = process.communicate(timeout=300)
    if process.returncode != 0:  # it may have been faster
        assert process.returncode == 128 + number
        waits, ended = errors.split()[1], errors.strip().splitlines()[-1]
        assert waits in ("stopping,", "stopped;")  # the first is said while a shard is finished
        assert ended.startswith("fsgl: stopped; the same command goes on")
        assert len(errors.strip().splitlines()) <= 2
    kept = {path.name for path in Path("out").glob("*.bin")}
    assert kept
    if process.returncode != 0:
        assert main(command) == 0
    assert main(["prepare", "out", "--verify"]) == 0
