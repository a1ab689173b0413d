"""The options of commands that train many runs, and where each of those runs is started."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from fsgl.commands.arguments import add_workers, within

if TYPE_CHECKING:
    from fsgl.comparison.grid import Launch


def add_grid(how: Any) -> None:
    """How many runs at a time, on what."""
    how.add_argument("--device", default="auto", help="auto (default): all GPUs, or the CPU; cpu, cuda, cuda:1, ...")
    how.add_argument("--jobs", type=int, metavar="N", help="runs at a time (one a GPU; on CPUs one a core)")
    how.add_argument("--threads", type=int, metavar="N", help="CPU threads of each run (cores / jobs)")
    add_workers(how, "decoding processes of each run")
    how.add_argument("--precision", default="auto", metavar="NAME", help="float32, tf32, bf16 or auto (default)")
    how.add_argument("--ray", metavar="ADDRESS", help="on a Ray cluster that shares the disk: its address, or local")


def passed_on(options: argparse.Namespace) -> list[str]:
    """The options that ``fsgl train`` takes for each run."""
    passed = ["--workers", str(within("--workers", options.workers, 0)), "--precision", options.precision]
    if options.feature_cache is not None:
        passed += ["--feature-cache", str(options.feature_cache)]
    return passed


def threads_of(options: argparse.Namespace, devices: Sequence[str]) -> int | None:
    """CPU threads of each run; None leaves it to PyTorch."""
    from fsgl.comparison.all_cells import threads_each

    return int(options.threads) if options.threads else threads_each(devices)


@contextlib.contextmanager
def grid_launcher(options: argparse.Namespace) -> Iterator[tuple[Launch, list[str]]]:
    """How to start a cell, and a device for each that runs at a time."""
    from fsgl.comparison.all_cells import local_devices
    from fsgl.comparison.warm_start import local_launcher

    if options.ray is not None:
        from fsgl.comparison.ray_launch import ray_cluster

        with ray_cluster(options.ray, options.device) as (launch, slots):
            jobs = len(slots) if options.jobs is None else within("--jobs", options.jobs, 1)
            yield launch, [slots[i % len(slots)] for i in range(jobs)]
        return
    at_a_time = None if options.jobs is None else within("--jobs", options.jobs, 1)
    devices = local_devices(options.device, at_a_time)
    with local_launcher(devices) as launch:
        yield launch, devices
