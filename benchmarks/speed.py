"""How fast this machine trains, and how far that is from what its arithmetic allows: one record a machine.

    python benchmarks/speed.py [--device cuda] [--record results] [--only resnet20]

Matrix rate: the best of several large square matrix products and, on a CPU, of a large convolution (computed directly,
as oneDNN does by default), two operations a multiply-add. Step: everything that training does for a batch, on as many
random images as the set has; the median after a warm-up, the device synchronised. Operations: those of the convolutions
and matrix products of one such step, both of SAM's passes, counted as it runs. Share of the floor: operations over what
the matrix rate would do in the step's time. A paper run is steps x seconds, without evaluation. Peak memory: on a CPU
of a process of its own (Linux), above what it had after its imports; on a GPU what was allocated.
On a CPU also what was tried to make the bare passes (step.py) faster, as a ratio to the present way.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matrix_rate import matrix_rates, synchronise
from passes import TRIED, in_this_process, try_variations
from step import _resident

from fsgl.data.draw.imbalance import exponential_counts
from fsgl.data.images.sources import ImageArrays, default_class_names
from fsgl.data.load import LoadedData
from fsgl.engine.environment import environment
from fsgl.engine.runtime import Runtime
from fsgl.engine.step import training_step
from fsgl.errors import UserError
from fsgl.randomness import generator
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import Experiment, override
from fsgl.report.records import write_record
from fsgl.runs.assemble import assemble
from fsgl.runs.network import build_network
from fsgl.types import Batch

CLASSES = {"cifar10": 10, "cifar100": 100}
IMAGES = 50_000  # of either set, the same number a class, before the long tail is drawn
MEAN = STD = (0.5, 0.5, 0.5)
SIDES = {"cpu": (1024, 2048, 4096), "cuda": (4096, 8192, 16384)}  # of the matrices


@dataclass(frozen=True)
class Setting:
    """A training that is timed. batch_size None: the recipe's. cuda_graphs: the step is replayed from a CUDA graph."""

    data: str
    imbalance_factor: float
    backbone: str
    recipe: str
    batch_size: int | None = None
    precision: str = "auto"
    cuda_graphs: bool = False

    def experiment(self) -> Experiment:
        """Its published settings."""
        changes = [f"backbone={self.backbone}", f"data.imbalance_factor={self.imbalance_factor}"]
        if self.batch_size is not None:
            changes.append(f"optim.batch_size={self.batch_size}")
        return override(make_experiment(self.recipe, self.data), *changes)

    def counts(self) -> np.ndarray:
        """Training images of each class."""
        classes = CLASSES[self.data]
        return exponential_counts(IMAGES // classes, classes, self.imbalance_factor)


# The first is the paper's; the small backbone is what a CPU can train.
ON_CPU = (
    Setting("cifar100", 50, "resnet34", "fsgl"),
    Setting("cifar100", 50, "resnet34", "glmc"),
    Setting("cifar100", 50, "resnet34", "cross-entropy"),
    Setting("cifar100", 50, "resnet32-slim", "fsgl"),
    Setting("cifar10", 100, "resnet20-slim", "fsgl"),
)
ON_CUDA = (
    Setting("cifar100", 50, "resnet34", "fsgl", cuda_graphs=True),
    Setting("cifar100", 50, "resnet34", "fsgl"),
    Setting("cifar100", 50, "resnet34", "fsgl", precision="tf32", cuda_graphs=True),
    Setting("cifar100", 50, "resnet34", "fsgl", precision="float32", cuda_graphs=True),
    Setting("cifar100", 50, "resnet34", "fsgl", batch_size=512, cuda_graphs=True),
    Setting("cifar100", 50, "resnet34", "cross-entropy", cuda_graphs=True),
    Setting("cifar10", 100, "resnet20-slim", "fsgl", cuda_graphs=True),
    Setting("cifar10", 100, "resnet8-lite", "fsgl", precision="tf32", cuda_graphs=True),
)


class Training:
    """One setting's steps on a device, as ``fsgl train`` takes them. Of this file, it alone knows what a step is."""

    def __init__(self, setting: Setting, device: torch.device) -> None:
        experiment = setting.experiment()
        self.batch_size = experiment.optim.batch_size
        counts = setting.counts()
        labels = np.repeat(np.arange(len(counts)), counts)
        pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 32, 32, 3), dtype=np.uint8)
        images = ImageArrays(pixels, labels)  # as many as there are; which pixels they have changes no time
        names = default_class_names(len(counts))
        data = LoadedData(experiment.data, images, None, images, names, counts, MEAN, STD, (), "")
        runtime = Runtime(str(device), trackers=(), precision=setting.precision, cuda_graphs=setting.cuda_graphs)
        placement = runtime.place()
        self.precision = placement.precision
        network = build_network(experiment, data, placement.device)
        network.model.train()
        _, self._recipe = assemble(experiment, network, runtime, placement)
        self._batches = self._epochs()

    def _epochs(self) -> Iterator[Batch]:
        for epoch in itertools.count():
            yield from self._recipe.stream.batches(epoch)

    def step(self) -> None:
        """One whole training step; on a GPU it is only launched."""
        recipe, batch = self._recipe, next(self._batches)
        training_step(recipe.update, recipe.method, batch, recipe.num_classes, 0.5, generator(0, "mix"))


