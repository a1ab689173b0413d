"""What grows with the number of classes and of images: time and memory.

    python benchmarks/scaling.py [--check] [--record results] [--batch-size 8]

Classes: a training step, and the share of it that FSM, mixing and losses take; the two in turns in one process.
Images: the start of the class-power sampler, on long-tailed labels, and its draws. Each number of images is measured
in a process of its own, cold; memory is the peak above what the process had with the labels in memory (Linux).
The order of an epoch, one permutation of all images, is reported beside the start, in the record's details too.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from step import Bench, Mathematics, _resident, interleaved

from fsgl.data.stream.samplers import ClassPowerSampler
from fsgl.data.stream.streams import StepPositions, StreamSpec
from fsgl.engine.environment import environment
from fsgl.randomness import generator
from fsgl.report.records import write_record

BACKBONE, REPEATS = "resnet34", 12
CLASSES = (10, 100, 1000, 8142)  # the last: iNaturalist 2018
IMAGES = (10_000, 100_000, 1_000_000, 10_000_000)
DRAWS = (64, 256)  # images of a draw
IMBALANCE, POWER = 100.0, 0.2
SHARE_TARGET, START_SECONDS, START_MEGABYTES, DRAW_MILLISECONDS = 0.02, 2.0, 200.0, 1.0
CLEAR_PEAK = Path("/proc/self/clear_refs")  # Linux: writing 5 makes VmHWM count from here

Row = dict[str, object]
T = TypeVar("T")


class Cost(NamedTuple):
    """Seconds, and the peak of resident memory in MB (10^6 bytes), None where the system does not say."""

    seconds: float
    megabytes: float | None


class Start(NamedTuple):
    """What one number of images costs: the sampler, its draws by size, and the order of an epoch."""

    sampler: Cost
    draw_milliseconds: dict[int, float]
    order: Cost


def long_tailed_labels(images: int, classes: int) -> np.ndarray:
    """``images`` int64 labels in random order, exponentially fewer a class; with few images some classes are empty."""
    ends = np.cumsum(IMBALANCE ** -np.linspace(0, 1, classes))
    ends = np.round(images * ends / ends[-1]).astype(np.int64)
    labels = np.repeat(np.arange(classes), np.diff(ends, prepend=0))
    np.random.default_rng(0).shuffle(labels)  # in place: a copy's memory, once freed, would hide some of the peak
    return labels


def start(images: int, classes: int, threads: int) -> Start:
    """Build the sampler as training does, draw, and make the order of an epoch; to be called in a fresh process."""
    torch.set_num_threads(threads)
    labels = long_tailed_labels(images, classes)
    sampler, sampler_cost = _cost(lambda: ClassPowerSampler(labels, classes, POWER))
    draws = {size: _draw_milliseconds(sampler, size) for size in DRAWS}
    positions = StepPositions(labels, classes, StreamSpec(batch_size=64, views=1, q=None, seed=0))
    _, order_cost = _cost(lambda: next(iter(positions.epoch(0))))
    return Start(sampler_cost, draws, order_cost)


def _cost(make: Callable[[], T]) -> tuple[T, Cost]:
    measured = CLEAR_PEAK.exists()
    if measured:
        before = _resident("VmRSS")
        CLEAR_PEAK.write_text("5")
    began = time.perf_counter()
    made = make()
    seconds = time.perf_counter() - began
    return made, Cost(seconds, (_resident("VmHWM") - before) / 1e6 if measured else None)


def _draw_milliseconds(sampler: ClassPowerSampler, size: int, repeats: int = 300) -> float:
    """Median over draws, each with a generator of its own as a step has; the first ones, cold, count too."""
    taken = []
    for step in range(repeats):
        began = time.perf_counter()
        sampler.draw(size, generator(0, "rebalanced", 0, step))
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1000


def alone(images: int, classes: int, threads: int) -> Start:
    """``start`` in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(start, images, classes, threads).result()


def row(what: str, figure: float, target: float, **details: float | None) -> Row:
    """A figure beside its target, printed; ``details`` have no target."""
    met = figure <= target
    shown = ", ".join(f"{name} {value:.4g}" for name, value in details.items() if value is not None)
    print(f"{what:<62} {figure:9.4f}   at most {target:7.2f}   {'ok' if met else 'MISSED':<6}   {shown}", flush=True)
    return {"what": what, "figure": figure, "target": target, "met": met, **details}


def class_rows(backbone: str, batch_size: int, classes: Sequence[int], repeats: int) -> list[Row]:
    """The share of a step for FSM, mixing and losses, with the seconds of both, for each number of classes."""
    rows = []
    for count in classes:
        bench = Bench(backbone, batch_size, count)
        step, maths = interleaved([bench.step, Mathematics(bench).run], repeats)
        what = f"FSM + mixing + losses over a step, {backbone}, batch {batch_size}, C = {count}"
        rows.append(row(what, maths / step, SHARE_TARGET, step_seconds=step, maths_seconds=maths))
    return rows


def image_rows(images: Sequence[int], classes: int) -> list[Row]:
    """Start and draws of the sampler for each number of images, with the order of an epoch as a detail."""
    rows = []
    for count in images:
        found = alone(count, classes, torch.get_num_threads())
        where = f"N = {count:.0e}, C = {classes}".replace("e+0", "e")
        seconds, megabytes = found.sampler
        rows.append(row(f"sampler start, {where} (s)", seconds, START_SECONDS, order_seconds=found.order.seconds))
        if megabytes is not None:
            order = found.order.megabytes
            rows.append(row(f"sampler start, {where} (MB)", megabytes, START_MEGABYTES, order_megabytes=order))
        for size, milliseconds in found.draw_milliseconds.items():
            rows.append(row(f"draw of {size}, {where} (ms)", milliseconds, DRAW_MILLISECONDS))
    return rows


def main(arguments: list[str]) -> int:
    """Measure; exit 1 with --check where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 where a target is missed")
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="write the record into this folder")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch-size", type=int, default=8, help="of the step (8)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    rows = image_rows(IMAGES, CLASSES[-1]) + class_rows(BACKBONE, options.batch_size, CLASSES, REPEATS)
    if options.record:
        write_record(
            options.record, "benchmark", "scaling", "python benchmarks/scaling.py",
            environment(torch.device("cpu")), {"rows": rows},
        )  # fmt: skip
    return int(options.check and not all(entry["met"] for entry in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
