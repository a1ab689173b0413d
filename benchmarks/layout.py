"""Seconds to find out what a folder of 100,000 files is, beside an earlier commit: nothing is to get slower by a tenth.

    python benchmarks/layout.py [--files 100000] [--against c575ed1] [--record results]

A folder for each of 1,000 classes, in parts and without; the files are empty, as none is opened. Each turn is a process
of its own for either commit, in turns, after one turn that is not counted; the ratio is of the medians. The earlier
commit must be in the repository's history. Copies, which are looked for afterwards, are not part of this.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from fsgl.engine.environment import environment
from fsgl.report.records import write_record

ROOT = Path(__file__).parent.parent
CLASSES, TURNS = 1000, 7
# Either commit has the reader in one of these places.
CODE = """
import sys, time
from pathlib import Path
try:
    from fsgl.data.readers.own import find_source
except ImportError:
    from fsgl.data.own import find_source
start = time.perf_counter()
source = find_source(Path(sys.argv[1]))
print(time.perf_counter() - start, len(source.train) + (len(source.test) if source.test is not None else 0))
"""


def make_folders(folder: Path, files: int) -> dict[str, Path]:
    """Both layouts of as many files."""
    made = {"classes": folder / "classes", "parts": folder / "parts"}
    for i in range(files):
        name = f"class {i % CLASSES:04d}/{i:06d}.jpg"
        part = "test" if i // CLASSES % 5 == 0 else "train"
        for path in (made["classes"] / name, made["parts"] / part / name):
            if i < 5 * CLASSES:
                path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return made


def seconds(source: Path, folder: Path, files: int) -> float:
    """Of one process. Raises ValueError where it did not find all files."""
    env = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CODE, str(folder)]
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    taken, found = done.stdout.split()
    if int(found) != files:
        raise ValueError(f"{source} found {found} of {files} files in {folder}")
    return float(taken)


def measure(before: Path, folders: dict[str, Path], files: int) -> dict[str, Any]:
    """Seconds of both, turn by turn, and the ratio of their medians."""
    found: dict[str, Any] = {}
    for layout, folder in folders.items():
        sources = {"before": before, "now": ROOT / "src"}
        turns: dict[str, list[float]] = {name: [] for name in sources}
        for turn in range(TURNS + 1):
            for name, source in sources.items():
                taken = seconds(source, folder, files)
                turns[name] += [taken] if turn else []
        medians = {name: statistics.median(values) for name, values in turns.items()}
        found[layout] = {"seconds": turns, "medians": medians, "ratio": medians["now"] / medians["before"]}
        print(f"{layout:8} before {medians['before']:.3f} s   now {medians['now']:.3f} s   "
              f"ratio {found[layout]['ratio']:.2f}", flush=True)  # fmt: skip
    return found


def main(arguments: list[str]) -> int:
    """Measure; exit 1 where reading has become slower by more than a tenth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--against", default="c575ed1", metavar="COMMIT")
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="write the record into this folder")
    options = parser.parse_args(arguments)
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", options.against, "src"], check=True, capture_output=True
    ).stdout
    with TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive)) as file:
            file.extractall(Path(folder) / "before", filter="data")
        folders = make_folders(Path(folder) / "images", options.files)
        found = measure(Path(folder) / "before" / "src", folders, options.files)
    content = {"files": options.files, "classes": CLASSES, "against": options.against, "layouts": found}
    if options.record:
        command = f"python benchmarks/layout.py --files {options.files} --against {options.against}"
        write_record(options.record, "layout", "layout-of-100000", command, environment(torch.device("cpu")), content)
    print(json.dumps({layout: round(each["ratio"], 3) for layout, each in found.items()}))
    return int(any(each["ratio"] > 1.1 for each in found.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
