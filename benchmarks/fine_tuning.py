"""Frozen features against fine-tuning on real drawings: the images of benchmarks/photographs.py, at 128 pixels.

    python benchmarks/fine_tuning.py [--record results] [--images FOLDER]

Balanced Softmax each time, seed 0, one thread. "frozen" is the default for photographs. "all at once" begins with fresh
heads and trains everything by SGD, BatchNorm by the batch, at the default's rate: what an unfrozen backbone came
to before there was an option. "--fine-tune" is the option. The last two have equal epochs. The option's settings were
chosen in a few unrecorded trials on halves of the training images; the test images are scored once a row.
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
from benchmarks.photographs import FIGURES, PACKAGE, fetch

from fsgl.engine.environment import environment
from fsgl.report.records import write_record

SIDE = 128
ALL_AT_ONCE = ["transfer.train=all", "transfer.cached_views=0", "optim.epochs=6", "optim.batch_size=32"]
ROWS = {"frozen": [], "all at once": ALL_AT_ONCE, "--fine-tune": ["--fine-tune"]}


def measure(images: Path, work: Path) -> list[dict[str, Any]]:
    """A row for each way, printed as it comes."""
    rows = []
    for name, settings in ROWS.items():
        run = work / name.strip("-").replace(" ", "-")
        typed = ["train", "balanced-softmax", "--data", str(images), "--image-size", str(SIDE), "--run", str(run)]
        plain = ["--track", "none", "--device", "cpu", "--threads", "1", "evaluation.every=100"]
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "fsgl", *typed, *plain, "--feature-cache", str(work / "features"), *settings],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        found = json.loads((run / "experiment.json").read_text())
        test = found["result"]["last"]
        row = {
            "way": name, "seconds": time.perf_counter() - start, "test": {name: test[name] for name in FIGURES},
            "settings": {name: found["settings"][name] for name in ("optim", "schedule", "transfer", "averaging")},
            "probe": found.get("probe"), "pretrained": found["pretrained"], "split_hash": found["data"]["split_hash"],
        }  # fmt: skip
        rows.append(row)
        figures = "  ".join(f"{name} {test[name]:.1f}" for name in ("top1", "few", "balanced"))
        print(f"{name:<18} {row['seconds']:6.0f} s  {figures}", flush=True)
    return rows


def main(arguments: list[str]) -> int:
    """Measure, and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="write the record into this folder")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="the class folders, where they are at hand")
    options = parser.parse_args(arguments)
    with TemporaryDirectory() as name:
        work = Path(name)
        load = os.getloadavg()[0]
        rows = measure(options.images.absolute() if options.images else fetch(work), work)
        note = "the machine was shared, so seconds are upper bounds; load average before and after"
        content = {"images": PACKAGE, "side": SIDE, "rows": rows, "load": [load, os.getloadavg()[0]], "note": note}
    if options.record:
        command = "python benchmarks/fine_tuning.py"
        write_record(
            options.record, "fine-tuning", "fine-tuning-stamps", command, environment(torch.device("cpu")), content
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
