"""The grid's bookkeeping with processes that only pretend; tests/test_compare.py has real ones."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from fsgl.comparison.grid import Cell, Interrupted, Word, last_line, make_cells, run_grid
from fsgl.errors import UserError
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import Experiment, override


def make(recipe: str, seed: int) -> Experiment:
    return override(make_experiment(recipe, "digits"), f"seed={seed}", "optim.epochs=2")


def cells_of(runs: Path, *words: str, seeds: int = 2) -> list[Cell]:
    return make_cells([Word.read(word) for word in words], range(seeds), runs, make)


class Pretended:
    """Launches that end after some looks. fails: names of run folders.  log: what was launched, and on which device."""

    def __init__(self, *fails: str, looks: int = 2) -> None:
        self.fails, self.looks = fails, looks
        self.log: list[tuple[str, str, str]] = []
        self.running = self.most = 0
        self.stopped: list[str] = []

    def __call__(self, command: list[str], log: Path, environment: Mapping[str, str]):
        where = Path(command[command.index("--out" if "adjust" in command else "--run") + 1])
        self.log.append((command[3], where.name, command[command.index("--device") + 1]))
        self.running += 1
        self.most = max(self.most, self.running)
        left = [self.looks]

        def poll() -> int | None:
            left[0] -= 1
            if left[0] > 0:
                return None
            if left[0] == 0:
                self.running -= 1
                if where.name in self.fails:
                    log.write_text("some output\nfsgl: it went wrong\n\n")
                elif where.name not in self.stopped:
                    finish(where, make(where.name.split("-seed")[0].removesuffix("+tau-norm"),
                                       int(where.name[-1])))  # fmt: skip
            return 1 if where.name in self.fails else 0

        return poll, lambda: self.stopped.append(where.name)


def finish(folder: Path, experiment: Experiment, status: str = "complete") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    adjusted = {"name": "tau-norm"} if "+tau-norm" in folder.name else None
    record = {"settings": experiment.to_json(), "data": {"split_hash": "f"}, "class_names": [], "class_counts": [],
              "status": status, "adjustment": adjusted}  # fmt: skip
    (folder / "experiment.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("text", "recipe", "adjustment"),
    [("fsgl", "fsgl", None), ("mixup+sam", "mixup+sam", None), ("crt+tau-norm", "crt", "tau-norm"),
     ("ldam-drw+sam+temperature", "ldam-drw+sam", "temperature")],
)  # fmt: skip
def test_words(text: str, recipe: str, adjustment: str | None) -> None:
    assert Word.read(text) == Word(text, recipe, adjustment)


@pytest.mark.parametrize(
    ("text", "says"),
    [("crt+tau", "unknown adjustment 'tau'"), ("crt+prior", "unknown adjustment 'prior'"),
     ("crt+tau-norm+temperature", "one adjustment at most")],
)  # fmt: skip
def test_words_that_mean_nothing(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        Word.read(text)


def test_all_cells_end_as_many_at_a_time_as_devices(tmp_path: Path) -> None:
    launch = Pretended()
    cells = cells_of(tmp_path, "cross-entropy", "crt", "cross-entropy+tau-norm")
    assert [cell.folder.name for cell in cells[:3]] == [
        "cross-entropy-seed0", "crt-seed0", "cross-entropy+tau-norm-seed0"
    ]  # fmt: skip
    ended = [cell.folder.name for cell in run_grid(cells, ["cuda:0", "cuda:1"], ["--workers", "1"], None, launch)]
    assert sorted(ended) == sorted(cell.folder.name for cell in cells)
    assert all(cell.status == "complete" for cell in cells)
    assert launch.most == 2
    assert {device for _, _, device in launch.log} == {"cuda:0", "cuda:1"}
    started = [name for _, name, _ in launch.log]
    for seed in (0, 1):
        assert ended.index(f"cross-entropy-seed{seed}") < started.index(f"cross-entropy+tau-norm-seed{seed}") + 3
    again = cells_of(tmp_path, "cross-entropy", "crt", "cross-entropy+tau-norm")
    assert list(run_grid(again, ["cpu"], [], None, Pretended())) == []


def test_a_parent_that_was_not_asked_for_is_trained_first(tmp_path: Path) -> None:
    cells = cells_of(tmp_path, "cross-entropy+tau-norm", seeds=1)
    launch = Pretended()
    list(run_grid(cells, ["cpu", "cpu"], [], 1, launch))
    assert [name for _, name, _ in launch.log] == ["cross-entropy-seed0", "cross-entropy+tau-norm-seed0"]
    assert [what for what, _, _ in launch.log] == ["train", "adjust"]
    options = ["--workers", "0", "--feature-cache", "kept", "--precision", "float32"]
    assert cells[-1].command(options, "cpu")[-2:] == ["--feature-cache", "kept"]
    assert "--feature-cache" not in cells[-1].command(["--workers", "0"], "cpu")
    assert launch.most == 1


def test_one_failing_cell_takes_only_its_children_along(tmp_path: Path) -> None:
    cells = cells_of(tmp_path, "cross-entropy", "crt", "cross-entropy+tau-norm")
    list(run_grid(cells, ["cpu"], [], None, Pretended("cross-entropy-seed0")))
    assert {cell.folder.name: cell.status for cell in cells if cell.status == "failed"} == {
        "cross-entropy-seed0": "failed", "cross-entropy+tau-norm-seed0": "failed"
    }  # fmt: skip
    assert [cell.problem for cell in cells if cell.status == "failed"] == [
        "fsgl: it went wrong", "cross-entropy failed, which it starts from"
    ]  # fmt: skip
    assert sum(cell.status == "complete" for cell in cells) == 4


def test_what_was_begun_is_resumed_and_other_settings_are_refused(tmp_path: Path) -> None:
    finish(tmp_path / "crt-seed0", make("crt", 0), status="interrupted after 3 steps")
    (cell,) = cells_of(tmp_path, "crt", seeds=1)
    assert cell.command([], "cpu")[-1] == "--resume"
    (other,) = cells_of(tmp_path, "lws", seeds=1)
    command = other.command(["--workers", "0"], "cpu")
    assert "--resume" not in command
    settings = Path(command[command.index("--from") + 1])
    assert Experiment.from_json(json.loads(settings.read_text()), "x") == make("lws", 0)
    finish(tmp_path / "lws-seed0", make("lws", 1))
    with pytest.raises(UserError, match="lws-seed0 holds a run of other settings; name another folder"):
        cells_of(tmp_path, "lws", seeds=1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_passed_on_and_nothing_new_begins(number: int, tmp_path: Path) -> None:
    launch = Pretended(looks=4)
    cells = cells_of(tmp_path, "cross-entropy", "crt")

    def signalled(command: list[str], log: Path, environment: Mapping[str, str]):
        poll, stop = launch(command, log, environment)
        if len(launch.log) == 2:
            os.kill(os.getpid(), number)
        return poll, stop

    with pytest.raises(Interrupted, match="the same command goes on") as stopped:
        list(run_grid(cells, ["cpu", "cpu"], [], None, signalled))
    assert stopped.value.signal_number == number
    assert len(launch.log) == 2
    assert set(launch.stopped) == {"cross-entropy-seed0", "crt-seed0"}
    assert [cell.status for cell in cells] == ["waiting"] * 4


def test_no_process_outlives_an_error(tmp_path: Path) -> None:
    launch = Pretended(looks=50)
    grid = run_grid(cells_of(tmp_path, "cross-entropy", "crt"), ["cpu"], [], None, launch)
    grid_ended: Callable[[], None] = grid.close
    launch.looks = 1
    next(grid)
    launch.looks = 50
    grid_ended()  # as a KeyboardInterrupt in what reads it would
    assert launch.running == 0 or launch.stopped


def test_how_far_a_cell_is_and_that_somebody_watches(tmp_path: Path) -> None:
    parent, child = cells_of(tmp_path, "crt+tau-norm", seeds=1)
    assert (parent.work, child.work) == (2 * 1, 0)
    assert make_cells([Word.read("fsgl")], [0], tmp_path, make)[0].work == 2 * 4  # two views, and SAM
    assert parent.epochs_done() == 0
    parent.folder.mkdir()
    (parent.folder / "metrics.jsonl").write_bytes(b"{}\n{}\n{")  # the last line is being written
    assert parent.epochs_done() == 2
    looks: list[str] = []
    list(run_grid([parent, child], ["cpu"], [], None, Pretended(looks=3), lambda: looks.append(parent.status)))
    assert looks[0] == "running"


def test_last_line(tmp_path: Path) -> None:
    assert last_line(tmp_path / "none.log") == ""
    (tmp_path / "a.log").write_bytes(b"one\n\xff two \n\n  \n")
    assert last_line(tmp_path / "a.log") == "\ufffd two"
