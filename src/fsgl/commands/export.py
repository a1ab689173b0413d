"""``fsgl export``: a trained network as one file for elsewhere."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsgl.commands.arguments import FORM, add_run, add_weights, folder
from fsgl.errors import UserError, unknown

if TYPE_CHECKING:
    import numpy as np

    from fsgl.runs.saved import Trained

DESCRIPTION = """\
The backbone and the classifier that predicts, and nothing of training, as one file with class names,
training counts and what must be done to an image in its metadata. The file is compared with the network before it is
kept."""


def add(commands: Any) -> None:
    """The options."""
    command = commands.add_parser(
        "export", help="a trained network as one file, without fsgl", description=DESCRIPTION, formatter_class=FORM,
        allow_abbrev=False,
    )  # fmt: skip
    add_run(command)
    command.add_argument("--format", default="onnx", help="onnx (default), torch (a torch.export program), safetensors")
    command.add_argument("--output", type=folder, metavar="FILE", help="default: model-exported.* in the run folder")
    command.add_argument("--preprocess", action="store_true", help="the graph takes 8-bit pixels and normalises them")
    command.add_argument("--images", nargs="+", metavar="PATH", help="to compare on, instead of the run's test images")
    command.add_argument("--licence", default="unstated", metavar="TEXT", help="the weights' licence, for the metadata")
    add_weights(command)


def run(options: argparse.Namespace, settings: list[str]) -> int:
    """Export and compare. Returns the exit code: 1 where the file answers otherwise than the network."""
    from fsgl.deploy.export import SUFFIXES, export
    from fsgl.runs.saved import load_model

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
    import numpy as np

    from fsgl.data.images.image_files import BadImage, open_rgb
    from fsgl.deploy.predict import find_images, view
    from fsgl.deploy.sample import COMPARED, sample_views

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
    sample, what, problem = sample_views(trained)
    if problem:
        print(f"note: compared on noise, as the run's test images cannot be had ({problem}); or give --images")
    return sample, what
