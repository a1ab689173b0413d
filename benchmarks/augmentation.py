"""Images a second of fsgl's crops and flips, alone and normalised, beside the classic pipeline of PIL images.

    python benchmarks/augmentation.py [--check] [--record results]

Classic: torchvision's RandomCrop(32, padding=4), RandomHorizontalFlip, ToTensor and Normalize, one PIL image at a time,
collated and shuffled by torch's DataLoader, in one process and with two workers. Ours: fsgl's stream of the same
images, in one process whatever theirs takes. All are timed in turns, an epoch a turn, on one thread; a busy machine
slows them alike. Start-up of workers is not counted.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fsgl.data.stream.streams import ArrayStream, StreamSpec
from fsgl.data.stream.transforms import CropFlip
from fsgl.engine.environment import environment
from fsgl.randomness import generator
from fsgl.report.records import write_record

SIDE, PADDING, BATCH = 32, 4, 64
ALONE_TARGET = 100_000  # images a second
RATIO_TARGETS = {0: 20, 2: 10}  # by workers of the classic pipeline
MEAN, STD = (0.5, 0.45, 0.4), (0.25, 0.24, 0.23)


class Ours:
    """fsgl on a set of images.  images: uint8 ``N x 32 x 32 x 3``."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.transform = CropFlip(PADDING)
        self.windows = self.transform.windows(images)
        self.order = np.random.default_rng(1).permutation(len(images))
        spec = StreamSpec(BATCH, views=1, q=None, seed=0)
        self.stream = ArrayStream(images, labels, int(labels.max()) + 1, spec, self.transform, MEAN, STD)
        self.epochs = 0

    def crop_and_flip(self) -> int:
        """Draw and cut every image once; uint8 as it stays."""
        draws = generator(0, "augment", self.epochs)
        self.epochs += 1
        count = 0
        for start in range(0, len(self.order), BATCH):
            positions = self.order[start : start + BATCH]
            count += len(self.transform.cut(self.windows, positions, self.transform.draw(len(positions), draws)))
        return count

    def batches(self) -> int:
        """An epoch of what training takes: shuffled, cropped, flipped, normalised, with labels."""
        self.epochs += 1
        return sum(len(batch.original.views[0]) for batch in self.stream.batches(self.epochs))


class PilImages(Dataset[tuple[Tensor, int]]):
    """The classic data set: an array that is made into a PIL image and transformed when asked for."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        from torchvision import transforms

        self.images, self.labels = images, labels.tolist()
        self.transform = transforms.Compose([
            transforms.RandomCrop(SIDE, padding=PADDING),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ])  # fmt: skip

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


class Classic:
    """The classic pipeline. Its workers live until it is dropped."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, workers: int) -> None:
        # "spawn": a fork after torch's threads have started is not safe.
        several: dict[str, Any] = {"persistent_workers": True, "multiprocessing_context": "spawn"} if workers else {}
        self.loader = DataLoader(PilImages(images, labels), BATCH, shuffle=True, num_workers=workers, **several)

    def batches(self) -> int:
        """An epoch."""
        return sum(len(views) for views, _ in self.loader)


def rates(functions: Sequence[Callable[[], int]], repeats: int) -> list[float]:
    """Median images a second of each function, which returns how many it made; in turns, after a warm-up."""
    found: list[list[float]] = [[] for _ in functions]
    for repeat in range(repeats + 1):
        for function, each in zip(functions, found, strict=True):
            start = time.perf_counter()
            images = function()
            if repeat:
                each.append(images / (time.perf_counter() - start))
    return [statistics.median(each) for each in found]


def measure(count: int, repeats: int, ratio_targets: dict[int, int]) -> list[dict[str, Any]]:
    """All figures beside their targets, printed as they come.  count: images of an epoch."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
    labels = random.integers(0, 10, count)
    ours = Ours(images, labels)
    theirs = [Classic(images, labels, workers) for workers in ratio_targets]
    alone, whole, *classic = rates([ours.crop_and_flip, ours.batches, *(each.batches for each in theirs)], repeats)
    rows = [row("crop and flip alone (images/s)", alone, ALONE_TARGET)]
    for (workers, target), rate in zip(ratio_targets.items(), classic, strict=True):
        beside = f"{workers} workers" if workers else "one process"
        rows.append(
            row(
                f"crop, flip and normalise in one process over the PIL pipeline in {beside} (ratio)", whole / rate,
                target, images_per_second=whole, pil_images_per_second=rate,
            )
        )  # fmt: skip
    return rows


def row(what: str, figure: float, target: float, **details: float) -> dict[str, Any]:
    """A figure that is to be at least its target, printed."""
    met = figure >= target
    shown = "".join(f"  {name} {value:,.0f}" for name, value in details.items())
    print(f"{what:<84} {figure:12,.1f}   at least {target:9,.0f}   {'ok' if met else 'MISSED'}{shown}", flush=True)
    return {"what": what, "figure": figure, "target": target, "bound": "at least", "met": met, **details}


def main(arguments: list[str]) -> int:
    """Measure; exit 1 with --check where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 where a target is missed")
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="write the record into this folder")
    parser.add_argument("--threads", type=int, default=1, help="of each process (1)")
    parser.add_argument("--images", type=int, default=2048, help="of an epoch (2048)")
    parser.add_argument("--repeats", type=int, default=11, help="epochs timed (11)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    rows = measure(options.images, options.repeats, RATIO_TARGETS)
    if options.record:
        write_record(
            options.record, "benchmark", "augmentation", "python benchmarks/augmentation.py",
            environment(torch.device("cpu")), {"rows": rows},
        )  # fmt: skip
    return int(options.check and not all(entry["met"] for entry in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
