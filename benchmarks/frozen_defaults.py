"""Defaults for photographs of one's own on a frozen network: rate, decay, epochs, network and side, on three folders.

    python -m benchmarks.frozen_defaults --work FOLDER [--record results]

The folders are those of own_folders.py. Heads are trained on five folds of the training images, dealt three times; the
figure is the mean over classes of the images set aside. Test images play no part. Rates and decays are tried with each
other for two recipes at the default's epochs, other epochs at the default's rate and decay; networks and sides with
Balanced Softmax at the defaults, where their weights are installed. --work keeps pictures, features and rows: the same
command goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.own_folders import FOLDERS
from benchmarks.views import DEALS, FOLDS, RECIPE, pools_of, score

from fsgl.engine.environment import environment
from fsgl.errors import UserError
from fsgl.files import write_json
from fsgl.recipes.experiment import override
from fsgl.report.records import write_record

RECIPES = (RECIPE, "cross-entropy")
RATES, DECAYS, EPOCHS = (0.02, 0.05, 0.1, 0.2), (1e-4, 5e-4, 2e-3), (20, 80)
LITE = "backbone=timm:tf_efficientnet_lite"
NETWORKS = {
    "Lite0, 224 pixels": [],
    "Lite0, 160 pixels": ["transfer.image_size=160"],
    "Lite0, 288 pixels": ["transfer.image_size=288"],
    "Lite2, 260 pixels": [f"{LITE}2", "transfer.image_size=260"],
}


def settings() -> Iterator[tuple[str, ...]]:
    """Of the heads: nothing for the defaults, then everything that is tried."""
    yield ()
    yield from ((f"schedule.lr={rate}", f"optim.weight_decay={decay}") for rate in RATES for decay in DECAYS)
    yield from ((f"optim.epochs={epochs}",) for epochs in EPOCHS)


def measure(images: Path, work: Path, known: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A row for each thing that is tried and not ``known``."""
    done = {(row["network"], row["recipe"], tuple(row["settings"])) for row in known}
    for network, assignments in NETWORKS.items():
        wanted = [
            (recipe, some) for recipe in RECIPES for some in settings()
            if (network == next(iter(NETWORKS)) or (recipe == RECIPE and not some))
            and (network, recipe, some) not in done
        ]  # fmt: skip
        if not wanted:
            continue
        try:
            planned, pools, seconds = pools_of(images, assignments, work / "features")
        except UserError as error:
            print(f"{network}: {error}", file=sys.stderr)
            continue
        for recipe, some in wanted:
            base, start = override(planned.bases[recipe], *some), time.perf_counter()
            scores = [score(override(base, f"seed={deal}"), pool) for deal, pool in enumerate(pools)]
            yield {
                "network": network, "recipe": recipe, "settings": list(some), "scores": scores,
                "seconds": time.perf_counter() - start, "seconds_of_features": seconds,
                "default": {"lr": planned.bases[recipe].schedule.lr, "epochs": planned.bases[recipe].optim.epochs,
                            "weight_decay": planned.bases[recipe].optim.weight_decay},
                "images": len(pools[0].features.labels), "classes": len(pools[0].class_names),
            }  # fmt: skip


def main(arguments: list[str]) -> int:
    """Measure what is not measured yet, print, and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, metavar="FOLDER", help="keeps what is fetched and measured")
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="write the record into this folder")
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    load, found = os.getloadavg()[0], {}
    for name, fetch in FOLDERS.items():
        place = options.work / name
        if not (place / "whole").exists():
            place.mkdir(exist_ok=True)
            (place / "whole").write_text(str(fetch(place).relative_to(place)))
        rows_of = options.work / f"{name}.json"
        rows = json.loads(rows_of.read_text()) if rows_of.exists() else []
        for row in measure(place / (place / "whole").read_text(), options.work, rows):
            rows.append(row)
            write_json(rows_of, rows)
            print(f"{name}: {row['network']}, {row['recipe']} {' '.join(row['settings'])}: "
                  f"{np.mean(row['scores']):.1f} % ({row['seconds']:.0f} s)", flush=True)  # fmt: skip
        found[name] = rows
    if options.record:
        content = {"folds": FOLDS, "deals": DEALS, "folders": found, "load": [load, os.getloadavg()[0]]}
        command = "python -m benchmarks.frozen_defaults --work FOLDER"
        record = environment(torch.device("cpu"))
        write_record(options.record, "frozen-defaults", "frozen-defaults", command, record, content)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
