"""The commands of docs/walkthrough.md, run one after the other."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from benchmarks.pages.walkthrough import RECORD, walkthrough_page
from PIL import Image

from fsgl.commands import cli

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "walkthrough.md"


def test_the_seconds_below_the_commands_are_those_of_the_record(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert walkthrough_page(text, ROOT / "results") == text
    record = json.loads((ROOT / "results" / RECORD).read_text())
    assert all(step["exit"] == 0 for step in record["content"]["steps"])
    record["content"]["steps"][0]["seconds"] = 1234.4
    (tmp_path / RECORD).write_text(json.dumps(record))
    changed = walkthrough_page(text, tmp_path)
    assert "Recorded: 1234 seconds." in changed.split("fsgl auto")[0]
    assert walkthrough_page(changed, ROOT / "results") == text


@pytest.mark.slow
@pytest.mark.usefixtures("trials_forked")
def test_the_walkthrough_walks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    colours = {"red fish": (200, 60, 60), "green fish": (60, 190, 70), "blue fish": (60, 80, 200)}
    for part, counts in {"train": (30, 13, 5), "test": (6, 6, 6)}.items():
        for (label, colour), count in zip(colours.items(), counts, strict=True):
            (tmp_path / "photos" / part / label).mkdir(parents=True)
            for i in range(count):
                coarse = (np.array(colour) + random.normal(0, 30, (5, 6, 3))).clip(0, 255).astype(np.uint8)
                image = Image.fromarray(coarse).resize((96 + i % 5, 80), Image.Resampling.BICUBIC)
                image.save(tmp_path / "photos" / part / label / f"{i}.png")
    commands = [line for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.S) for line in block.splitlines()]
    assert len(commands) == 6
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("fsgl.automatic.run.PATIENCE", 1)  # trials without a better one: it ends before the time is up
    monkeypatch.setattr("fsgl.automatic.whole.MARGIN", 1e-6)  # and fine-tunes nothing
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "fsgl"
        if arguments[0] == "auto":
            arguments += ["--image-size", "64"]  # the images' own 96 pixels would be shown at 192
        if arguments[0] == "serve":  # tests/test_serve.py
            cli.parse(arguments)
        else:
            assert cli.main(arguments) == 0, command
    found = json.loads(Path("photos.json").read_text())
    assert found["tail"]["imbalance_factor"] == pytest.approx(30 / 5)
    assert found["recommendation"]["command"] == "auto"
    every = list(csv.DictReader(Path("predictions.csv").read_text().splitlines()))
    rows = [row for row in every if row["path"].startswith("photos/test/")]
    assert (len(every), len(rows)) == (66, 18)
    right = sum(row["class_1"] == Path(row["path"]).parent.name for row in rows)
    assert right > 9  # a third is chance, and the colours are plain
    assert Path("model.onnx").stat().st_size > 10_000
    assert Path("photos.html").read_text().startswith("<!doctype html>")
