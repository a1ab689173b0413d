"""How the house stood before its modules became rooms, and how it stands: counted in two commits.

    python benchmarks/house.py [--record results]

Both commits are read from git, so that this needs a clone with its history and neither commit checked out.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from fsgl.engine.environment import environment
from fsgl.report.records import write_record

ROOT = Path(__file__).resolve().parent.parent
BEFORE = "c575ed1"  # the last commit with flat modules
FOLDERS = ("src", "tests", "benchmarks")
KINDS = re.compile(r"isinstance\([^)]*\b(ImageArrays|ImageFiles|PreparedImages|ImageFeatures)\b")


def files_of(commit: str) -> dict[str, str]:
    """Every Python file of FOLDERS, by path."""
    content = subprocess.run(["git", "archive", commit, *FOLDERS], cwd=ROOT, capture_output=True, check=True).stdout
    found = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in archive:
            if member.name.endswith(".py") and (file := archive.extractfile(member)) is not None:
                found[member.name] = file.read().decode()
    return found


def count(files: Mapping[str, str]) -> dict[str, Any]:
    """Files and lines by folder; of the package its modules outside rooms, its rooms, and what was to become less."""
    package = {name.removeprefix("src/fsgl/"): text for name, text in files.items() if name.startswith("src/fsgl/")}
    lines = {name: len(text.splitlines()) for name, text in package.items()}
    checks = [
        node.end_lineno - node.lineno + 1
        for text in package.values() for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef) and node.name == "__post_init__" and node.end_lineno is not None
    ]  # fmt: skip
    return {
        **{
            folder: {
                "files": sum(name.startswith(f"{folder}/") for name in files),
                "lines": sum(len(text.splitlines()) for name, text in files.items() if name.startswith(f"{folder}/")),
            }
            for folder in FOLDERS
        },
        "flat": sum("/" not in name and not name.startswith("__") for name in package),
        "rooms": len({name.split("/")[0] for name in package if "/" in name}),
        "longest": max(lines.values()),
        "post_init": sum(checks),
        "kinds": sum(bool(KINDS.search(line)) for text in package.values() for line in text.splitlines()),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Count, print, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="write house.json there")
    options = parser.parse_args(arguments)
    content = {"before": {"commit": BEFORE, **count(files_of(BEFORE))}, "now": count(files_of("HEAD"))}
    for name, counted in content.items():
        print(name, counted)
    if options.record is not None:
        command = "python benchmarks/house.py --record results"
        print(write_record(options.record, "house", "house", command, environment(torch.device("cpu")), content))
    return 0


if __name__ == "__main__":
    sys.exit(main())
