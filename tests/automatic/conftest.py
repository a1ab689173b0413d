from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

COLOURS = {"red fish": (200, 60, 60), "green fish": (60, 190, 70), "blue fish": (60, 80, 200)}


@pytest.fixture
def fish(tmp_path: Path) -> Path:
    """Photographs of three classes, which their colours tell apart; of the third, three."""
    random = np.random.default_rng(0)
    for (label, colour), count in zip(COLOURS.items(), (20, 12, 3), strict=True):
        folder = tmp_path / "fish" / label
        folder.mkdir(parents=True)
        for i in range(count):
            coarse = (np.array(colour) + random.normal(0, 40, (5, 6, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(coarse).resize((70 + i, 68), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return tmp_path / "fish"
