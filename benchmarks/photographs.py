"""Photographs of one's own, as the defaults have it: 796 drawings and photographs in 16 folders, 247 to 3 a class.

    python -m benchmarks.photographs [--record results] [--images FOLDER]

The images are the stamps of own_folders.py, fetched unless --images names a folder that has them. Each recipe is a
whole ``fsgl train`` as typed, its start and the report at its end included; the first one computes the features, the
others find them. Nothing is chosen here: the recipes are those whose figures were asked for, each at its defaults.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from benchmarks.own_folders import STAMPS, fetch_stamps

from fsgl.engine.environment import environment
from fsgl.report.records import write_record

RECIPES = ("balanced-softmax", "cross-entropy", "glmc", "fsgl")
FIGURES = ("top1", "balanced", "many", "medium", "few", "n")


def options_of(description: str | None) -> argparse.ArgumentParser:
    """Of a benchmark on these images: --record and --images."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="write the record into this folder")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="the class folders, where they are at hand")
    return parser


def images_of(options: argparse.Namespace, work: Path) -> Path:
    """The class folders that are named, or else fetched into ``work``."""
    return options.images.absolute() if options.images else fetch_stamps(work)


def measure(images: Path, work: Path) -> list[dict[str, Any]]:
    """A row for each recipe, printed as it comes."""
    rows = []
    for recipe in RECIPES:
        run = work / recipe
        typed = ["train", recipe, "--data", str(images), "--run", str(run), "--track", "none", "--device", "cpu"]
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "fsgl", *typed, "--feature-cache", str(work / "features")], check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        found = json.loads((run / "experiment.json").read_text())
        test = found["result"]["last"]
        row = {
            "recipe": recipe, "seconds": seconds, "test": {name: test[name] for name in FIGURES},
            "settings": {name: found["settings"][name] for name in ("optim", "schedule", "transfer")},
            "view": found["settings"]["data"].get("view", "middle"),
            "pretrained": found["pretrained"], "split_hash": found["data"]["split_hash"],
        }  # fmt: skip
        rows.append(row)
        figures = "  ".join(f"{name} {test[name]:.1f}" for name in ("top1", "few", "balanced"))
        print(f"{recipe:<18} {seconds:6.0f} s  {figures}", flush=True)
    return rows


def main(arguments: list[str]) -> int:
    """Measure, and record."""
    parser = options_of(__doc__)
    options = parser.parse_args(arguments)
    with TemporaryDirectory() as name:
        work = Path(name)
        load = os.getloadavg()[0]
        rows = measure(images_of(options, work), work)
        note = "the machine was shared, so seconds are upper bounds; load average before and after"
        content = {"images": STAMPS, "rows": rows, "load": [load, os.getloadavg()[0]], "note": note}
    if options.record:
        command = "python -m benchmarks.photographs"
        write_record(
            options.record, "photographs", "photographs-stamps", command, environment(torch.device("cpu")), content
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
