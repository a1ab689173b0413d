"""``fsgl auto`` against the single recipes at their defaults, each as typed: the same images, the same seeds.

    python benchmarks/auto.py [--minutes 3] [--seeds 3] [--record results] [--images FOLDER]

The images are those of photographs.py. auto begins with an empty cache, so that its minutes hold everything from the
command's start on; the recipes find the features it kept. A seed draws which images are kept for testing, too, so that
rows of one seed share their test images. Nothing is chosen here; what auto chooses, it chooses on training images.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from photographs import FIGURES, PACKAGE, RECIPES, images_of, options_of

from fsgl.engine.environment import environment
from fsgl.report.records import write_record


def typed(words: list[str], run: Path) -> tuple[float, dict[str, Any]]:
    """Seconds of ``fsgl`` with these words, its start included, and the record of its run."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "fsgl", *words, "--run", str(run)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start, json.loads((run / "experiment.json").read_text())


def row(seed: int, way: str, seconds: float, found: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a run, printed as it comes."""
    test = found["result"]["last"]
    print(f"seed {seed}  {way:<18} {seconds:6.0f} s  mean over classes {test['balanced']:.1f}", flush=True)
    kept = {
        "seed": seed, "way": way, "seconds": seconds, "test": {name: test[name] for name in FIGURES},
        "split_hash": found["data"]["split_hash"],
    }  # fmt: skip
    auto = found.get("auto")
    if auto:
        names = ("trials", "failed", "seconds", "chosen", "best", "expected", "test_interval", "judged")
        kept["auto"] = {name: auto[name] for name in names}
    return kept


def measure(images: Path, work: Path, minutes: float, seeds: int) -> list[dict[str, Any]]:
    """A row for auto and one for each recipe, of every seed."""
    rows = []
    for seed in range(seeds):
        common = ["--device", "cpu", "--seed", str(seed), "--feature-cache", str(work / f"features-{seed}"),
                  f"data.test_seed={seed}"]  # fmt: skip
        auto = ["auto", str(images), "--minutes", str(minutes), *common]
        rows.append(row(seed, "auto", *typed(auto, work / f"auto-{seed}")))
        for recipe in RECIPES:
            train = ["train", recipe, "--data", str(images), "--track", "none", *common]
            rows.append(row(seed, recipe, *typed(train, work / f"{recipe}-{seed}")))
    return rows


def main(arguments: list[str]) -> int:
    """Measure, and record."""
    parser = options_of(__doc__)
    parser.add_argument("--minutes", type=float, default=3.0, help="of auto, for everything (3)")
    parser.add_argument("--seeds", type=int, default=3, help="(3)")
    options = parser.parse_args(arguments)
    with TemporaryDirectory() as name:
        work, load = Path(name), os.getloadavg()[0]
        images = images_of(options, work)
        rows = measure(images, work, options.minutes, options.seeds)
        content = {
            "images": options.images.name if options.images else PACKAGE, "minutes": options.minutes, "rows": rows,
            "load": [load, os.getloadavg()[0]],
        }  # fmt: skip
    if options.record:
        command, title = "python benchmarks/auto.py", "stamps" if not options.images else options.images.name
        write_record(options.record, "auto", f"auto-{title}", command, environment(torch.device("cpu")), content)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
