"""Rules of the house that no linter of ours knows."""

from __future__ import annotations

import ast
import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "fsgl"
MAX_LINES = {"src": 320, "benchmarks": 320, "main.py": 320, "tests": 400}  # a test may list many cases
NAMELESS = {"utils", "util", "helpers", "helper", "misc", "common", "tools", "stuff"}
HEAVY = {"torch", "torchvision", "sklearn", "scipy", "matplotlib", "tensorboard", "wandb", "pandas", "timm"}

# Files that hold a paper's idea: their first lines say which.
PAPERS = [
    "methods/mixtures.py",
    "models/feature_scaling.py",
    "models/cifar_resnet.py",
    "methods/glmc.py",
    "optim/sam.py",
]


def ours(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    main = ROOT / "main.py"
    return sorted(found + ([main] if main.exists() else []))


SOURCES = ours("src", "benchmarks")
EVERYTHING = ours("src", "benchmarks", "tests")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def python(*args: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that finds this checkout, installed or not."""
    path = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PYTHONPATH": path}
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, timeout=400, cwd=ROOT, env=env)


def test_there_is_something_to_check() -> None:
    assert PACKAGE / "types.py" in SOURCES
    assert Path(__file__).resolve() in EVERYTHING


@pytest.mark.parametrize("path", EVERYTHING, ids=name_of)
def test_file_has_a_name_that_says_something_and_fits_a_sitting(path: Path) -> None:
    nameless = NAMELESS & {part.lower() for part in path.relative_to(ROOT).with_suffix("").parts}
    assert not nameless, f"{name_of(path)}: what is in it has a home elsewhere"
    lines = len(path.read_text(encoding="utf-8").splitlines())
    allowed = MAX_LINES[path.relative_to(ROOT).parts[0]]
    assert lines <= allowed, f"{name_of(path)} has {lines} lines, more than {allowed}; split it by what it does"


def test_tests_in_folders_mirror_the_source() -> None:
    """tests/data/test_sources.py is about src/fsgl/data/images/sources.py; test_sources_x.py about an aspect of it."""
    astray = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        folder = path.parent.relative_to(ROOT / "tests")
        if folder == Path("."):
            continue  # whole-program tests live here, beside those of top-level modules
        home = ROOT if folder.parts[0] == "benchmarks" else PACKAGE
        modules = {source.stem for source in (home / folder).glob("*.py")}
        about = path.stem.removeprefix("test_")
        if not any(about == module or about.startswith(f"{module}_") for module in modules):
            astray.append(name_of(path))
    assert not astray


@pytest.mark.parametrize("relative", PAPERS)
def test_paper_file_starts_with_its_paper(relative: str) -> None:
    docstring = ast.get_docstring(ast.parse((PACKAGE / relative).read_text(encoding="utf-8"))) or ""
    assert re.search(r"\b(19|20)\d\d\b", docstring), f"{relative}: name the paper and its year at the top"


def calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_nothing_read_can_execute(path: Path) -> None:
    """Data and checkpoints come from strangers: no unpickling without restriction, no eval."""
    for node, called in calls(ast.parse(path.read_text(encoding="utf-8"))):
        where = f"{name_of(path)}:{node.lineno}: {called}"
        assert called not in {"eval", "exec", "pickle.load", "pickle.loads", "pickle.Unpickler"}, where
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if called == "torch.load":
            assert given.get("weights_only") == "True", f"{where} without weights_only=True"
        if called in {"np.load", "numpy.load"}:
            assert given.get("allow_pickle", "False") == "False", f"{where} with allow_pickle"


def test_importing_the_package_imports_nothing_heavy() -> None:
    done = python("-c", "import fsgl, sys; print(fsgl.__version__, *sys.modules)")
    assert done.returncode == 0, done.stderr
    assert not HEAVY & set(done.stdout.split())


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["evaluate", "--help"]], ids=" ".join)
def test_help_answers_without_torch(arguments: list[str]) -> None:
    done = python("-X", "importtime", "-m", "fsgl", *arguments)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()
    loaded = set(re.findall(r"^import time:.*\|\s*([\w.]+)$", done.stderr, flags=re.MULTILINE))
    assert "fsgl.commands.cli" in loaded  # the listing is read rightly
    assert not HEAVY & loaded


def test_version_is_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), flags=re.MULTILINE)
    done = python("-c", "import fsgl; print(fsgl.__version__)")
    assert citation
    assert citation[1] == project["version"]
    assert done.stdout.strip() == project["version"], done.stderr
    assert f"## [{project['version']}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_pyproject_is_one_that_can_be_installed() -> None:
    """An environment that was made earlier would not notice: what pip's build reads is read here."""
    from setuptools.config.pyprojecttoml import read_configuration

    read = read_configuration(ROOT / "pyproject.toml")  # raises for what its schema refuses
    module, _, function = read["project"]["scripts"]["fsgl"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    packed = read["tool"]["setuptools"]["package-data"]["fsgl"]
    files = {path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    others = {path for path in files if path.suffix != ".py"}
    assert {path for pattern in packed for path in PACKAGE.glob(pattern)} == others


MARKDOWN = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", MARKDOWN, ids=name_of)
def test_links_in_pages_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    local = [target.split("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]
    missing = [target for target in local if not (page.parent / target).exists()]
    assert not missing, f"{name_of(page)} links to {missing}"


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_help_lists_every_target() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert phony
    shown = subprocess.run(["make", "help"], capture_output=True, text=True, cwd=ROOT, timeout=300, check=True).stdout
    internal = {"force", "test-env"}
    assert set(phony[1].split()) - internal == set(re.findall(r"^make (\w+) ", shown, flags=re.MULTILINE))


def test_architecture_names_every_room_and_its_files_are_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    package = ROOT / "src" / "fsgl"
    rooms = [folder.parent.name for folder in package.glob("*/__init__.py")]
    assert not [room for room in rooms if not re.search(rf"^(\*\*|.*, ){room}\b", page, flags=re.MULTILINE)]
    for named in set(re.findall(r"`([a-z_]+/[a-z_]+\.py)`", page)):
        assert (package / named).is_file(), named
