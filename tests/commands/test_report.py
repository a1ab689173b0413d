"""``fsgl report`` on images of one's own, whose files change and whose classes have any name."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fsgl.commands.cli import main
from fsgl.evaluation.metrics import evaluate_predictions
from fsgl.models.assemble import Classifier
from fsgl.recipes import make_experiment
from fsgl.report.why import NEAREST, Reasons, attention
from fsgl.runs.network import ModelWithData
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
    shutil.copy(folder / "photos" / NAMES[0] / "0.png", folder / "photos" / NAMES[0] / "0 copy.png")
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
    said = "copies: 2 training images are 1 (the same content); each stays on one side of a split"
    assert said in (tmp_path / "report.html").read_text()
    counts = [int(row["train images"]) for row in rows]
    assert counts == sorted(counts, reverse=True)


def test_the_page_fits_a_phone_and_a_screen(trained: Path, tmp_path: Path, fits: Callable[[Path], None]) -> None:
    assert main(["report", str(trained), "--out", str(tmp_path), "--workers", "0"]) == 0
    fits(tmp_path / "report.html")


def test_mistakes_say_where_the_network_looked_and_what_is_near(trained: Path, tmp_path: Path) -> None:
    assert main(["report", str(trained), "--out", str(tmp_path), "--workers", "0"]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "on photos, seed 0" in page  # not "own"
    if "None is wrong." not in page:
        assert page.count('where the network looked"') == page.count("near: ") > 0
    network = load_network(trained)
    train, reasons = network.data.train, Reasons(network, torch.device("cpu"))
    for position in (0, len(train) - 1):  # of training images it knows, each is the nearest to itself
        why = reasons.of(train, position, 0)  # type: ignore[arg-type]
        assert why.nearest[0][1] == train.labels[position]
        assert len(why.nearest) == NEAREST
        assert why.looked is not None


def test_where_a_network_with_a_mean_and_a_linear_map_looks_is_its_class_activation_map() -> None:
    """Zhou et al., CVPR 2016: there Grad-CAM is relu(sum_c w_kc A_c), up to a factor."""
    torch.manual_seed(0)
    maps = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    backbone = nn.Sequential(*maps, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = ModelWithData(
        Classifier(backbone, fc := nn.Linear(4, 3)), make_experiment("cross-entropy", "digits"), None
    )  # type: ignore[arg-type]
    images, classes = torch.randn(5, 3, 9, 9), np.array([0, 1, 2, 1, 0])
    found = attention(network, images, classes)
    for image, k, where in zip(images, classes, found, strict=True):
        cam = sum(fc.weight[k, c] * maps(image[None])[0, c] for c in range(4)).clamp(min=0).detach().numpy()
        np.testing.assert_allclose(where, cam / max(cam.max(), 1e-12), atol=1e-5)
    tokens = nn.Sequential(nn.Flatten(2), nn.Linear(81, 4), nn.Flatten())
    assert attention(replace(network, model=Classifier(tokens, nn.Linear(12, 3))), images, classes) is None


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
