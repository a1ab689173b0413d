"""One scale a set, from the command line: training, evaluation, prepare, predict, serve and inspect show the same."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from fsgl.commands.cli import main
from fsgl.data.images.scale import Scale
from fsgl.data.images.sources import ImageArrays, ImageFiles
from fsgl.data.images.white_level import with_scale
from fsgl.data.load import DataSpec, load_data, read_own
from fsgl.data.readers.own import find_source
from fsgl.errors import UserError

SHORT = ["--epochs", "1", "--backbone", "resnet8-slim", "--track", "none", "--workers", "0", "--batch-size", "4"]


def scene(k: int, i: int, side: int) -> np.ndarray:
    """In [0, 1]: a bright right or a bright left half."""
    random = np.random.default_rng((k, i))
    half = np.linspace(0, 1, side)[None, :: 1 if k else -1] * np.ones((side, 1))
    return (half + random.normal(0, 0.05, (side, side))).clip(0, 1)


def make(folder: Path, top: float, kind: type, suffix: str, side: int = 16, count: int = 10) -> Path:
    for k, name in enumerate("ab"):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = scene(k, i, side) * top
            Image.fromarray((np.rint(pixels) if kind is not np.float32 else pixels).astype(kind)).save(
                folder / name / f"{i}{suffix}"
            )
    return folder


@pytest.mark.parametrize(
    ("top", "kind", "suffix", "white"),
    [
        (255, np.uint16, ".png", 255),
        (4095, np.uint16, ".png", 4095),
        (16383, np.uint16, ".tif", 16383),
        (65535, np.uint16, ".png", 65535),
        (255, np.int32, ".tif", 255),
        (70000, np.int32, ".tiff", 2**17 - 1),
        (1.0, np.float32, ".tif", 1),
        (255.0, np.float32, ".tif", 255),
    ],
)
def test_any_depth_trains_on_what_eight_bits_show(
    tmp_path: Path, top: float, kind: type, suffix: str, white: float
) -> None:
    deep = load_data(DataSpec("own", str(make(tmp_path / "deep", top, kind, suffix))))
    plain = load_data(DataSpec("own", str(make(tmp_path / "plain", 255, np.uint8, ".png"))))
    assert deep.scale == Scale(0, white)
    assert plain.scale is None
    assert isinstance(deep.train, ImageArrays)
    assert isinstance(plain.train, ImageArrays)
    assert deep.describe()["scale"] == [0, white, False]
    assert any(f"white at {white:,g}" in note for note in deep.notes)
    if white in (255, 4095, 16383, 65535, 1):
        assert np.abs(deep.train.images.astype(int) - plain.train.images).max() <= 1


def test_what_one_scale_does_not_fit_is_asked_about_or_said(tmp_path: Path) -> None:
    folder = make(tmp_path / "mixed", 4095, np.uint16, ".png", side=80)
    for i in range(3):
        Image.fromarray((scene(0, i, 80) * 200).astype(np.uint16)).save(folder / "a" / f"dark{i}.png")
    source = with_scale(find_source(folder))
    assert any("3 of them hold nothing above 255.9" in note for note in source.notes)
    Image.fromarray(scene(0, 0, 80).astype(np.float32)).save(folder / "a" / "fraction.tif")
    with pytest.raises(UserError, match=r"some hold whole numbers and some fractions.*--white-level"):
        with_scale(find_source(folder))
    with pytest.raises(UserError, match="makes every image white"):
        with_scale(find_source(make(tmp_path / "bright", 65535, np.uint16, ".png", count=1)), -1.0)
    assert with_scale(find_source(folder), 3000).scale == Scale(0, 3000, given=True)


def test_images_of_eight_bits_are_not_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsgl.data.images import white_level

    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(3):
            (tmp_path / name / f"{i}.jpg").write_bytes(b"never opened")
    monkeypatch.setattr(white_level, "is_deep", None)
    source = find_source(tmp_path)
    assert with_scale(source).notes == source.notes
    (said,) = with_scale(source, 4095).notes[len(source.notes) :]
    assert "has no use" in said


def test_run_evaluate_prepare_predict_and_serve_show_one_scale(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make(tmp_path / "images", 4095, np.uint16, ".png", side=80)
    run, options = tmp_path / "run", ["--image-size", "24", *SHORT]
    assert main(["train", "cross-entropy", "--data", str(folder), "--run", str(run), *options]) == 0
    assert "white at 4,095 for all of them (--white-level takes another)" in capsys.readouterr().out
    record = json.loads((run / "experiment.json").read_text())
    assert record["data"]["scale"] == [0, 4095, False]
    assert main(["evaluate", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["top1"] == record["result"]["last"]["top1"]

    assert main(["prepare", str(folder), str(tmp_path / "prepared"), "--workers", "0"]) == 0
    assert "white at 4,095" in capsys.readouterr().out
    prepared, files = (read_own(DataSpec("own", str(path))) for path in (tmp_path / "prepared", folder))
    assert prepared.scale == files.scale == Scale(0, 4095)
    assert isinstance(files.train, ImageFiles)
    for position in range(0, 20, 7):
        np.testing.assert_array_equal(prepared.train.pixels(position), files.train.pixels(position))  # type: ignore
    with pytest.raises(UserError, match="prepared with white at 4095; prepare it again"):
        read_own(DataSpec("own", str(tmp_path / "prepared"), white_level=255.0))

    # One image alone: its own values are no matter, those of the run are.
    dim = tmp_path / "dim.png"
    Image.fromarray((scene(0, 99, 80) * 300).astype(np.uint16)).save(dim)
    eight = tmp_path / "eight.png"
    Image.fromarray(((scene(0, 99, 80) * 300).astype(np.uint16) >> 4).astype(np.uint8)).save(eight)

    def shares(*arguments: str) -> list[float]:
        capsys.readouterr()
        assert main(["predict", str(run), *arguments, "--format", "json", "--top-k", "2"]) == 0
        (row,) = json.loads(capsys.readouterr().out)
        return [each["probability"] for each in sorted(row["predictions"], key=lambda each: each["class"])]

    assert shares(str(dim)) == pytest.approx(shares(str(eight)), abs=1e-6)
    assert shares(str(dim), "--white-level", "300") != pytest.approx(shares(str(eight)), abs=1e-6)

    from fsgl.deploy.serve.app import make_app
    from fsgl.runs.saved import load_model

    with TestClient(make_app(load_model(run), "run", None, ["testserver"])) as client:
        answer = client.post("/predict", content=dim.read_bytes(), headers={"content-type": "image/png"}).json()
    found = sorted(answer["predictions"], key=lambda each: each["class"])
    assert [each["probability"] for each in found] == pytest.approx(shares(str(eight)), abs=1e-6)
    assert answer["notes"] == []


def test_a_run_on_eight_bits_says_how_it_takes_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make(tmp_path / "images", 255, np.uint8, ".png", side=80)
    run = tmp_path / "run"
    assert main(["train", "cross-entropy", "--data", str(folder), "--run", str(run), "--image-size", "24", *SHORT]) == 0
    deep = make(tmp_path / "deep", 4095, np.uint16, ".png", side=80, count=2)
    capsys.readouterr()
    assert main(["predict", str(run), str(deep), "--format", "json"]) == 0
    assert "white at 4,095 for all of them" in capsys.readouterr().err

    from fsgl.deploy.serve.app import make_app
    from fsgl.runs.saved import load_model

    with TestClient(make_app(load_model(run), "run", None, ["testserver"])) as client:
        content = (deep / "a" / "0.png").read_bytes()
        answer = client.post("/predict", content=content, headers={"content-type": "image/png"}).json()
    assert "white at 4,095, by this image alone" in answer["notes"][0]


def test_a_set_of_another_depth_is_not_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make(tmp_path / "images", 4095, np.uint16, ".png", side=80)
    run = tmp_path / "run"
    assert main(["train", "cross-entropy", "--data", str(folder), "--run", str(run), "--image-size", "24", *SHORT]) == 0
    for path in folder.rglob("*.png"):
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            Image.fromarray(np.asarray(image) * np.uint16(4)).save(path)
    capsys.readouterr()
    assert main(["evaluate", str(run)]) == 2
    assert "the data's hash differs" in capsys.readouterr().err
