from __future__ import annotations

import os
from pathlib import Path

# Before torch is imported, and inherited by the programs that tests start: the nets here are too
# small to gain from more threads, and the defaults of a large machine make them slower.
THREADS = min(2, os.cpu_count() or 1)
os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

torch.set_num_threads(THREADS)

# A shared machine is slow at times, which says nothing about the code. CI draws the same examples every time.
settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="session")
def cifar_root() -> Path:
    """Folder with genuine ``cifar-10-batches-py/`` and ``cifar-100-python/``, read-only by agreement."""
    named = os.environ.get("FSGL_CIFAR")
    if not named:
        pytest.skip("FSGL_CIFAR names no folder with CIFAR-10 and CIFAR-100 in torchvision's layout")
    root = Path(named)
    missing = [name for name in ("cifar-10-batches-py", "cifar-100-python") if not (root / name).is_dir()]
    # Named but not there is a mistake, and skipping would hide it.
    assert not missing, f"FSGL_CIFAR={root} lacks {', '.join(missing)}"
    return root
