from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

# Images in each file, in the order in which they are read; the last one is the test set.
CIFAR_FILES = {
    "cifar10": {**{f"data_batch_{i}": 10 for i in range(1, 6)}, "test_batch": 10},
    "cifar100": {"train": 200, "test": 100},
}


def write_cifar(root: Path, name: str) -> Path:
    classes, folder = {"cifar10": (10, "cifar-10-batches-py"), "cifar100": (100, "cifar-100-python")}[name]
    (root / folder).mkdir(parents=True)
    random = np.random.default_rng(0)
    for file, count in CIFAR_FILES[name].items():
        rows = random.integers(0, 256, (count, 3072), dtype=np.uint8)
        labels = [i % classes for i in range(count)]
        batch = {b"data": rows, b"labels" if name == "cifar10" else b"fine_labels": labels}
        (root / folder / file).write_bytes(pickle.dumps(batch, 2))
    meta, key = ("batches.meta", "label_names") if name == "cifar10" else ("meta", "fine_label_names")
    (root / folder / meta).write_bytes(pickle.dumps({key: [f"class {k}" for k in range(classes)]}, 2))
    return root / folder


@pytest.fixture
def make_cifar() -> Callable[[Path, str], Path]:
    """Writes a set of random pixels in torchvision's layout: ``make_cifar(root, "cifar10")`` returns its folder."""
    return write_cifar
