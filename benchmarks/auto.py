"""``fsgl auto`` against the single recipes at their defaults, each as typed: the same images, the same seeds.

    python -m benchmarks.auto [--minutes 3] [--seeds 3] [--record results] [--images FOLDER] [--work FOLDER]

The images are those of photographs.py. auto begins with an empty cache, so that its minutes hold everything from the
command's start on; the recipes find the features it kept. A seed draws which images are kept for testing, too, so that
rows of one seed share their test images. Nothing is chosen here; what auto chooses, it chooses on training images.
With --work the rows stand in a folder as they come, and a command that was ended goes on after the last whole one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from benchmarks.own_folders import STAMPS
from benchmarks.photographs import FIGURES, RECIPES, images_of, options_of

from fsgl.engine.environment import environment
from fsgl.files import write_json
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
        "split_hash": found["data"]["split_hash"], "view": found["settings"]["data"].get("view", "middle"),
    }  # fmt: skip
    auto = found.get("auto")
    if auto:
        names = ("trials", "failed", "seconds", "chosen", "best", "expected", "test_interval", "judged")
        kept["auto"] = {name: auto[name] for name in names}
    return kept


def measure(images: Path, work: Path, minutes: float, seeds: int, recipes: Sequence[str]) -> list[dict[str, Any]]:
    """A row for auto and one for each recipe, of every seed; those that an earlier command left are taken over."""
    kept = work / "rows.json"
    rows: list[dict[str, Any]] = json.loads(kept.read_text()) if kept.exists() else []
    known = {(each["seed"], each["way"]) for each in rows}
    for way, seed in product(("auto", *recipes), range(seeds)):
        if (seed, way) in known:
            continue
        cache, run = work / f"features-{seed}", work / f"{way}-{seed}"
        shutil.rmtree(run, ignore_errors=True)  # what was ended on the way
        if way == "auto":
            shutil.rmtree(cache, ignore_errors=True)
            words = ["auto", str(images), "--minutes", str(minutes)]
        else:
            words = ["train", way, "--data", str(images), "--track", "none"]
        common = ["--device", "cpu", "--seed", str(seed), "--feature-cache", str(cache), f"data.test_seed={seed}"]
        rows.append(row(seed, way, *typed([*words, *common], run)))
        write_json(kept, rows)
    return rows


def main(arguments: list[str]) -> int:
    """Measure, and record."""
    parser = options_of(__doc__)
    parser.add_argument("--minutes", type=float, default=3.0, help="of auto, for everything (3)")
    parser.add_argument("--seeds", type=int, default=3, help="(3)")
    parser.add_argument("--recipes", nargs="*", default=RECIPES, metavar="NAME", help=f"({' '.join(RECIPES)})")
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="where runs and rows are kept (a temporary one)")
    options = parser.parse_args(arguments)
    with nullcontext(options.work) if options.work else TemporaryDirectory() as name:
        work, load = Path(name), os.getloadavg()[0]
        images = images_of(options, work)
        rows = measure(images, work, options.minutes, options.seeds, options.recipes)
        content = {
            "images": options.images.name if options.images else STAMPS, "minutes": options.minutes, "rows": rows,
            "cores_used": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "load": [load, os.getloadavg()[0]],
        }  # fmt: skip
    if options.record:
        command, title = "python -m benchmarks.auto", "stamps" if not options.images else options.images.name
        write_record(options.record, "auto", f"auto-{title}", command, environment(torch.device("cpu")), content)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
