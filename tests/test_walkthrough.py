"""The commands of docs/walkthrough.md, run one after the other."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsgl.commands import cli

PAGE = Path(__file__).parent.parent / "docs" / "walkthrough.md"


def test_the_walkthrough_walks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    colours = {"red fish": (200, 60, 60), "green fish": (60, 190, 70), "blue fish": (60, 80, 200)}
    for part, counts in {"train": (60, 25, 9), "test": (6, 6, 6)}.items():
        for (label, colour), count in zip(colours.items(), counts, strict=True):
            (tmp_path / "photos" / part / label).mkdir(parents=True)
            for i in range(count):
                coarse = (np.array(colour) + random.normal(0, 30, (5, 6, 3))).clip(0, 255).astype(np.uint8)
                image = Image.fromarray(coarse).resize((96 + i % 5, 80), Image.Resampling.BICUBIC)
                image.save(tmp_path / "photos" / part / label / f"{i}.png")
    commands = [line for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.S) for line in block.splitlines()]
    assert len(commands) == 10
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "fsgl"
        if arguments[0] == "serve":  # tests/test_serve.py
            cli.parse(arguments)
        else:
            assert cli.main(arguments) == 0, command
    found = json.loads(Path("photos.json").read_text())
    assert found["tail"]["imbalance_factor"] == pytest.approx(60 / 9)
    assert found["recommendation"]["command"] == "auto"
    rows = list(csv.DictReader(Path("predictions.csv").read_text().splitlines()))
    assert len(rows) == 18
    right = sum(row["class_1"] == Path(row["path"]).parent.name for row in rows)
    assert right > 9  # a third is chance, and the colours are plain
    assert Path("model.onnx").stat().st_size > 10_000
    assert Path("photos.html").read_text().startswith("<!doctype html>")
