"""``fsgl report`` on images of one's own, whose files change and whose classes have any name."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsgl.commands.cli import main
from fsgl.evaluation.metrics import evaluate_predictions
from fsgl.runs.saved import load_network, read_predictions, read_record

LONG = "Animalia Chordata Aves Passeriformes Corvidae Corvus "
NAMES = (f"{LONG}corax", f"{LONG}corone", "_under", "[red]", "<script>x<", ' "line",\n\U0001f436 & ')


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, random = tmp_path_factory.mktemp("report"), np.random.default_rng(0)
    for k, name in enumerate(NAMES):
        (folder / "photos" / name).mkdir(parents=True)
        for i in range(14 - k):
            pixels = random.integers(0, 256, (20 + i, 30, 3), dtype=np.uint8)  # of many sizes, so read from their files
            Image.fromarray(pixels).save(folder / "photos" / name / f"{i}.png")
    options = ["--epochs", "1", "--backbone", "resnet8-slim", "--image-size", "16", "--batch-size", "16"]
    own = ["--data", str(folder / "photos"), "--run", str(folder / "run"), "--workers", "0", "--track", "none"]
    assert main(["train", "cross-entropy", *own, *options]) == 0
    return folder / "run"


def test_every_class_is_in_the_csv_under_its_whole_name(trained: Path, tmp_path: Path) -> None:
    assert main(["report", str(trained), "--out", str(tmp_path), "--no-images"]) == 0
    with (tmp_path / "tables" / "classes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["class"] for row in rows} == set(NAMES)
    saved, names = read_predictions(trained), read_record(trained)["class_names"]
    accuracy = evaluate_predictions(saved["logits"], saved["labels"], saved["class_counts"])["per_class"]
    for row in rows:
        value = accuracy[names.index(row["class"])]
        assert float(row["accuracy"]) == pytest.approx(value, abs=0.01)
        assert float(row["low"]) <= float(row["accuracy"]) <= float(row["high"])
    counts = [int(row["train images"]) for row in rows]
    assert counts == sorted(counts, reverse=True)


def test_a_test_image_damaged_since_costs_the_pictures_and_nothing_else(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = load_network(trained).data.test
    path = Path(test.location(0))  # type: ignore[union-attr]
    kept = shutil.copy(path, tmp_path / "kept")
    try:
        path.write_bytes(b"x")
        assert main(["report", str(trained), "--out", str(tmp_path / "out"), "--workers", "0"]) == 0
    finally:
        shutil.copy(kept, path)
    said = "Pictures of mistakes: "
    assert f"left out    {said}" in capsys.readouterr().out
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert said in page
    assert "Feature norms" in page
    assert "<script" not in page


@pytest.mark.parametrize("out", ["page.html", "file"])
def test_out_is_a_folder(out: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    capsys.readouterr()
    assert main(["report", str(trained), "--out", str(tmp_path / out), "--no-images"]) == 2
    assert "name a folder" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()
