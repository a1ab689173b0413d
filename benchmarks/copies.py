"""Seconds that looking for copies adds to the start of a training on 100,000 files of one's own.

    python benchmarks/copies.py [--files 100000] [--record results]
    python benchmarks/copies.py --against ../earlier/src [--record results]

Files of 20 to 500 kB, as photographs of 500 pixels are, sparse so that they fit a small disk; a hundredth of them is
there twice. The start is everything before: imports, and reading the folder. Each turn is two processes: the first
searches, the second finds what the first one kept.

--against: the whole start instead, from the beginning of the process to the first step (images are not decoded), of
these sources, with and without something kept, and of others, which may not know of copies; in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

import fsgl
from fsgl.engine.environment import environment
from fsgl.report.records import write_record

CLASSES, TURNS = 1000, 5
CODE = """
import time
start = time.process_time(), time.perf_counter()
import json, sys
import fsgl.commands.train, fsgl.runs.train
from fsgl.data.draw.together import keep_together
from fsgl.data.load import DataSpec, read_own
source = read_own(DataSpec("own", sys.argv[1]))
read = time.process_time(), time.perf_counter()
found = keep_together(source, "together", carves=True)[1]
done = time.process_time(), time.perf_counter()
print(json.dumps([read[0] - start[0], done[0] - read[0], read[1] - start[1], done[1] - read[1], found["copies"]]))
"""

COMMAND = [
    "train", "cross-entropy", "--backbone", "resnet18-imagenet", "--epochs", "1", "--device", "cpu", "--workers", "0",
    "--track", "none",
]  # fmt: skip
START = f"""
import json, os, sys, time
def begin(*some, **more):
    print(json.dumps([time.process_time(), time.time()]), flush=True)
    os._exit(0)
import fsgl.engine.fit
fsgl.engine.fit.fit = begin
try:
    from fsgl.commands.cli import main
except ModuleNotFoundError:  # as it was called before
    from fsgl.cli import main
sys.exit(main([*{COMMAND}, "--data", sys.argv[1], "--run", sys.argv[2]]))
"""
WAYS = ("before", "first", "again")


def make_folder(folder: Path, files: int) -> None:
    """A folder for each class; file i of the first hundredth is there once more as the last of its class."""
    random = np.random.default_rng(0)
    copied = files // 100
    sizes = np.exp(random.uniform(np.log(20_000), np.log(500_000), files)).astype(int)
    for i in range(files):
        original = i - (files - copied) if i >= files - copied else i
        path = folder / f"class {original % CLASSES:04d}" / f"{i:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(int(sizes[original]) - 8)
            file.seek(0, os.SEEK_END)
            file.write(original.to_bytes(8, "little"))


def compare(folder: str, sources: Path, turns: int) -> dict[str, Any]:
    """Seconds of the start by these sources and by others, in turns."""
    seconds: dict[str, list[float]] = {name: [] for way in WAYS for name in (way, f"{way}_processor")}
    own = Path(fsgl.__file__).parents[1]
    for turn in range(turns + 1):
        for way in WAYS:
            place = {"PYTHONPATH": str(sources if way == "before" else own), "OMP_NUM_THREADS": "1"}
            place["XDG_CACHE_HOME"] = f"{folder}-cache-{turn}"
            began = time.time()
            command = [sys.executable, "-c", START, folder, f"{folder}-run"]
            done = subprocess.run(command, env={**os.environ, **place}, check=True, capture_output=True)
            processor, ready = json.loads(done.stdout.splitlines()[-1])
            shutil.rmtree(f"{folder}-run")
            if turn:  # the first turn reads a cold disk
                seconds[way].append(ready - began)
                seconds[f"{way}_processor"].append(processor)
        shutil.rmtree(f"{folder}-cache-{turn}", ignore_errors=True)  # a search of a second keeps nothing
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratios = {f"{way}{unit}": medians[f"{way}{unit}"] / medians[f"before{unit}"] - 1
              for way in WAYS[1:] for unit in ("", "_processor")}  # fmt: skip
    return {"before_commit": _commit(sources), "seconds": seconds, "medians": medians, "slower_by": ratios}


def _commit(folder: Path) -> str:
    asked = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()


def main() -> None:
    """Measure, print, and record where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--turns", type=int, default=TURNS, help=f"that count, after one that warms the disk ({TURNS})")
    parser.add_argument("--against", type=Path, metavar="SRC", help="sources of another commit")
    parser.add_argument("--record", type=Path, help="folder of records")
    options = parser.parse_args()
    torch.set_num_threads(1)
    turns: list[list[float]] = []
    with TemporaryDirectory() as folder:
        make_folder(Path(folder), options.files)
        if options.against:
            content = {"files": options.files, **compare(folder, options.against.resolve(), options.turns)}
            print(json.dumps(content, indent=2))
            if options.record:
                command_line = f"python benchmarks/copies.py --files {options.files} --against SRC"
                name = f"start-of-{options.files}"
                write_record(options.record, "start", name, command_line, environment(torch.device("cpu")), content)
            return
        for turn in range(options.turns + 1):
            command, seconds = [sys.executable, "-c", CODE, folder], []
            own = {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": f"{folder}-cache-{turn}"}
            for _ in range(2):
                done = subprocess.run(command, env={**os.environ, **own}, check=True, capture_output=True)
                *some, copies = json.loads(done.stdout)
                seconds += some
            shutil.rmtree(own["XDG_CACHE_HOME"], ignore_errors=True)  # a search of a second keeps nothing
            turns.append(seconds)
    names = ("start_processor", "copies_processor", "start", "copies",
             "start_again_processor", "again_processor", "start_again", "again")  # fmt: skip
    columns = dict(zip(names, zip(*turns[1:], strict=True), strict=True))  # the first turn reads a cold disk
    medians = {name: statistics.median(values) for name, values in columns.items()}
    content = {
        "files": options.files,
        "found": copies,
        "seconds": columns,
        "medians": medians,
        "ratio_processor": medians["copies_processor"] / medians["start_processor"],
        "ratio": medians["copies"] / medians["start"],
        "ratio_again_processor": medians["again_processor"] / medians["start_again_processor"],
        "ratio_again": medians["again"] / medians["start_again"],
    }
    print(json.dumps(content, indent=2))
    if options.record:
        command_line = f"python benchmarks/copies.py --files {options.files}"
        name = f"copies-of-{options.files}"
        write_record(options.record, "copies", name, command_line, environment(torch.device("cpu")), content)


if __name__ == "__main__":
    main()
