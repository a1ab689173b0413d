"""``fsgl export``: a trained network as one file for elsewhere."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

import numpy as np

from fsgl.data.images.image_files import BadImage, open_rgb
from fsgl.data.images.prepared import PreparedImages
from fsgl.data.images.sources import ImageArrays, ImageFiles
from fsgl.data.load import load_data
from fsgl.deploy.export import SUFFIXES, export
from fsgl.deploy.predict import find_images, view
from fsgl.errors import UserError, unknown
from fsgl.runs.saved import Trained, load_model

COMPARED = 100  # images


def run(options: argparse.Namespace, settings: list[str]) -> int:
    """Export and compare. Returns the exit code: 1 where the file answers otherwise than the network."""
    if options.format not in SUFFIXES:
        raise unknown("format", options.format, SUFFIXES)
    trained = load_model(options.run, options.weights)
    path = options.output or options.run / f"model-exported{SUFFIXES[options.format]}"
    views, what = _views(trained, options.images)
    parity = export(trained, options.format, path, views, options.preprocess, options.licence)
    said = (
        f"{parity.images} {what}: largest difference of a logit {parity.difference:.2g} (largest logit "
        f"{parity.scale:.3g}), top class the same for {parity.images - parity.changed}"
    )
    if not parity.ok:
        print(f"fsgl: {path} is not written, as it would answer otherwise than the network; {said}", file=sys.stderr)
        return 1
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB; compared on {said}")
    return 0


def _views(trained: Trained, images: list[str] | None) -> tuple[np.ndarray, str]:
    """What to compare on: given images, else the run's test images, else noise; and what that was."""
    if images:
        views = []
        for file in find_images(images)[:COMPARED]:
            try:
                views.append(view(trained, open_rgb(file.root, file.relative)))
            except BadImage as error:
                print(f"fsgl: {BadImage(Path(file.shown), error.reason)}", file=sys.stderr)
        if not views:
            raise UserError("none of the images to compare on can be read")
        return np.stack(views), "given images"
    try:
        test = load_data(trained.experiment.data).test
        chosen = test.take(np.unique(np.linspace(0, len(test) - 1, min(COMPARED, len(test)), dtype=int)))
        if isinstance(chosen, ImageArrays):
            return chosen.images, "test images"
        assert isinstance(chosen, ImageFiles | PreparedImages)
        readable = []
        for position in range(len(chosen)):
            with contextlib.suppress(BadImage):
                readable.append(view(trained, chosen.open(position)))
        if not readable:
            raise UserError("none of them can be read")
        return np.stack(readable), "test images"
    except UserError as error:
        print(f"note: compared on noise, as the run's test images cannot be had ({error}); or give --images")
        noise = np.random.default_rng(0).integers(0, 256, (COMPARED, *trained.input_size, trained.channels))
        return noise.astype(np.uint8), "images of noise"
