"""``fsgl export``: a trained network as one file for elsewhere."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from fsgl.commands.arguments import FORM, add_run, add_weights, add_white_level, folder
from fsgl.errors import unknown

DESCRIPTION = """\
The backbone and the classifier that predicts, and nothing of training, as one file with class names,
training counts and what must be done to an image in its metadata; beside an ONNX file a small module, fsgl_reader.py,
which opens images as fsgl does and needs Pillow, NumPy and ONNX Runtime. The file is compared with the network before
it is kept."""


def add(commands: Any) -> None:
    """The options."""
    command = commands.add_parser(
        "export", help="a trained network as one file, without fsgl", description=DESCRIPTION, formatter_class=FORM,
        allow_abbrev=False,
    )  # fmt: skip
    add_run(command)
    command.add_argument("--format", default="onnx", help="onnx (default), torch (a torch.export program), safetensors")
    command.add_argument("--output", type=folder, metavar="FILE", help="default: model-exported.* in the run folder")
    command.add_argument(
        "--preprocess", action=argparse.BooleanOptionalAction, default=None,
        help="the graph takes 8-bit pixels, of ONNX of any size, and prepares them (default for ONNX)",
    )  # fmt: skip
    command.add_argument("--images", nargs="+", metavar="PATH", help="to compare on, instead of the run's test images")
    command.add_argument("--licence", default="unstated", metavar="TEXT", help="the weights' licence, for the metadata")
    add_white_level(command, "as the run was trained")
    add_weights(command)


def run(options: argparse.Namespace, settings: list[str]) -> int:
    """Export and compare. Returns the exit code: 1 where the file answers otherwise than the network."""
    from fsgl.deploy.export import READER, SUFFIXES, export
    from fsgl.deploy.predict import find_images
    from fsgl.deploy.sample import COMPARED, sample_files
    from fsgl.runs.prediction_sets import exported_sets
    from fsgl.runs.saved import at_white_level, load_model

    if options.format not in SUFFIXES:
        raise unknown("format", options.format, SUFFIXES)
    trained = at_white_level(load_model(options.run, options.weights), options.white_level)
    path = options.output or options.run / f"model-exported{SUFFIXES[options.format]}"
    with tempfile.TemporaryDirectory() as scratch:
        if options.images:
            given, notes = find_images(options.images)
            print("".join(f"note: {note}\n" for note in notes), end="", file=sys.stderr)
            files, what, problem = given[:COMPARED], "given images", None
        else:
            files, what, problem = sample_files(trained, Path(scratch))
        if problem:
            print(f"note: compared on noise, as the run's test images cannot be had ({problem}); or give --images")
        sets = exported_sets(options.run) if options.weights == "last" else None
        parity = export(trained, options.format, path, files, options.preprocess, options.licence, sets)
    said = (
        f"{parity.images} {what}: largest difference of a logit {parity.difference:.2g} (largest logit "
        f"{parity.scale:.3g}), top class the same for {parity.images - parity.changed}"
    )
    if not parity.ok:
        print(f"fsgl: {path} is not written, as it would answer otherwise than the network; {said}", file=sys.stderr)
        return 1
    beside = f" through {path.with_name(READER)}" if options.format == "onnx" else ""
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB; compared{beside} on {said}")
    return 0
