"""What a number depends on besides its settings: initial weights, code, versions, machine."""

from __future__ import annotations

import contextlib
import copy
import functools
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from fsgl.randomness import derive_seed


@contextlib.contextmanager
def seeded(seed: int, *place: str | int) -> Iterator[None]:
    """Within: torch's global generators, which layers draw their initial weights from, are seeded for a place."""
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, *place))
        yield


def commit() -> str | None:
    """The commit of the source this package runs from, with "+changes" where files differ; None outside git."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    tracked = git("ls-files", "--error-unmatch", Path(__file__).name)
    if not tracked:  # installed into a folder that happens to lie inside somebody else's repository
        return None
    head = git("rev-parse", "HEAD")
    return f"{head}+changes" if head and git("status", "--porcelain", "--untracked-files=no") else head


def usable_cores() -> int:
    """Cores that this process may run on: fewer than the machine's under Slurm, ``taskset`` and in some containers."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment(device: torch.device) -> dict[str, object]:
    """Versions and machine, as recorded with every run."""
    return {
        **copy.deepcopy(_of_this_process()),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
    }


@functools.cache
def _of_this_process() -> dict[str, object]:
    """What stays as it is: code that changes while this process runs is not what this process runs."""
    packages = ("fsgl", "torch", "torchvision", "numpy", "scipy", "scikit-learn", "pillow", "timm")
    versions = {}
    for name in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {
        "commit": commit(),
        "python": sys.version.split()[0],
        "versions": versions,
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
    }


def differences(before: Any, now: dict[str, object]) -> list[str]:
    """What of two environments makes the same arithmetic round differently, in words."""
    if not isinstance(before, dict):
        return []
    found = []
    for name in ("device", "threads", "precision", "processes", "compile"):
        if name in before and before[name] != now.get(name):
            found.append(f"the run began with {name} {before[name]} and goes on with {now.get(name)}")
    versions = before.get("versions")
    torch_before = versions.get("torch") if isinstance(versions, dict) else None
    torch_now = metadata.version("torch")
    if torch_before is not None and _release(torch_before) != _release(torch_now):
        found.append(f"the run began with torch {torch_before} and goes on with {torch_now}")
    return found


def _release(version: str) -> str:
    """A version without what kind of build it is: a package says 2.14.1 and torch itself 2.14.1+cu130 of one and the
    same; between builds of one release it is the device that tells, and that is compared by itself."""
    return version.partition("+")[0]


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()
