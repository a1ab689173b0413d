"""How many labels that were made wrong ``fsgl inspect`` finds in photographs, by features and by small pixels.

    python -m benchmarks.label_errors [--record results] [--images FOLDER]

On the stamps of benchmarks/own_folders.py, of classes that are judged. Forty images are moved to another class's
folder, at random, each seed anew. What the stamps' own labels have wrong counts as a false alarm.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from benchmarks.own_folders import STAMPS
from benchmarks.photographs import images_of, options_of

from fsgl.engine.environment import environment
from fsgl.inspection.label_errors import LEAST
from fsgl.report.records import write_record

PLANTED = 40
SEEDS = (0, 1)


def plant(images: Path, into: Path, seed: int) -> set[str]:
    """A copy of the folder with labels made wrong. Returns the names of the moved files."""
    shutil.copytree(images, into)
    random = np.random.default_rng(seed)
    classes = [one for one in sorted(into.iterdir()) if sum(path.is_file() for path in one.rglob("*")) >= LEAST]
    paths = [path for one in classes for path in sorted(one.rglob("*")) if path.is_file()]
    moved = set()
    for place in random.choice(len(paths), PLANTED, replace=False):
        path = paths[place]
        others = [one for one in classes if not path.is_relative_to(one)]
        name = f"moved-{place}{path.suffix}"
        path.rename(others[random.integers(len(others))] / name)
        moved.add(name)
    return moved


def measure(images: Path, work: Path) -> list[dict[str, Any]]:
    """A row for each seed and kind of features, printed as it comes."""
    rows = []
    for seed in SEEDS:
        moved = plant(images, work / f"seed{seed}", seed)
        for minutes in ("30", "0"):
            typed = ["inspect", str(work / f"seed{seed}"), "--json", "-", "--label-minutes", minutes]
            environment = {**os.environ, "XDG_CACHE_HOME": str(work / "cache")}
            made = subprocess.run(
                [sys.executable, "-m", "fsgl", *typed], check=True, capture_output=True, text=True, env=environment
            )
            found = json.loads(made.stdout)["label_errors"]
            hits = [Path(each["image"]).name in moved for each in found["listed"]]
            row = {
                "seed": seed, "features": found["features"], "model_accuracy": found["model_accuracy"],
                "judged": found["judged"], "planted": len(moved), "found": found["count"], "hits": sum(hits),
                "hits_of_surest": sum(hits[:PLANTED]),
            }  # fmt: skip
            rows.append(row)
            print(row, flush=True)
    return rows


def main(arguments: list[str]) -> int:
    """Measure, and record."""
    parser = options_of(__doc__)
    options = parser.parse_args(arguments)
    with TemporaryDirectory() as name:
        work = Path(name)
        rows = measure(images_of(options, work), work)
    if options.record:
        command = "python -m benchmarks.label_errors"
        write_record(
            options.record, "label-errors", "label-errors-stamps", command, environment(torch.device("cpu")),
            {"images": STAMPS, "rows": rows},
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
