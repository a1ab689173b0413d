"""The cells of a grid on a Ray cluster whose machines share the disk with this one and have fsgl installed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsgl.engine.ray_connection import ray_connection

if TYPE_CHECKING:  # Ray's workers import this file, and have no use for torch: they start a process for the cell
    from fsgl.comparison.grid import Launch, Poll


@contextlib.contextmanager
def ray_cluster(address: str, device: str) -> Iterator[tuple[Launch, list[str]]]:
    """Within: how to launch a cell there, and a device for each that fits at a time.

    address: of the cluster, "auto" for the one this machine is part of; "local" starts one here.  device: "cpu" takes a
    core a cell; others a GPU, if there are any. Raises UserError where Ray or the cluster is not to be had.
    """
    with ray_connection(address) as ray:
        has = ray.cluster_resources()
        gpus = 0 if device == "cpu" else int(has.get("GPU", 0))
        slots = ["cuda"] * gpus or ["cpu"] * max(1, int(has.get("CPU", 1)))
        task = ray.remote(_run_here).options(
            num_cpus=0 if gpus else 1, num_gpus=1 if gpus else 0, max_retries=0
        )  # fmt: skip

        def launch(command: list[str], log: Path, environment: Mapping[str, str]) -> tuple[Poll, Callable[[], None]]:
            reference = task.remote(command[1:], str(Path.cwd()), str(log.resolve()), dict(environment))
            return lambda: _answer(ray, reference), lambda: ray.cancel(reference)

        yield launch, slots


def _answer(ray: Any, reference: Any) -> int | None:
    done, _ = ray.wait([reference], timeout=0)
    if not done:
        return None
    try:
        return int(ray.get(reference))
    except Exception:  # Ray's own: the task was cancelled, or its machine is gone
        return 1


def _run_here(arguments: list[str], folder: str, log: str, environment: dict[str, str]) -> int:
    """On the machine that Ray chose: the command by its own Python, in the same folder."""
    import os
    import subprocess
    import sys

    with open(log, "ab") as file:
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=folder, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
            env={**os.environ, **environment}, start_new_session=True,
        )  # fmt: skip
        try:
            return process.wait()
        except KeyboardInterrupt:  # ray.cancel
            process.terminate()
            return process.wait()
