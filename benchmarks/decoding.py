"""Views a second of fsgl's decoding stream beside the classic torchvision pipeline, on 500 x 375 JPEGs.

    python benchmarks/decoding.py [--check] [--record results] [--flat]

Every image gives two views of 224 x 224. Classic: the image decoded once, then torchvision's RandomResizedCrop,
ColorJitter, RandomGrayscale, GaussianBlur, RandomHorizontalFlip and Normalize for each view (classic.py). Ours:
the same operations as views.py does them, up to normalised batches on the CPU; or decoding and cropping alone, up
to 8-bit batches, as a GPU takes them. From the files, and from sets made by ``fsgl prepare``. All run in the same
loader with as many decoding processes, in turns, an epoch a turn. --flat: memory over 100,000 images instead.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image

from fsgl.data.images.shard_writer import PrepareSpec, prepare
from fsgl.data.images.sources import ImageFiles
from fsgl.data.readers.own import find_source
from fsgl.data.stream.decoding import DecodingStream
from fsgl.data.stream.streams import StreamSpec
from fsgl.data.stream.views import ViewSpec
from fsgl.engine.environment import environment
from fsgl.report.records import write_record

WIDTH, HEIGHT, BATCH = 500, 375, 32
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# What, kind of images, whether only crops are made, target over classic.
CASES = (
    ("files, all operations", "files", False, 2.5),
    ("files, decode and crop", "files", True, 4.0),
    ("prepared, all operations", "raw", False, 5.0),
    ("prepared, decode and crop", "raw", True, 10.0),
    ("prepared as JPEG, all operations", "jpeg", False, None),
    ("prepared as JPEG, decode and crop", "jpeg", True, None),
)


def photographs(folder: Path, count: int) -> None:
    """JPEGs (quality 90) of some 60 kB: shapes of all sizes with a photograph's amount of noise."""
    random = np.random.default_rng(0)
    (folder / "train" / "a").mkdir(parents=True)
    for i in range(count):
        layers = [random.normal(size=(HEIGHT // s + 2, WIDTH // s + 2, 3)) * s**0.5 for s in (4, 16, 64, 128)]
        grown = [_grown(layer) for layer in layers]
        pixels = np.sum(grown, axis=0)
        pixels = 255 * (pixels - pixels.min()) / (pixels.max() - pixels.min()) + random.normal(0, 5, pixels.shape)
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        image.save(folder / "train" / "a" / f"{i}.jpg", quality=90)


def _grown(layer: np.ndarray) -> np.ndarray:
    channels = [Image.fromarray(layer[..., c].astype(np.float32)) for c in range(3)]
    return np.stack([np.asarray(c.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)) for c in channels], axis=2)


class Epochs:
    """Two views of every image in random order, an epoch a call; each returns how many views it gave."""

    def __init__(
        self, images: Any, workers: int, crops: bool = False, augmentation: str = "fast", size: int = 224
    ) -> None:
        spec = StreamSpec(BATCH, views=2, q=None, seed=0)
        self.stream = DecodingStream(
            images, 1, spec, MEAN, STD, workers=workers, views=ViewSpec(size), augmentation=augmentation,
            on_device=crops,
        )  # fmt: skip
        self.crops, self.epoch = crops, -1

    def __call__(self) -> int:
        self.epoch += 1
        if self.crops:
            return sum(decoded.pixels.shape[:2].numel() for decoded in self.stream.decoded(self.epoch))
        return sum(2 * batch.images for batch in self.stream.batches(self.epoch))


def rates(functions: dict[str, Callable[[], int]], repeats: int) -> dict[str, float]:
    """Median views a second of each, in turns, after a warm-up."""
    found: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(repeats + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            views = function()
            if repeat:
                found[name].append(views / (time.perf_counter() - start))
    return {name: statistics.median(each) for name, each in found.items()}


def measure(folder: Path, count: int, workers: int, repeats: int) -> list[dict[str, Any]]:
    """All figures beside their targets, printed."""
    photographs(folder / "files", count)
    source = find_source(folder / "files")
    sets: dict[str, Any] = {"files": source.train}
    for encoding in ("raw", "jpeg"):
        prepare(source, folder / encoding, PrepareSpec(encoding=encoding), workers)
        sets[encoding] = find_source(folder / encoding).train
    functions: dict[str, Callable[[], int]] = {
        what: Epochs(sets[kind], workers, crops) for what, kind, crops, _ in CASES
    }
    functions["classic"] = Epochs(sets["files"], workers, augmentation="classic")
    found = rates(functions, repeats)
    size = {kind: _bytes(folder / kind) / count / 1000 for kind in sets}
    print(f"classic: {found['classic']:,.0f} views/s;  kB an image: { {k: round(v) for k, v in size.items()} }")
    rows = []
    for what, kind, _, target in CASES:
        ratio = found[what] / found["classic"]
        met = target is None or ratio >= target
        bound = "" if target is None else f"at least {target:5.1f}   {'ok' if met else 'MISSED'}"
        print(f"{what:<36} {found[what]:8,.0f} views/s   {ratio:6.2f} times classic   {bound}", flush=True)
        rows.append({
            "what": f"{what}, over the classic pipeline (ratio)",
            "figure": ratio, "target": target, "bound": "at least", "met": met,
            "views_per_second": found[what], "classic_views_per_second": found["classic"],
            "kilobytes_per_image": size[kind],
        })  # fmt: skip
    return rows


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def flat_memory(folder: Path, count: int, workers: int) -> list[dict[str, Any]]:
    """Growth of the memory of this process and its workers over an epoch of so many (small) images."""
    (folder / "train" / "a").mkdir(parents=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(folder / "a.png")
    files = ImageFiles(folder, ("a.png",) * count, np.zeros(count, dtype=np.int64))
    seen = []
    steps = Epochs(files, workers, size=32).stream.batches(0)
    for step, _ in enumerate(steps):
        if step % 100 == 50:
            seen.append(_resident_of_all())
    tenth = max(1, len(seen) // 10)
    begin, end = statistics.median(seen[tenth : 2 * tenth]), statistics.median(seen[-tenth:])
    print(f"{count:,} images, {workers} workers: {begin:,.0f} MiB after a tenth, {end:,.0f} MiB at the end")
    return [{
        "what": f"memory at the end of an epoch of {count:,} images over that after a tenth (ratio)",
        "figure": end / begin, "target": 1.05, "bound": "at most", "met": end <= 1.05 * begin,
        "begin_mebibytes": begin, "end_mebibytes": end,
    }]  # fmt: skip


def _resident_of_all() -> float:
    """MiB of this process and its children, shared pages counted once (Linux)."""
    import multiprocessing
    import os

    total = 0
    for pid in (os.getpid(), *(child.pid for child in multiprocessing.active_children())):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def main(arguments: list[str]) -> int:
    """Measure; exit 1 with --check where a target is missed."""
    options = parser().parse_args(arguments)
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        if options.flat:
            rows = flat_memory(Path(folder), options.flat, options.workers)
        else:
            rows = measure(Path(folder), options.images, options.workers, options.repeats)
    if options.record:
        name = "decoding-memory" if options.flat else "decoding"
        write_record(
            options.record, "benchmark", name, "python benchmarks/decoding.py" + (" --flat" * bool(options.flat)),
            environment(torch.device("cpu")), {"rows": rows},
        )  # fmt: skip
    return int(options.check and not all(row["met"] for row in rows))


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 where a target is missed")
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="write the record into this folder")
    parser.add_argument("--images", type=int, default=256, help="of an epoch (256)")
    parser.add_argument("--workers", type=int, default=2, help="decoding processes (2)")
    parser.add_argument("--repeats", type=int, default=5, help="epochs timed (5)")
    parser.add_argument("--flat", type=int, metavar="N", help="memory over N images instead, such as 100000")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
