"""Which way of running a network's passes a CPU does fastest: precision, layout, kept memory, threads, processes.

    python benchmarks/cpu_step.py [--network resnet8-lite] [--record results]

One forward and one backward pass of the backbone at batch 64, ratios of medians. Layout and kept memory change nothing
but time; bfloat16 changes the result and is never a default on a CPU. Two processes of one thread each are timed while
both run, and stand as the time of one step of both.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import torch

from fsgl.engine.environment import environment
from fsgl.engine.memory import keep_freed_memory
from fsgl.models.backbones import build_backbone
from fsgl.report.records import write_record

BATCH, REPEATS, SLOW = 64, 12, 4


def seconds_a_step(network: str, threads: int, dtype: str, layout: str, keep: bool, repeats: int) -> float:
    """Median seconds of a forward and a backward pass in this process."""
    torch.set_num_threads(threads)
    if keep:
        keep_freed_memory()
    torch.manual_seed(0)
    form = torch.channels_last if layout == "channels last" else torch.contiguous_format
    model = build_backbone(network).to(memory_format=form).train()
    images = torch.randn(BATCH, 3, 32, 32).to(memory_format=form)
    times = []
    for repeat in range(repeats + 2):
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = model(images).float().square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        if repeat >= 2:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def _timed(barrier: Barrier, pipe: Any, arguments: Sequence[Any]) -> None:
    barrier.wait()
    pipe.send(seconds_a_step(*arguments))


def in_processes(count: int, *arguments: Any) -> float:
    """Of each of so many at once, the mean."""
    context = get_context("spawn")
    barrier, pipes = context.Barrier(count), [context.Pipe(duplex=False) for _ in range(count)]
    processes = [context.Process(target=_timed, args=(barrier, theirs, arguments)) for _, theirs in pipes]
    for process in processes:
        process.start()
    found = [float(ours.recv()) for ours, _ in pipes]
    for process in processes:
        process.join()
    return statistics.mean(found)


def measure(network: str, repeats: int, slow: int) -> list[dict[str, Any]]:
    """Every way over the default one: one thread, float32, channels last, memory kept."""
    default = in_processes(1, network, 1, "float32", "channels last", True, repeats)
    ways = {
        "bfloat16 (ratio)": in_processes(1, network, 1, "bfloat16", "channels last", True, slow),
        "channels first (ratio)": in_processes(1, network, 1, "float32", "channels first", True, repeats),
        "freed memory given back (ratio)": in_processes(1, network, 1, "float32", "channels last", False, repeats),
        "one process of two threads (ratio)": in_processes(1, network, 2, "float32", "channels last", True, repeats),
        "two processes of one thread, a step of each (ratio to two steps)":
            in_processes(2, network, 1, "float32", "channels last", True, repeats) / 2,
    }  # fmt: skip
    rows = [{"what": f"passes of {network}, batch {BATCH} (seconds)", "figure": default, "target": None, "met": True}]
    for what, seconds in ways.items():
        rows.append({"what": what, "figure": seconds / default, "target": None, "met": True})
    for row in rows:
        print(f"{row['what']:<70} {row['figure']:8.3f}", flush=True)
    return rows


def main(arguments: list[str]) -> int:
    """Measure, and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet8-lite")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--slow-repeats", type=int, default=SLOW, help="of bfloat16, which some CPUs only emulate")
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="write the record into this folder")
    options = parser.parse_args(arguments)
    if (os.cpu_count() or 1) < 2:
        print("cpu_step.py: note: one core; what stands for two threads or processes says nothing", file=sys.stderr)
    rows = measure(options.network, options.repeats, options.slow_repeats)
    if options.record:
        command = "python benchmarks/cpu_step.py"
        write_record(options.record, "benchmark", "cpu-step", command, environment(torch.device("cpu")), {"rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
