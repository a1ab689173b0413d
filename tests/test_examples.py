"""The front page, ``import fsgl``: every name on it loads, has a runnable example, and is on docs/python.md."""

from __future__ import annotations

import doctest
import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fsgl

ROOT = Path(__file__).resolve().parents[1]
NAMES = [name for name in fsgl.__all__ if name != "__version__"]
# What others return or raise is shown by their examples.
SHOWN_ELSEWHERE = {
    "Choice", "Comparison", "Difference", "GlmcLosses", "Growth", "Interval", "Run", "RunDiverged", "RunInterrupted",
    "Runtime", "Thresholds", "UserError", "load",
}  # fmt: skip
WITH_EXAMPLE = [name for name in NAMES if name not in SHOWN_ELSEWHERE]
ROOMS = ("losses", "data.stream.samplers", "evaluation.conformal", "evaluation.metrics", "evaluation.statistics",
         "evaluation.posthoc", "evaluation.reliability", "methods.mixtures")  # fmt: skip
# Of metrics: SciPy's, and what its figures are made of; of posthoc: what a note of `fsgl adjust` is made of.
NOT_BLOCKS = {"softmax", "confidences", "groups_that_tell"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in ("auto", "compare") else []) for name in WITH_EXAMPLE],
)
@pytest.mark.usefixtures("cells_forked", "trials_forked")
def test_example_of(name: str) -> None:
    block = getattr(fsgl, name)
    (found,) = doctest.DocTestFinder(recurse=False).find(block, name)
    assert found.examples, f"{name} has no example"
    assert doctest.DocTestRunner().run(found).failed == 0


def test_every_building_block_is_on_the_front_page() -> None:
    missing = []
    for room in ROOMS:
        home = importlib.import_module(f"fsgl.{room}")
        modules = [home]
        if hasattr(home, "__path__"):
            folder = Path(str(home.__file__)).parent
            modules = [importlib.import_module(f"fsgl.{room}.{path.stem}") for path in folder.glob("[a-z]*.py")]
        for module in modules:
            for name, value in vars(module).items():
                if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_"):
                    missing += [name] if name not in NAMES and name not in NOT_BLOCKS else []
    assert not missing


def test_page_lists_every_name() -> None:
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"`{name}`" not in page] == []
    listed = re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE)
    assert [name for name in listed if name not in NAMES] == []


def test_a_name_loads_only_its_own_room() -> None:
    asks = "print('torch' in sys.modules)"
    program = f"import fsgl, sys; fsgl.UserError; {asks}; fsgl.holm; {asks}"
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.stdout.split() == ["False", "False"]
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = fsgl.trian
