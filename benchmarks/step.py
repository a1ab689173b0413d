"""What a training step costs beside the bare passes of its backbone, in time and memory.

    python benchmarks/step.py [--check] [--record results]

Bare: the backbone's forward and backward passes alone, four of each with SAM, on the same batch, in the same layout.
Step: everything that training does for a batch: drawing and augmenting both streams, mixing, FSM, heads, losses, both
passes of SAM, SGD. The two are interleaved in one process, so that a busy machine slows both; the ratio of medians is
the figure. Memory is the peak of a process of its own above what it began with (Linux).
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from matrix_rate import matrix_rates
from torch import Tensor, nn

from fsgl.data.stream.streams import ArrayStream, StreamSpec
from fsgl.data.stream.transforms import CropFlip
from fsgl.engine.environment import environment
from fsgl.engine.memory import keep_freed_memory
from fsgl.engine.step import Update, training_step
from fsgl.losses.consistency import consistency
from fsgl.losses.soft_target import soft_cross_entropy
from fsgl.models.backbones import build_backbone
from fsgl.models.cost import multiply_adds
from fsgl.models.feature_scaling import FeatureScaling
from fsgl.models.heads import HeadOutputs
from fsgl.optim.sam import make_ascent
from fsgl.randomness import generator
from fsgl.recipes import make_experiment
from fsgl.report.records import write_record
from fsgl.types import Batch, Mixed

# Backbone, batch size, repeats.
CASES = (("resnet8-lite", 64, 24), ("resnet20-slim", 64, 40), ("resnet34", 8, 12))
RATES = (("resnet8-lite", "resnet8-slim", "resnet20-slim"), 64, 20)  # timed in turns, for images a second
MATHS = ("resnet34", 8, 12)
TIME_TARGET, SHARE_TARGET, MEMORY_SLACK = 1.05, 0.02, 1.05
MEAN = STD = (0.5, 0.5, 0.5)


class Bench:
    """FSGL on random 32 x 32 images: the step, the bare passes, and the mathematics alone."""

    def __init__(self, backbone: str, batch_size: int, classes: int) -> None:
        random = np.random.default_rng(0)
        labels = np.concatenate([np.arange(classes), random.integers(0, classes, 4 * classes)])
        images = random.integers(0, 256, (len(labels), 32, 32, 3), dtype=np.uint8)
        keep_freed_memory()  # as training does, for the bare passes too
        self.classes = classes
        self.experiment = replace(make_experiment("fsgl", "cifar100"), backbone=backbone)
        self.method = self.experiment.method
        counts = torch.bincount(torch.from_numpy(labels), minlength=classes)
        torch.manual_seed(0)
        self.model = self.method.build(build_backbone(backbone), counts).to(memory_format=torch.channels_last).train()
        spec = StreamSpec(batch_size, self.method.views, self.method.resample_weighting, seed=0)
        self.stream = ArrayStream(images, labels, classes, spec, CropFlip(), MEAN, STD)
        self.batches = self._batches()
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.01, 0.9, weight_decay=5e-3, fused=True)
        ascend = make_ascent(self.model, self.experiment.sam)
        self.update = Update(self.model, self.method, self.optimizer, ascend)
        self.mixed = self.method.mix(next(self.batches), classes, generator(0))
        self.counts = counts

    def _batches(self) -> Iterator[Batch]:
        epoch = 0
        while True:
            yield from self.stream.batches(epoch)
            epoch += 1

    def step(self) -> None:
        """One whole training step."""
        batch = next(self.batches)
        training_step(self.update, self.method, batch, self.classes, 0.5, generator(0, "mix")).total.item()

    def bare(self) -> None:
        """The backbone's passes of one step, and nothing else."""
        backbone: nn.Module = self.model.backbone
        for _ in range(2):
            for parameter in backbone.parameters():
                parameter.grad = None
            (backbone(self.mixed.images[0]).sum() + backbone(self.mixed.images[1]).sum()).backward()