def operations(setting: Setting, device: torch.device) -> int:
    """Of the convolutions and matrix products of one step, each multiply-add two; counted as they are launched."""
    from torch.utils.flop_counter import FlopCounterMode

    training = Training(replace(setting, cuda_graphs=False), device)
    with FlopCounterMode(display=False) as counter:
        training.step()
    return int(counter.get_total_flops())


def time_steps(training: Training, device: torch.device, block: int, repeats: int) -> float:
    """Median seconds a step over ``repeats`` blocks of ``block`` steps, after one more for warming up."""
    for _ in range(4 if device.type == "cuda" else 0):  # a graph is recorded at the fourth
        training.step()
    seconds = []
    for repeat in range(repeats + 1):
        synchronise(device)
        start = time.perf_counter()
        for _ in range(block):
            training.step()
        synchronise(device)
        if repeat:
            seconds.append((time.perf_counter() - start) / block)
    return statistics.median(seconds)


def measure_setting(
    setting: Setting, device: torch.device, rates: dict[str, dict[str, float]], block: int, repeats: int
) -> dict[str, Any]:
    """One row of the record; seconds, operations and bytes are of one step, ``images`` those of an epoch."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    training = Training(setting, device)
    seconds = time_steps(training, device, block, repeats)
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else cpu_peak(setting)
    counted = operations(setting, device)
    images, epochs = int(setting.counts().sum()), setting.experiment().optim.epochs
    steps = math.ceil(images / training.batch_size) * epochs
    row = asdict(setting) | {
        "batch_size": training.batch_size,
        "precision": training.precision,
        "images": images,
        "epochs": epochs,
        "paper_steps": steps,
        "seconds_per_step": seconds,
        "images_per_second": training.batch_size / seconds,
        "operations_per_step": counted,
        "share_of_floor": counted / (max(rates[training.precision].values()) * seconds),
        "peak_memory_bytes": peak,
        "paper_run_seconds": steps * seconds,
        "paper_run_is": "extrapolated",
    }
    print(
        f"{setting.recipe:<14} {setting.backbone:<14} batch {training.batch_size:<4} {training.precision:<8} "
        f"{'graph ' if setting.cuda_graphs else ''}{seconds:.5f} s a step, {row['share_of_floor']:.1%} of the floor",
        flush=True,
    )
    return row


def child(*arguments: str) -> Any:
    """What this script, started anew with these arguments, prints last; JSON."""
    command = [sys.executable, __file__, "--threads", str(torch.get_num_threads()), *arguments]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def cpu_peak(setting: Setting) -> int | None:
    """Peak bytes of three steps of training in a process of its own; None where the system does not tell."""
    return child("--peak", json.dumps(asdict(setting))) if Path("/proc/self/clear_refs").exists() else None


def peak_here(setting: Setting) -> int:
    """In that process."""
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM counts from here
    training = Training(setting, torch.device("cpu"))
    for _ in range(3):
        training.step()
    return _resident("VmHWM") - before


def measure(
    device: torch.device,
    settings: Sequence[Setting],
    tried: Sequence[tuple[str, int, int]],
    sides: Sequence[int],
    block: int,
    repeats: int,
) -> dict[str, Any]:
    """The record's content.  sides: of the matrices.  block: steps timed at once.  tried: see passes.py; CPU only."""
    rates = matrix_rates(device, sides)
    for name, found in rates.items():
        for what, rate in found.items():
            print(f"matrix rate, {name}, {what:<18} {rate / 1e9:,.1f} GFLOP/s", flush=True)
    rows = [measure_setting(setting, device, rates, block, repeats) for setting in settings]
    outcomes = []
    for backbone, batch_size, times in tried:
        outcomes.append(try_variations(backbone, batch_size, times, passes_in_child))
        for row in outcomes[-1]["rows"]:
            name = f"{backbone}, batch {batch_size}: {row['what']}"
            print(f"{name:<62} {row['seconds']:8.4f} s   {row['ratio']:6.3f} of default", flush=True)
    return {"matrix_rates": rates, "sides": list(sides), "settings": rows, "tried": outcomes}


