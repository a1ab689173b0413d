"""Frozen features against fine-tuning on real drawings: the images of benchmarks/own_folders.py, at 128 pixels.

    python -m benchmarks.fine_tuning [--folder clip-art] [--record results] [--images FOLDER] [--work FOLDER]

Balanced Softmax each time, seed 0, one thread. "frozen" is the default for photographs. "all at once" begins with fresh
heads and trains everything by SGD, BatchNorm by the batch, at the default's rate: what an unfrozen backbone came to
before there was an option. "--fine-tune" is the option, and the last two rows are it without one of its parts each. All
but the first have equal epochs. The option's settings were chosen in a few unrecorded trials on halves of the training
images; the test images are scored once a row. With --work runs are kept there, and those that are complete are not
trained again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from benchmarks.own_folders import FOLDERS
from benchmarks.photographs import FIGURES, options_of

from fsgl.engine.environment import environment
from fsgl.report.records import write_record

SIDE = 128
ALL_AT_ONCE = ["transfer.train=all", "transfer.cached_views=0", "optim.epochs=6", "optim.batch_size=32"]
ROWS = {
    "frozen": [], "all at once": ALL_AT_ONCE, "--fine-tune": ["--fine-tune"],
    "--fine-tune, BatchNorm by the batch": ["--fine-tune", "transfer.batch_norm=batch"],
    "--fine-tune, all from the first step": ["--fine-tune", "transfer.probe_epochs=0"],
}  # fmt: skip


def train(images: Path, run: Path, features: Path, settings: list[str]) -> dict[str, Any]:
    """The record of the run, which is begun, gone on with, or complete already."""
    path = run / "experiment.json"
    how = ["--run", str(run), "--track", "none", "--device", "cpu", "--threads", "1", "--feature-cache", str(features)]
    typed = ["train", "balanced-softmax", "--data", str(images), "--image-size", str(SIDE), "evaluation.every=100"]
    typed = ["train", "--resume"] if path.exists() else [*typed, *settings]
    if not path.exists() or json.loads(path.read_text())["status"] != "complete":
        subprocess.run([sys.executable, "-m", "fsgl", *typed, *how], check=True, stdout=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def measure(images: Path, work: Path) -> list[dict[str, Any]]:
    """A row for each way, printed as it comes."""
    rows = []
    for name, settings in ROWS.items():
        found = train(images, work / name.strip("-").replace(",", "").replace(" ", "-"), work / "features", settings)
        test, probe = found["result"]["last"], found.get("probe")
        row = {
            "way": name, "train_seconds": found["result"]["train_seconds"], "probe": probe,
            "test": {name: test[name] for name in FIGURES},
            "settings": {name: found["settings"][name] for name in ("optim", "schedule", "transfer")},
            "pretrained": found["pretrained"], "split_hash": found["data"]["split_hash"],
            "commit": found["environment"]["commit"], "view": found["settings"]["data"].get("view", "middle"),
        }  # fmt: skip
        rows.append(row)
        figures = "  ".join(f"{name} {test[name]:.1f}" for name in ("top1", "few", "balanced"))
        print(f"{name:<38} {row['train_seconds']:6.0f} s  {figures}", flush=True)
    return rows


def main(arguments: list[str]) -> int:
    """Measure, and record."""
    parser = options_of(__doc__)
    parser.add_argument("--folder", choices=list(FOLDERS), default="stamps", help="which of own_folders.py (stamps)")
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="where runs are kept, to go on with")
    options = parser.parse_args(arguments)
    with TemporaryDirectory() as name:
        work = options.work or Path(name)
        rows = measure(options.images.absolute() if options.images else FOLDERS[options.folder](Path(name)), work)
        note = "the machine was shared, so seconds are upper bounds; those of features are in the probe's"
        content = {"images": options.folder, "side": SIDE, "rows": rows, "load": os.getloadavg()[0], "note": note}
    if options.record:
        command = f"python -m benchmarks.fine_tuning --folder {options.folder}"
        where, name = environment(torch.device("cpu")), f"fine-tuning-{options.folder}"
        write_record(options.record, "fine-tuning", name, command, where, content)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
