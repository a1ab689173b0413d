"""benchmarks/paper_run.py on a CPU and small: draw, run, stop at the limit, go on, profile."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.pages.results import results_sections
from tests import forked

from fsgl.data.draw.split import split_hash
from fsgl.data.images.sources import ImageArrays
from fsgl.data.load import RELEASE_CIFAR100, DataSpec, LoadedData, load_data
from fsgl.engine.runtime import Runtime
from fsgl.errors import UserError
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import override
from fsgl.report.records import read_records
from fsgl.runs.saved import read_history
from fsgl.runs.train import train

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in the cells: two processes of two threads on a busy machine of two cores would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def paper_run() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)  # as for a script that is started there
        yield importlib.import_module("paper_run")


@pytest.fixture(autouse=True)
def cells_forked(paper_run: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells begin with everything imported; tests/benchmarks/test_gpu_day.py starts one as the script does."""

    def start(command: list[str], **streams: Any) -> forked.Program:
        script = Path(paper_run.__file__ or "")
        assert command[:2] == [sys.executable, str(script.resolve())]
        code = f"import sys; sys.path.insert(0, {str(script.parent)!r}); import paper_run; "
        code += "sys.exit(paper_run.main(sys.argv[1:]))"
        files = {name: getattr(file, "fileno", lambda file=file: file)() for name, file in streams.items()}
        return forked.start(*command[2:], code=code, **files)

    cells = importlib.import_module("cells")
    monkeypatch.setattr(cells, "subprocess", SimpleNamespace(Popen=start, DEVNULL=forked.DEVNULL))


@pytest.fixture(scope="module")
def drawn_data(paper_run: ModuleType) -> ModuleType:
    return importlib.import_module("drawn_data")


@pytest.fixture
def digits(paper_run: ModuleType, tmp_path: Path) -> Path:
    path = tmp_path / "digits.npz"
    assert paper_run.main(["draw", str(path), "--data", "digits", "data.imbalance_factor=50"]) == 0
    return path


class Calls:
    """``call("fsgl:0", ...)`` runs cells of the digits in a folder and returns the exit code."""

    def __init__(self, paper_run: ModuleType, data: Path, folder: Path) -> None:
        self.paper_run, self.data, self.folder = paper_run, data, folder

    def __call__(self, *words: str) -> int:
        arguments = ["--data", str(self.data), "--runs", str(self.folder / "runs"), "--results",
                     str(self.folder / "results"), "--device", "cpu", "--threads", "1"]  # fmt: skip
        code: int = self.paper_run.main(["run", *words, *arguments])
        return code

    def progress(self) -> dict[str, dict[str, Any]]:
        return {cell["cell"]: cell for cell in json.loads((self.folder / "runs/progress.json").read_text())["cells"]}


@pytest.fixture
def call(paper_run: ModuleType, digits: Path, tmp_path: Path) -> Calls:
    return Calls(paper_run, digits, tmp_path)


def altered(path: Path, **changes: Any) -> Path:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files} | changes
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


@pytest.mark.parametrize("val", [0.0, 0.1])
def test_drawn_images_are_those_of_load_data(val: float, drawn_data: ModuleType, tmp_path: Path) -> None:
    loaded = load_data(DataSpec("digits", imbalance_factor=50, val=val))
    drawn_data.write_drawn(tmp_path / "x.npz", loaded)
    with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
        parts = ("train", "test", "val") if val else ("train", "test")
        arrays = {f"{part}_{kind}" for part in parts for kind in ("images", "labels")}
        assert set(file.files) == {"description", *arrays}
    read = drawn_data.read_drawn(tmp_path / "x.npz")
    assert read.hash == loaded.hash == split_hash(**{part: getattr(read, part) for part in parts})
    for part in parts:
        assert np.array_equal(getattr(read, part).images, getattr(loaded, part).images)
    assert read.counts.dtype == loaded.counts.dtype == np.int64
    assert read.counts.tolist() == loaded.counts.tolist()
    for name in ("spec", "class_names", "mean", "std", "without_validation"):
        assert getattr(read, name) == getattr(loaded, name)
    assert read.describe() == loaded.describe()


