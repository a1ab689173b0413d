"""A real walk: CIFAR-10-LT (factor 50) written out as a folder of PNGs with planted faults, through every command.

    python -m benchmarks.walk --root data [--epochs 4] [--record results]

inspect, prepare, train, evaluate, predict, export, serve, each as a person would type it. The record holds the
commands, their seconds and what they said.

    python -m benchmarks.walk --stamps [--images FOLDER] [--record results]

The same of docs/walkthrough.md, on 796 photographs and drawings (benchmarks/own_folders.py), from a network that was
trained on ImageNet; features are computed anew. What the run reached on its test images is in the record, too.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from benchmarks.own_folders import STAMPS, fetch_stamps
from PIL import Image

from fsgl.data.load import DataSpec, load_data
from fsgl.engine.environment import environment
from fsgl.report.records import write_record

PORT = 8765
PAGE = Path(__file__).parents[1] / "docs" / "walkthrough.md"
FIGURES = ("top1", "balanced", "many", "medium", "few", "n")


def write_folder(folder: Path, root: str) -> None:
    """The images as PNGs, a folder a class; five test images leak into training, one file is empty, one is no image."""
    data = load_data(DataSpec("cifar10", root=root, imbalance_factor=50.0, val=0.0))
    for part, images in (("train", data.train), ("test", data.test)):
        for i, (pixels, label) in enumerate(zip(images.images, images.labels, strict=True)):  # type: ignore[union-attr]
            path = folder / part / data.class_names[label] / f"{i:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    for i, path in enumerate(sorted((folder / "test" / "airplane").iterdir())[:5]):
        shutil.copy(path, folder / "train" / "airplane" / f"leak{i}.png")
    (folder / "train" / "cat" / "empty.png").write_bytes(b"")
    (folder / "test" / "dog" / "text.png").write_bytes(b"hello")


def walk(folder: Path, epochs: int) -> list[dict[str, Any]]:
    """Each command with its seconds, exit code and last lines."""
    commands = (
        "inspect photos --html photos.html --json photos.json",
        "prepare photos prepared --short-side 32",
        "prepare prepared --verify",
        f"train fsgl --data photos --run run --backbone resnet20-slim --epochs {epochs} --track none",
        "evaluate run",
        "predict run photos/test --format csv --output predictions.csv",
        "export run --preprocess",
        "export run --format torch",
    )
    return [_run(folder, command) for command in commands] + [
        _serve(folder, f"serve run --port {PORT}", next((folder / "photos" / "test" / "truck").iterdir()))
    ]


def walk_page(folder: Path) -> list[dict[str, Any]]:
    """The commands of the page, each block of which is one or more lines, on the folder ``photos``."""
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.S)
    commands = [line.removeprefix("fsgl ") for block in blocks for line in block.splitlines()]
    some = next(path for path in sorted((folder / "photos").rglob("*")) if path.is_file())
    return [
        _serve(folder, command, some) if command.startswith("serve") else _run(folder, command) for command in commands
    ]


def _run(folder: Path, command: str) -> dict[str, Any]:
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "fsgl", *shlex.split(command)], cwd=folder, capture_output=True, text=True
    )
    seconds = time.perf_counter() - start
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    print(f"{seconds:7.1f} s   exit {done.returncode}   fsgl {command}", flush=True)
    return {"command": f"fsgl {command}", "seconds": seconds, "exit": done.returncode, "said": said[-60:]}


def _serve(folder: Path, command: str, some: Path) -> dict[str, Any]:
    """The page is started, an image is sent, the answer kept."""
    port = command.rpartition(" ")[2]
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "fsgl", *command.split()], cwd=folder, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/predict"
    request = urllib.request.Request(url, some.read_bytes(), {"Content-Type": "image/png"})
    try:
        for _ in range(600):
            try:
                answer = urllib.request.urlopen(request, timeout=30).read().decode()
                break
            except OSError:
                time.sleep(0.1)
    finally:
        process.terminate()
        process.wait()
    seconds = time.perf_counter() - start
    print(f"{seconds:7.1f} s   fsgl {command}, until it answered", flush=True)
    return {"command": f"fsgl {command}", "seconds": seconds, "exit": 0, "said": [answer[:300]]}


def main(arguments: list[str]) -> int:
    """Walk; exit 1 where a command failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data", help="folder of the CIFAR archives (data)")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="write the record into this folder")
    parser.add_argument("--stamps", action="store_true", help="docs/walkthrough.md on the stamps, instead")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="the stamps, where they are at hand")
    options = parser.parse_args(arguments)
    with TemporaryDirectory() as name:
        folder, content = Path(name), {}
        if options.stamps:
            shutil.copytree(options.images or fetch_stamps(folder), folder / "photos")
            content = {"images": STAMPS, "load": [os.getloadavg()[0]]}
            steps = walk_page(folder)
            record = json.loads((folder / "runs/photos/experiment.json").read_text())
            test, view = record["result"]["last"], record["settings"]["data"].get("view", "middle")
            content |= {"test": {key: test[key] for key in FIGURES}, "view": view, "steps": steps}
            content["load"].append(os.getloadavg()[0])
        else:
            write_folder(folder / "photos", options.root)
            content = {"steps": (steps := walk(folder, options.epochs))}
    if options.record:
        write_record(
            options.record, "walk", "walk-stamps" if options.stamps else "walk-cifar10",
            "python -m benchmarks.walk --stamps" if options.stamps else "python -m benchmarks.walk",
            environment(torch.device("cpu")), content,
        )  # fmt: skip
    return int(any(step["exit"] for step in steps))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