class Mathematics:
    """FSM, losses and mixing of one step without any layer: forward and backward, twice as with SAM."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.batch = next(bench.batches)
        size, width = len(self.batch.original.labels), bench.model.backbone.feature_dim
        self.scaling = FeatureScaling(bench.counts, 1.0)
        self.features = [torch.randn(size, width, requires_grad=True) for _ in range(2)]
        self.outputs = [
            HeadOutputs(*(torch.randn(size, n, requires_grad=True) for n in (bench.classes, bench.classes, 256, 256)))
            for _ in range(2)
        ]

    def run(self) -> None:
        """Mix once; scale and compute the losses twice."""
        mixed: Mixed = self.bench.method.mix(self.batch, self.bench.classes, generator(0))
        for _ in range(2):
            self._losses(mixed).backward()

    def _losses(self, mixed: Mixed) -> Tensor:
        weights = self.bench.model.class_weights_K
        total = torch.zeros(())
        for features, out, target in zip(self.features, self.outputs, mixed.targets, strict=True):
            total = total + self.scaling(features, target).sum()
            total = total + soft_cross_entropy(out.conventional_BK, target)
            total = total + soft_cross_entropy(out.rebalanced_BK, weights * target)
        out_g, out_l = self.outputs
        return total + consistency(out_g.prediction_BD, out_l.projection_BD, out_l.prediction_BD, out_g.projection_BD)


def interleaved(functions: list[Callable[[], None]], repeats: int) -> list[float]:
    """Median seconds of each function, taken in turns after a warm-up."""
    times: list[list[float]] = [[] for _ in functions]
    for repeat in range(repeats + 2):
        for function, seconds in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            if repeat >= 2:
                seconds.append(time.perf_counter() - start)
    return [statistics.median(seconds) for seconds in times]


def peak_megabytes(backbone: str, batch_size: int, kind: str, threads: int) -> float:
    """Peak resident memory of three steps (or bare passes), above that of the process before it built anything."""
    context = get_context("spawn")  # a fork after threads have started would hang in OpenMP
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_measure_peak, args=(theirs, backbone, batch_size, kind, threads))
    process.start()
    peak: float = ours.recv()
    process.join()
    return peak


def _measure_peak(pipe, backbone: str, batch_size: int, kind: str, threads: int) -> None:  # type: ignore[no-untyped-def]
    torch.set_num_threads(threads)
    bench = Bench(backbone, batch_size, 100)
    if kind == "bare":  # what the bare passes have no use for
        bench.optimizer = bench.update = None  # type: ignore[assignment]
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM counts from here
    for _ in range(3):
        bench.step() if kind == "step" else bench.bare()
    pipe.send((_resident("VmHWM") - before) / 2**20)
    pipe.close()
    os._exit(0)


def _resident(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


def measure(
    cases: Sequence[tuple[str, int, int]], maths_case: tuple[str, int, int], rates: tuple[Sequence[str], int, int]
) -> list[dict[str, object]]:
    """All figures beside their targets, printed as they come."""
    rows: list[dict[str, object]] = []

    def add(what: str, figure: float, target: float | None, **details: float) -> None:
        met = target is None or figure <= target
        rows.append({"what": what, "figure": figure, "target": target, "met": met, **details})
        verdict = "" if target is None else f"at most {target:8.3f}   {'ok' if met else 'MISSED'}"
        print(f"{what:<70} {figure:8.3f}   {verdict}", flush=True)

    for backbone, batch_size, repeats in cases:
        bench = Bench(backbone, batch_size, 100)
        step, bare = interleaved([bench.step, bench.bare], repeats)
        where = f"{backbone}, batch {batch_size}"
        add(f"step over bare passes, {where} (ratio)", step / bare, TIME_TARGET, step_seconds=step, bare_seconds=bare)
    names, batch_size, repeats = rates
    benches = [Bench(name, batch_size, 100) for name in names]
    fastest_rate = max(matrix_rates(torch.device("cpu"), (512, 1024))["float32"].values())
    for name, bench, seconds in zip(names, benches, interleaved([b.step for b in benches], repeats), strict=True):
        operations = 6 * 4 * batch_size * multiply_adds(bench.model.backbone, (3, 32, 32))  # two views, two passes
        where = f"a whole step, {name}, batch {batch_size}"
        add(f"{where} (images/s)", batch_size / seconds, None, step_seconds=seconds)
        add(f"{where} (backbone's operations over the matrix rate)", operations / seconds / fastest_rate, None)
    backbone, batch_size, repeats = maths_case
    bench = Bench(backbone, batch_size, 1000)
    step, maths = interleaved([bench.step, Mathematics(bench).run], repeats)
    add(
        f"FSM + losses + mixing over a step, {backbone}, batch {batch_size}, 1000 classes",
        maths / step, SHARE_TARGET, step_seconds=step, maths_seconds=maths,
    )  # fmt: skip
    if Path("/proc/self/clear_refs").exists():
        for backbone, batch_size, _ in cases:
            threads = torch.get_num_threads()
            # The allocator's placement alone moves a peak by some percent: the lowest of three processes.
            step_peak, bare_peak = (
                min(peak_megabytes(backbone, batch_size, kind, threads) for _ in range(3)) for kind in ("step", "bare")
            )
            model = Bench(backbone, batch_size, 100).model
            parameters = sum(p.numel() * p.element_size() for p in model.parameters()) / 2**20
            allowed = (bare_peak + 3 * parameters) * MEMORY_SLACK
            add(
                f"peak memory of a step, {backbone}, batch {batch_size} (MiB)", step_peak, allowed,
                bare_peak=bare_peak, parameters=parameters,
            )  # fmt: skip
    return rows


def main(arguments: list[str]) -> int:
    """Measure; exit 1 with --check where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 where a target is missed")
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="write the record into this folder")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    rows = measure(CASES, MATHS, RATES)
    if options.record:
        write_record(
            options.record, "benchmark", "step", "python benchmarks/step.py",
            environment(torch.device("cpu")), {"rows": rows},
        )  # fmt: skip
    return int(options.check and not all(row["met"] for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