def passes_in_child(way: str, backbone: str, batch_size: int, repeats: int) -> float | None:
    """passes.in_this_process, in a process of its own."""
    seconds: float | None = child("--passes", way, backbone, str(batch_size), str(repeats))
    return seconds


def main(arguments: list[str]) -> int:
    """Measure this machine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="a GPU where there is one (auto)")
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="write the record into this folder")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", default="", metavar="REGEX", help="settings whose words, joined by spaces, match it")
    parser.add_argument("--sides", type=int, nargs="+", help="of the matrices")
    parser.add_argument("--repeats", type=int, default=5, help="blocks of steps timed (5)")
    parser.add_argument("--block", type=int, help="steps of a block (a CPU: 1, a GPU: 50)")
    parser.add_argument("--no-tried", action="store_true", help="leave out what was tried")
    parser.add_argument("--commit", help="for the record, where the source is a copy outside its git repository")
    parser.add_argument("--peak", help=argparse.SUPPRESS)  # these two: what ``child`` asks for
    parser.add_argument("--passes", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.peak:
        print(json.dumps(peak_here(Setting(**json.loads(options.peak)))))
        return 0
    if options.passes:
        way, backbone, *numbers = options.passes
        print(json.dumps(in_this_process(way, backbone, *map(int, numbers))))
        return 0
    try:
        device = Runtime(options.device).torch_device()
        on_gpu = device.type == "cuda"
        known = ON_CUDA if on_gpu else ON_CPU
        settings = [one for one in known if re.search(options.only, " ".join(map(str, asdict(one).values())))]
        content = measure(
            device, settings, () if on_gpu or options.no_tried else TRIED, options.sides or SIDES[device.type],
            options.block or (50 if on_gpu else 1), options.repeats,
        )  # fmt: skip
    except UserError as error:
        print(f"speed.py: {error}", file=sys.stderr)
        return 2
    if options.record:
        where = environment(device)
        where["commit"] = options.commit or where["commit"]
        machine = where["device"] if on_gpu else where["processor"]
        slug = re.sub(r"[^a-z0-9]+", "-", str(machine).lower()).strip("-")
        command = " ".join(["python benchmarks/speed.py", *(f"--device {device}" for _ in range(on_gpu))])
        write_record(options.record, "speed", f"speed-{slug}", command, where, content)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
