"""How long heads take to train on a frozen backbone's cached features: 10,000 images of 100 classes, on a CPU.

    python benchmarks/frozen.py [--record results] [--check]

The pixels are random and so are the weights, which changes no time. Each recipe is run twice, as a user would: at first
the features are computed and kept, then they are there. The second run's time is the whole of it: reading and checking
the features, training, scoring 2,000 test images after each epoch, the run folder; without starting Python. Beside it
stands the backbone's rate at the size it is shown, from which the first run's time follows for any number of images.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fsgl.data.draw.split import split_hash
from fsgl.data.images.sources import ImageArrays, default_class_names
from fsgl.data.load import LoadedData
from fsgl.engine.environment import environment
from fsgl.engine.runtime import Runtime
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import Experiment, override
from fsgl.report.records import write_record
from fsgl.runs.train import train

BACKBONE = "timm:resnet18"
CLASSES, SIDE, EPOCHS, BATCH = 100, 32, 20, 64
# Whole runs of 20 epochs, in seconds: "trains in seconds".
TARGETS = {"cross-entropy": 10.0, "fsgl": 30.0}
VIEWS = {"cross-entropy": 1, "fsgl": 2}


def random_data(experiment: Experiment, train_images: int, test_images: int) -> LoadedData:
    """As many images of random pixels in each class."""
    random = np.random.default_rng(0)

    def part(count: int) -> ImageArrays:
        images = random.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
        return ImageArrays(images, np.arange(count, dtype=np.int64) % CLASSES)

    parts = {"train": part(train_images), "test": part(test_images)}
    return LoadedData(
        spec=experiment.data, train=parts["train"], val=None, test=parts["test"],
        class_names=default_class_names(CLASSES), counts=np.bincount(parts["train"].labels, minlength=CLASSES),
        mean=(0.5,) * 3, std=(0.25,) * 3, without_validation=(), hash=split_hash(**parts), image_size=SIDE,
    )  # fmt: skip


def experiment_of(recipe: str, epochs: int) -> Experiment:
    """A recipe with a frozen backbone at the images' own size."""
    return override(
        make_experiment(recipe, "cifar100"), f"backbone={BACKBONE}", "transfer.train=heads", "data.val=0",
        f"transfer.image_size={SIDE}", f"transfer.cached_views={VIEWS[recipe]}", f"optim.epochs={epochs}",
        f"optim.batch_size={BATCH}",
    )  # fmt: skip


def measure(train_images: int, test_images: int, epochs: int) -> list[dict[str, Any]]:
    """All figures beside their targets, printed as they come."""
    rows = []
    for recipe, target in TARGETS.items():
        experiment = experiment_of(recipe, epochs)
        data = random_data(experiment, train_images, test_images)
        with tempfile.TemporaryDirectory() as folder:
            runtime = Runtime("cpu", trackers=(), feature_cache=Path(folder) / "features")
            first, second = (seconds(experiment, Path(folder) / name, runtime, data) for name in ("first", "second"))
        shown = train_images * VIEWS[recipe] + test_images
        rate = shown / max(first - second, 1e-9)
        row = {
            "what": f"{recipe}, {epochs} epochs of {train_images:,} images on cached features (s)",
            "figure": second, "target": target, "met": second <= target, "first_seconds": first,
            "images_per_second": rate,
        }  # fmt: skip
        rows.append(row)
        print(
            f"{row['what']:<72} {second:8.2f}   at most {target:6.1f}   {'ok' if row['met'] else 'MISSED'}   "
            f"computing the features: {first - second:.0f} s, {rate:.0f} images/s",
            flush=True,
        )
    return rows


def seconds(experiment: Experiment, folder: Path, runtime: Runtime, data: LoadedData) -> float:
    """Of a whole run."""
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        train(experiment, folder, runtime, data=data)
    return time.perf_counter() - start


def main(arguments: list[str]) -> int:
    """Measure; exit 1 with --check where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 where a target is missed")
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="write the record into this folder")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--images", type=int, default=10_000, help="to train on (10,000)")
    parser.add_argument("--test-images", type=int, default=2_000, help="to score after each epoch (2,000)")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"({EPOCHS})")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    rows = measure(options.images, options.test_images, options.epochs)
    if options.record:
        write_record(
            options.record, "benchmark", "frozen", "python benchmarks/frozen.py", environment(torch.device("cpu")),
            {"rows": rows, "backbone": BACKBONE, "image_size": SIDE, "epochs": options.epochs, "batch_size": BATCH},
        )  # fmt: skip
    return int(options.check and not all(row["met"] for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