def test_images_that_are_no_draw_are_refused(digits: Path, drawn_data: ModuleType, tmp_path: Path) -> None:
    with np.load(digits, allow_pickle=False) as file:
        labels, images, description = file["train_labels"], file["train_images"].copy(), str(file["description"])
    images[0, 0, 0] ^= 1
    cases: list[tuple[dict[str, Any], str]] = [
        ({"train_images": images}, r"hash to \w{12}, not \w{12}; draw it again"),
        ({"train_images": None}, "not written by 'paper_run.py draw'"),
        ({"train_labels": labels + 10}, "not written by .*has label"),
        ({"train_labels": labels.astype(np.int32)}, "not written by .*int64"),
        ({"description": np.array("{")}, "not written by .*JSONDecodeError"),
        ({"description": np.array(description.replace('"val_seed"', '"val_sed"'))}, r"not written by .*data\.val_sed"),
        ({"description": np.array([{}], dtype=object)}, r"not an \.npz of plain arrays"),
    ]
    whole = digits.read_bytes()
    for changes, message in cases:
        digits.write_bytes(whole)
        with pytest.raises(UserError, match=message) as caught:
            drawn_data.read_drawn(altered(digits, **changes))
        assert str(digits) in str(caught.value)
        assert "\n" not in str(caught.value)
    for content in (b"", b"PK\3\4 torn", whole[: len(whole) // 2]):
        digits.write_bytes(content)
        with pytest.raises(UserError, match=r"not an \.npz of plain arrays"):
            drawn_data.read_drawn(digits)
    with pytest.raises(UserError, match="no such file"):
        drawn_data.read_drawn(tmp_path / "missing.npz")


def test_recipe_decides_normalisation_and_nothing_else_of_a_draw(drawn_data: ModuleType) -> None:
    parts = [ImageArrays(np.zeros((100, 4, 4, 3), np.uint8), np.arange(100)) for _ in range(2)]
    names, own = tuple(map(str, range(100))), ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    spec = DataSpec("cifar100", imbalance_factor=100, val=0.0)
    data = LoadedData(spec, parts[0], None, parts[1], names, np.ones(100, np.int64), *own, (), "hash")
    release = drawn_data.for_experiment(data, override(make_experiment("release", "cifar100"), "data.root=elsewhere"))
    assert (release.mean, release.std) == RELEASE_CIFAR100
    assert release.spec.normalization == "release"
    fsgl = drawn_data.for_experiment(data, override(make_experiment("fsgl", "cifar100"), "data.val=0"))
    assert (fsgl.mean, fsgl.std) == own
    with pytest.raises(UserError, match=r"drawn with data\.val=0\.0, not 0\.1; draw others"):
        drawn_data.for_experiment(data, make_experiment("fsgl", "cifar100"))


def test_cells_are_recorded_once_and_a_failing_one_fails_alone(
    call: Calls, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("glmc:3", "cross-entropy:1,schedule.lr=1e30", "optim.epochs=2", "--jobs", "2")
    assert call(*words, "--tag", "tiny", "--commit", "abc", "--closer-look") == 1
    printed = capsys.readouterr().out
    assert "complete  glmc:3" in printed
    assert "failed    cross-entropy:1,schedule.lr=1e30" in printed
    assert "diverged" in printed
    progress = call.progress()
    assert progress["glmc:3"]["status"] == "complete"
    assert progress["glmc:3"]["epochs_done"] == 2
    assert 0 <= progress["glmc:3"]["last_test"]["top1"] <= 100
    assert "diverged" in progress["cross-entropy:1,schedule.lr=1e30"]["failure"]

    (record,) = read_records(tmp_path / "results", "run")
    assert record["name"].startswith("digits-if50-resnet8-slim-e2-glmc-seed3-")
    assert record["name"].endswith("-tiny")
    assert record["command"].startswith("python benchmarks/paper_run.py run glmc:3 ")
    assert record["environment"]["commit"] == "abc"  # as told, whatever a copy says of itself
    content = record["content"]
    assert content["heads"]["predict"]["balanced"] == pytest.approx(content["epochs"][-1]["test"]["balanced"])
    assert content["norms"]["many"] > 0
    assert content["calibration"]["temperature"] > 0
    assert content["data"]["split_hash"] == load_data(DataSpec("digits", imbalance_factor=50)).hash
    assert content["wall_seconds"] >= content["train_seconds"] > 0
    assert content["peak_gpu_bytes"] is None
    (session,) = content["sessions"]
    assert (session["jobs"], session["threads"], session["runtime"]["device"]) == (2, 1, "cpu")
    (section,) = results_sections(tmp_path / "results")
    assert "| glmc " in section

    weights = tmp_path / "runs" / record["name"] / "model.safetensors"
    before = [path.stat().st_mtime_ns for path in (weights, tmp_path / "results" / f"{record['name']}.json")]
    assert call(words[0], *words[2:], "--tag", "tiny") == 0
    assert before == [path.stat().st_mtime_ns for path in (weights, tmp_path / "results" / f"{record['name']}.json")]

    (weights.parent / "closer-look.json").unlink()  # as where it died between the training and that
    (tmp_path / "results" / f"{record['name']}.json").unlink()
    assert call(words[0], *words[2:], "--tag", "tiny", "--closer-look") == 0
    (again,) = read_records(tmp_path / "results", "run")
    assert again["content"]["heads"] == content["heads"]


def test_run_stopped_at_the_limit_goes_on_to_the_same_bits(
    call: Calls, paper_run: ModuleType, drawn_data: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NearOnceBegun:
        """A deadline that is far until an epoch is done, then so near that cells are asked to stop."""

        def __sub__(self, now: float) -> float:
            rows = [path.stat().st_size for path in (tmp_path / "runs").glob("*/metrics.jsonl")]
            return 20.0 if any(rows) else 1000.0

    words, attend = ("fsgl:5", "optim.epochs=6"), paper_run.attend
    monkeypatch.setattr(paper_run, "POLL", 0.05)
    with monkeypatch.context() as patch:
        patch.setattr(paper_run, "attend", lambda cells, deadline, *rest: attend(cells, NearOnceBegun(), *rest))
        assert call(*words) == 3
    stopped = call.progress()["fsgl:5"]
    assert stopped["status"] == "stopped"
    assert stopped["train_seconds"] > 0
    assert 1 <= stopped["epochs_done"] < 6
    assert not list((tmp_path / "results").glob("*"))
    assert call(*words) == 0

    data = drawn_data.read_drawn(tmp_path / "digits.npz")
    spec = ("data.imbalance_factor=50", "seed=5", "optim.epochs=6")
    whole, folder = tmp_path / "whole", tmp_path / "runs" / stopped["run"]
    train(override(make_experiment("fsgl", "digits"), *spec), whole, Runtime("cpu", trackers=()), data=data)
    assert (folder / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    ours, theirs = ([{**row, "seconds": 0} for row in read_history(path)] for path in (folder, whole))
    assert ours == theirs
    (record,) = read_records(tmp_path / "results", "run")
    walls = [session["wall_seconds"] for session in record["content"]["sessions"]]
    assert len(walls) == 2
    assert record["content"]["wall_seconds"] == sum(walls)


def test_limit_too_short_to_begin_leaves_all_for_the_next_call(call: Calls, tmp_path: Path) -> None:
    assert call("glmc:0", "glmc:1", "--limit", "0.6", "--grace", "0.4") == 3
    assert [cell["status"] for cell in call.progress().values()] == ["stopped", "waiting"]
    assert not list((tmp_path / "results").glob("*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fsgl"], "'fsgl' is no cell; write RECIPE:SEED"),
        (["fsgi:0"], "fsgl"),
        (["fsgl:0", "optim.epoch=1"], "optim.epochs"),
        (["fsgl:0", "data.val=0"], "drawn with data.val=0.1, not 0.0"),
        (["fsgl:0", "fsgl:0"], "fsgl:0 stands there twice"),
        (["fsgl:0", "--limit", "20"], "--limit 20 leaves no time"),
        (["fsgl:0", "--jobs", "0"], "--jobs must be 1 or more"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistake_is_one_line(words: list[str], message: str, call: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert call(*words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert message in said


def test_profile_is_recorded_beside_the_runs(paper_run: ModuleType, digits: Path, tmp_path: Path) -> None:
    arguments = ["--data", str(digits), "--results", str(tmp_path), "--device", "cpu", "optim.batch_size=16"]
    counts = ["--warmup", "1", "--steps", "2", "--repeats", "3"]
    assert paper_run.main(["profile", "fsgl:0", *arguments, *counts]) == 0
    (record,) = read_records(tmp_path, "profile")
    content = record["content"]
    assert len(content["seconds_per_step_of_each_block"]) == 3
    assert min(content["seconds_per_step_of_each_block"]) > 0
    cost = content["cost"]
    assert content["flop_per_step"] == 16 * 4 * 6 * cost["multiply_adds_per_image"]  # FSGL: two views, SAM twice
    names = [operation["name"] for operation in content["top_operations"]]
    assert len(names) == 10
    assert "aten::convolution_backward" in names
    assert content["device"] is None
    assert not read_records(tmp_path, "run")
    assert paper_run.main(["profile", "fsgl:0", *arguments, "--steps", "1000"]) == 2


def test_device_figures_of_a_known_trace(paper_run: ModuleType) -> None:
    step_profile = importlib.import_module("step_profile")

    def kernel(name: str, start: float, duration: float, category: str = "kernel") -> dict[str, Any]:
        return {"ph": "X", "cat": category, "name": name, "ts": start, "dur": duration}

    events = [
        kernel("b", 30, 20), kernel("a", 0, 10), kernel("a", 5, 10),  # overlapping: busy from 0 to 15
        kernel("copy", 32, 3, "gpu_memcpy"),  # within b
        kernel("host", 0, 1000, "cpu_op"), {"ph": "i", "cat": "kernel", "name": "mark", "ts": 3},
        kernel("a", 60, 10),
    ]  # fmt: skip
    figures = step_profile.device_figures(events, window=100e-6, steps=2)
    assert figures["busy_seconds_per_step"] == pytest.approx((15 + 20 + 10) / 2 * 1e-6)
    assert figures["idle_share"] == pytest.approx(0.55)
    assert figures["kernels_per_step"] == 2.5
    calls = [(top["name"], top["calls_per_step"]) for top in figures["top_kernels"]]
    assert calls == [("a", 1.5), ("b", 0.5), ("copy", 0.5)]
    assert figures["top_kernels"][0]["seconds_per_step"] == pytest.approx(15e-6)
    gaps = [(gap["after"], gap["before"], round(gap["seconds"] * 1e6)) for gap in figures["longest_gaps"]]
    assert gaps == [("a", "b", 15), ("b", "a", 10)]
