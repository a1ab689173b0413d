"""report/curves.py: what is drawn, checked in the figure itself, and how the file comes to be."""

from __future__ import annotations

import errno
import itertools
import math
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fsgl.errors import UserError
from fsgl.report import curves
from fsgl.report.curves import draw_curves


def metrics(top1: float, per_class: list[float | None]) -> dict:
    return {"top1": top1, "per_class": per_class, "groups": {"boundaries": [100, 20]}, "n": 10}


def history(epochs: int, n_classes: int = 10, val: bool = True, seed: int = 0) -> list[dict]:
    rng = np.random.default_rng(seed)
    return [
        {
            "epoch": epoch,
            "loss": {"total": 2.0 / (epoch + 1), "conventional": 1.0},
            "val": metrics(40.0 + epoch, []) if val else None,
            "test": metrics(50.0 + epoch, rng.uniform(0, 100, n_classes).tolist()),
        }
        for epoch in range(epochs)
    ]


def figure(histories, counts=None, names=None):
    return curves._figure(histories, "title", counts, names)


def png_size(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    return struct.unpack(">II", head[16:24])


@pytest.mark.parametrize(("runs", "epochs", "n_classes"), [(1, 1, 10), (2, 12, 10), (9, 3, 100), (2, 1, 1000)])
def test_a_png_is_drawn_for_one_run_or_several_few_classes_or_many(
    tmp_path: Path, runs: int, epochs: int, n_classes: int
) -> None:
    histories = {f"run {i}": history(epochs, n_classes, seed=i) for i in range(runs)}
    counts = np.geomspace(500, 1, n_classes).astype(int)
    path = draw_curves(histories, tmp_path / "new folder" / "c.png", "a title", class_counts=counts)
    width, height = png_size(path)
    assert width > 1500
    assert height > 500
    assert [child.name for child in path.parent.iterdir()] == ["c.png"]


def test_equal_svgs_are_equal_bytes(tmp_path: Path) -> None:
    first, second = (
        draw_curves({"a": history(3)}, tmp_path / f"{i}.svg", "t", class_counts=range(10)).read_bytes() for i in (1, 2)
    )
    assert b"<svg" in first
    assert first == second


def test_the_curves_hold_the_figures_of_the_history() -> None:
    rows = history(4)
    rows[2]["test"] = None  # an epoch not scored
    rows[1]["loss"]["total"] = math.inf
    loss, accuracy, _ = figure({"a": rows}).axes[:3]
    assert loss.lines[0].get_xydata().tolist() == [[1, 2.0], [3, 2 / 3], [4, 0.5]]
    test, validation = accuracy.lines
    assert test.get_xydata().tolist() == [[1, 50], [2, 51], [4, 53]]
    assert validation.get_xydata().tolist() == [[1, 40], [2, 41], [3, 42], [4, 43]]
    assert (test.get_linestyle(), validation.get_linestyle()) == ("-", "--")
    assert test.get_color() == validation.get_color()


def test_classes_stand_by_training_count_and_absent_ones_are_left_out() -> None:
    rows = history(1, 4)
    rows[-1]["test"]["per_class"] = [10.0, 20.0, None, 40.0]
    drawn = figure({"a": rows}, counts=[5, 200, 30, 0], names=["a", "b", "c", "d"])
    classes, scale = drawn.axes[2:]
    assert classes.lines[0].get_xydata().tolist() == [[0, 20], [2, 10], [3, 40]]
    assert [label.get_text() for label in classes.get_xticklabels()] == ["b", "c", "a", "d"]
    assert scale.get_yscale() == "log"
    np.testing.assert_array_equal(scale.lines[0].get_ydata(), [200, 30, 5, math.nan])
    assert {text.get_text() for text in classes.texts} == {"many", "medium", "few"}


def test_without_counts_classes_stand_in_index_order_and_the_axis_says_so() -> None:
    classes = figure({"a": history(1, 4)}).axes[-1]
    assert classes.lines[0].get_xdata().tolist() == [0, 1, 2, 3]
    assert "by index" in classes.get_xlabel()


def test_runs_are_told_apart_by_colour_and_marker_up_to_forty_two() -> None:
    lines = figure({str(i): history(1) for i in range(42)}).axes[0].lines
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 42


def test_one_epoch_shows_as_a_marker() -> None:
    line = figure({"a": history(1)}).axes[0].lines[0]
    assert line.get_marker() not in ("", "None", None)
    assert len(line.get_xdata()) == 1


def test_names_are_text_and_every_run_is_in_the_legend(tmp_path: Path) -> None:
    names = ["$x_$", "_hidden", "数字"]
    histories = {name: history(2, 3, val=False) for name in names}
    path = draw_curves(histories, tmp_path / "c.svg", "50 $ and 60 $", class_counts=[3, 2, 1], class_names=names)
    assert path.stat().st_size > 1000
    legend = figure(histories).legends[0]
    assert [text.get_text().strip() for text in legend.get_texts()] == names


@pytest.mark.parametrize("histories", [{}, {"a": []}, {"a": [{"epoch": 0, "loss": {}, "val": None, "test": None}]}])
def test_nothing_to_draw_is_said(histories, tmp_path: Path) -> None:
    assert figure(histories).axes[2].texts[0].get_text() == "no epoch scored on the test set"
    assert draw_curves(histories, tmp_path / "c.png", "").exists()


def test_a_failed_drawing_leaves_the_old_picture_and_nothing_else(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "c.png"
    path.write_bytes(b"old")

    def full(*_) -> None:
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(UserError, match="disk full"):
        draw_curves({"a": history(1)}, path, "")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"curves.pdf.*\.png or \.svg"):
        draw_curves({"a": history(1)}, tmp_path / "curves.pdf", "")
    with pytest.raises(ValueError, match="3 class counts for 10 classes"):
        draw_curves({"a": history(1)}, tmp_path / "c.png", "", class_counts=[1, 2, 3])
    with pytest.raises(ValueError, match="4 accuracies of 'b' for 10 classes"):
        draw_curves({"a": history(1), "b": history(1, 4)}, tmp_path / "c.png", "")


def test_drawing_leaves_matplotlib_as_it_was_and_pyplot_alone(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from fsgl.report import curves, table
assert not {"matplotlib", "rich", "torch"} & set(sys.modules)
import matplotlib
before = dict(matplotlib.rcParams)
curves.draw_curves({"a": []}, Path(sys.argv[1]), "t")
assert dict(matplotlib.rcParams) == before
assert "matplotlib.pyplot" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "c.png")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_forty_classes_are_named_and_their_names_do_not_touch() -> None:
    names = [f"kind number {k}" for k in range(40)]
    drawn = figure({"a": history(2, 40)}, list(range(400, 360, -1)), names)
    drawn.canvas.draw()
    labels = drawn.axes[2].get_xticklabels()
    assert [label.get_text() for label in labels] == names
    boxes = [label.get_window_extent() for label in labels]
    assert all(left.x1 <= right.x0 for left, right in itertools.pairwise(boxes))
