from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fsgl
from fsgl.data.images.sources import ImageArrays
from fsgl.data.readers.digits import load_digits

QUICK: dict[str, Any] = {"device": "cpu", "show": False, "backbone": "resnet8-slim", "batch_size": 32, "lr": 0.1}
NAMES = np.array(["null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"])
Tail = Callable[..., tuple[Any, Any]]


@pytest.fixture(scope="session")
def names() -> np.ndarray:
    """What the digits are called, by the digit."""
    return NAMES


@pytest.fixture(scope="session")
def quick() -> dict[str, Any]:
    """Settings of a training in a second."""
    return QUICK


@pytest.fixture(scope="session")
def tail() -> Tail:
    """Makes long-tailed training arrays and even test arrays of the digits: fractions, labels that are words."""

    def make(most: int = 60) -> tuple[Any, Any]:
        source = load_digits()
        assert isinstance(source.train, ImageArrays)
        assert isinstance(source.test, ImageArrays)
        counts = np.maximum(6, most - 6 * np.arange(10))
        chosen = np.concatenate([np.flatnonzero(source.train.labels == k)[: counts[k]] for k in range(10)])
        train, test = source.train.take(chosen), source.test
        return tuple((part.images[..., 0] / 255, NAMES[part.labels]) for part in (train, test))  # type: ignore[return-value]

    return make


@pytest.fixture(scope="session")
def run(tail: Tail, tmp_path_factory: pytest.TempPathFactory) -> fsgl.Run:
    """Read-only by agreement."""
    data, test = tail()
    folder = tmp_path_factory.mktemp("api") / "run"
    return fsgl.train("cross-entropy", data, test=test, epochs=2, run=folder, **QUICK)
