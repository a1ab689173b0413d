"""What an exported network is compared on: the run's test images, or noise where these cannot be had."""

from __future__ import annotations

import contextlib

import numpy as np

from fsgl.data.images.image_files import BadImage
from fsgl.data.images.sources import ImageArrays
from fsgl.data.load import LoadedData, load_data
from fsgl.data.stream.features import ImageFeatures
from fsgl.deploy.predict import view
from fsgl.errors import UserError
from fsgl.runs.saved import Trained

COMPARED = 100  # images


def sample_views(trained: Trained, data: LoadedData | None = None) -> tuple[np.ndarray, str, str | None]:
    """Up to ``COMPARED`` views, uint8 ``N x H x W x C``, what they are of, and why they are of no test images.

    data: the run's, where they are in memory; None reads them.
    """
    try:
        test = (data or load_data(trained.experiment.data)).test
        chosen = test.take(np.unique(np.linspace(0, len(test) - 1, min(COMPARED, len(test)), dtype=int)))
        if isinstance(chosen, ImageArrays):
            return chosen.images, "test images", None
        assert not isinstance(chosen, ImageFeatures)  # which nothing reads from a disk
        readable = []
        for position in range(len(chosen)):
            with contextlib.suppress(BadImage):
                readable.append(view(trained, chosen.open(position)))
        if not readable:
            raise UserError("none of them can be read")
        return np.stack(readable), "test images", None
    except UserError as error:
        noise = np.random.default_rng(0).integers(0, 256, (COMPARED, *trained.input_size, trained.channels))
        return noise.astype(np.uint8), "images of noise", str(error)
