"""Every script of benchmarks/ finds what it imports, as a module of the repository or as a script beside the others."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.mark.parametrize("name", sorted(path.stem for path in BENCHMARKS.glob("*.py")))
def test_it_can_be_started(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = (BENCHMARKS / f"{name}.py").read_text(encoding="utf-8")
    if f"python -m benchmarks.{name}" not in usage:  # a script, or what scripts share
        monkeypatch.syspath_prepend(BENCHMARKS)
    if f"python benchmarks/{name}.py" in usage:
        outside = [each for each in sys.path if Path(each or ".").resolve() != BENCHMARKS.parent]
        monkeypatch.setattr(sys, "path", outside)
        with monkeypatch.context() as patch:
            for known in [each for each in sys.modules if each.split(".")[0] == "benchmarks"]:
                patch.delitem(sys.modules, known)
            importlib.import_module(name)
    else:
        importlib.import_module(f"benchmarks.{name}")
