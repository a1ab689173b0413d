"""The authors' release beside fsgl on one GPU: seconds of its training step, for the ratio (GPU.md, item 2).

    python benchmarks/published_code.py FOLDER --data cifar100-if50.npz --results results --steps 60 --limit 75

FOLDER holds a checkout of their repository, which is run as it stands and is no part of this one. Its command is the
one they publish for CIFAR-100-LT IF 50 (resnet34, batch 64, SAM, feature scaling 1); what it prints says how long its
steps took, loading included. Two things are done for it, and recorded:

- it is given the images of an .npz (``paper_run.py draw``) in the archive's form, each class filled up to 500 with its
  own images again, as it draws its long tail itself;
- on one GPU its SAM step ends in a KeyError, as its two consistency heads get no gradient in the first pass. They are
  given zeros there, which is what its DataParallel over two GPUs amounts to.

It is ended after the steps that were asked for, or at the limit.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pickle
import re
import runpy
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from drawn_data import read_drawn

from fsgl.commands.cli import guarded
from fsgl.data.images.sources import ImageArrays
from fsgl.data.load import LoadedData
from fsgl.engine.environment import environment
from fsgl.errors import UserError
from fsgl.report.records import write_record

PUBLISHED = (
    "--dataset", "cifar100", "-a", "resnet34", "--num_classes", "100", "--imbanlance_rate", "0.02", "--beta", "0.5",
    "--lr", "0.01", "--epochs", "200", "-b", "64", "--momentum", "0.9", "--weight_decay", "5e-3",
    "--resample_weighting", "0.0", "--label_weighting", "1.2", "--contrast_weight", "4", "--rho", "0.05",
    "--fcc", "1",
)  # fmt: skip
LINE = re.compile(r"Epoch: \[1/\d+\]\[(\d+)/\d+\]\s+Time [\d.]+ \(([\d.]+)\)\s+Data [\d.]+ \(([\d.]+)\)")
PRECISION = "float32, convolutions in tf32"  # torch's defaults; it sets none
FEW = 10  # steps between two of its lines


def write_archive(data: LoadedData, folder: Path) -> None:
    """As the archive has it: ``train`` with 500 images of every class, ``test``."""
    folder.mkdir(parents=True)
    train, test = data.train, data.test
    assert isinstance(train, ImageArrays)
    assert isinstance(test, ImageArrays)
    images, labels = train.images, train.labels
    each = 50_000 // data.num_classes
    filled = np.concatenate([np.resize(np.flatnonzero(labels == k), each) for k in range(data.num_classes)])
    for name, pixels, found in (("train", images[filled], labels[filled]), ("test", test.images, test.labels)):
        rows = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).reshape(len(pixels), -1)
        (folder / name).write_bytes(pickle.dumps({b"data": rows, b"fine_labels": found.tolist()}))


def run_theirs(folder: Path, arguments: list[str]) -> None:
    """In a process of its own, in their folder: their main program, with zeros where a gradient is missing."""
    sys.path.insert(0, str(folder))
    sam = importlib.import_module("sam").SAM
    first_step = sam.first_step

    def with_zeros(self: torch.optim.Optimizer, *given: object, **named: object) -> object:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
        return first_step(self, *given, **named)

    sam.first_step = with_zeros
    sys.argv = [str(folder / "main.py"), *arguments]
    runpy.run_path(sys.argv[0], run_name="__main__")


def watch(command: list[str], where: Path, steps: int, limit: float) -> tuple[list[tuple[int, float, float]], str]:
    """(steps done, mean seconds, mean seconds of loading) of each line that it prints; and the end of what it said."""
    began, log, found = time.monotonic(), where / "log.txt", list[tuple[int, float, float]]()
    environment_of_it = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=where, stdout=file, stderr=file, env=environment_of_it)
    try:
        while process.poll() is None and time.monotonic() - began < limit and not (found and found[-1][0] > steps):
            time.sleep(0.2)
            said = log.read_text(errors="replace")
            found = [(int(m[1]) + 1, float(m[2]), float(m[3])) for m in LINE.finditer(said)]
    finally:
        process.kill()
        process.wait()
    return found, "\n".join(log.read_text(errors="replace").splitlines()[-10:])


def measure(options: argparse.Namespace) -> int:
    """Write the record; 1 where nothing could be timed."""
    data = read_drawn(Path(options.data))
    if data.spec.name != "cifar100":
        raise UserError(f"{options.data}: the published command is of CIFAR-100, and this is {data.spec.name}")
    folder = Path(options.folder).resolve()
    if not (folder / "main.py").exists():
        raise UserError(f"{folder}: no main.py there; a checkout of the authors' repository is wanted")
    with tempfile.TemporaryDirectory() as work:
        write_archive(data, Path(work) / "data" / "cifar-100-python")
        theirs = [*PUBLISHED, "--root", f"{work}/data/", "-p", str(FEW), "-j", str(options.workers), *options.more]
        command = [sys.executable, str(Path(__file__).resolve()), "--theirs", str(folder), *theirs]
        found, said = watch(command, Path(work), options.steps, options.limit)
    if len(found) < 2:
        print(said)
        print("published_code.py: it did not get far enough to be timed; its last words are above", file=sys.stderr)
        return 1
    # From its first line on, which has in it what is set up once.
    (first, mean, loading), (last, mean_last, loading_last) = found[0], found[-1]
    seconds = (mean_last * last - mean * first) / (last - first)
    content = {
        "arguments": [*PUBLISHED, *options.more], "steps": last - first, "seconds_per_step": seconds,
        "loading_seconds_per_step": (loading_last * last - loading * first) / (last - first),
        "precision": PRECISION, "workers": options.workers, "images": len(data.train),
        "changed": "zero gradients for the heads that SAM's first pass leaves without one (one GPU in place of two)",
    }  # fmt: skip
    about = environment(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    about = {**about, "commit": options.commit or about["commit"]}
    name = f"published-code-{str(about['device']).lower().replace(' ', '-')}"
    path = write_record(Path(options.results), "published-code", name, options.command, about, content)
    print(f"{seconds:.4g} s a step -> {path}")
    return 0


def main(arguments: list[str]) -> int:
    """Do what the command line says; returns the exit code."""
    if arguments[:1] == ["--theirs"]:
        run_theirs(Path(arguments[1]), arguments[2:])
        return 0
    options = parser().parse_args(arguments)
    options.command = shlex.join(["python", "benchmarks/published_code.py", *arguments])
    return guarded("published_code.py", lambda: measure(options))


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", help="a checkout of the authors' repository")
    parser.add_argument("--data", required=True, metavar="FILE.npz", help="of CIFAR-100, as 'paper_run.py draw' writes")
    parser.add_argument("--results", default="results", help="folder of the record (results)")
    parser.add_argument("--steps", type=int, default=60, help="at least so many are timed (60)")
    parser.add_argument("--limit", type=float, default=120, metavar="SECONDS", help="it is ended then (120)")
    parser.add_argument("--workers", type=int, default=4, help="loading processes of each of its loaders (its 4)")
    parser.add_argument("--commit", help="for the record, where the source is a copy outside its git repository")
    parser.add_argument("--more", nargs=argparse.REMAINDER, default=[], help="further arguments of theirs, for trials")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
