"""Which images tuned settings are for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from fsgl.comparison.settings_file import images_of
from fsgl.data.images.sources import ImageFiles
from fsgl.recipes.on_data import experiment_on


def test_photographs_are_known_by_their_sizes_too(tmp_path: Path) -> None:
    """Two cameras number their files alike; what they hold differs, and so do bytes."""
    found = []
    for number in (0, 1):
        drawn = np.random.default_rng(number)
        for label in "ab":
            for k in range(6):
                path = tmp_path / str(number) / "photos" / label / f"{k:04}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                height, width = drawn.integers(64, 90, 2)
                Image.fromarray(drawn.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
        _, source = experiment_on("crt", str(tmp_path / str(number) / "photos"), {}, [], scratch=True)
        assert source is not None
        assert isinstance(source.train, ImageFiles)
        found.append(images_of(source))
    assert found[0] != found[1]
