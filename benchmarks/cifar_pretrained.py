"""CIFAR-100-LT (factor 100) from ImageNet's weights within given minutes, each way a whole command as typed.

    python -m benchmarks.cifar_pretrained --root data [--ways NAME ...] [--record results] [--work FOLDER]

Each command begins with an empty cache of features, so that its seconds hold everything. Sides, recipe and settings
were looked for on validation images; the test images are scored once a way. With --work the rows stand in a folder as
they come, and a way that is there is not measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from benchmarks.auto import typed
from benchmarks.photographs import FIGURES

from fsgl.engine.environment import environment
from fsgl.files import write_json
from fsgl.report.records import write_record

LITE = "--backbone timm:tf_efficientnet_lite0 --pretrained package"
# By name: the command, the minutes that it should take, and the mean over classes that it should reach.
WAYS: dict[str, tuple[str, float, float]] = {
    "frozen": (f"auto cifar100 --imbalance-factor 100 {LITE} --image-size 192 --minutes 10", 10, 57.0),
    "fine-tuned": (
        f"train balanced-softmax --data cifar100 {LITE} --fine-tune --image-size 128 --val 0 --epochs 20 "
        "--time-budget 42 --track none evaluation.every=100",
        45, 62.0,
    ),
}  # fmt: skip


def measure(root: str, work: Path, ways: list[str]) -> list[dict[str, Any]]:
    """A row for each way, printed as it comes; those that an earlier command left are taken over."""
    kept = work / "rows.json"
    rows: list[dict[str, Any]] = json.loads(kept.read_text()) if kept.exists() else []
    for way in ways:
        if any(row["way"] == way for row in rows):
            continue
        command, minutes, target = WAYS[way]
        cache, run = work / f"features-{way}", work / way
        for folder in (cache, run):
            shutil.rmtree(folder, ignore_errors=True)
        load = os.getloadavg()[0]
        words = [*command.split(), "--root", root, "--device", "cpu", "--feature-cache", str(cache)]
        seconds, found = typed(words, run)
        test = found["result"]["last"]
        auto = found.get("auto") or {}
        row = {
            "way": way, "command": f"fsgl {command}", "seconds": seconds, "minutes": minutes, "target": target,
            "test": {name: test[name] for name in FIGURES}, "epochs": found["result"]["epochs"],
            "chosen": auto.get("chosen"), "expected": auto.get("expected"), "trials": auto.get("trials"),
            "settings": found["settings"], "pretrained": found["pretrained"],
            "load": [load, os.getloadavg()[0]], "commit": found["environment"]["commit"],
        }  # fmt: skip
        del row["settings"]["data"]["root"]
        figures = "  ".join(f"{name} {test[name]:.1f}" for name in ("top1", "many", "medium", "few", "balanced"))
        print(f"{way:<12} {seconds / 60:5.1f} of {minutes} min  {figures}  (wanted {target})", flush=True)
        rows.append(row)
        write_json(kept, rows)
    return rows


def main(arguments: list[str]) -> int:
    """Measure, and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data", help="folder of the CIFAR archives (data)")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS), help=f"({' '.join(WAYS)})")
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="write the record into this folder")
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="where runs and rows are kept (a temporary one)")
    options = parser.parse_args(arguments)
    with nullcontext(options.work) if options.work else TemporaryDirectory() as name:
        work = Path(name)
        work.mkdir(parents=True, exist_ok=True)
        content = {"rows": measure(options.root, work, options.ways)}
    if options.record:
        command, where = "python -m benchmarks.cifar_pretrained", environment(torch.device("cpu"))
        write_record(options.record, "cifar-pretrained", "cifar100-if100-pretrained", command, where, content)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
