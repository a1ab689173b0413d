from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests import forked

from fsgl.errors import UserError
from fsgl.runs.trackers import TensorBoard, make_trackers, require_trackers, scalars

METRICS = {"top1": 61.0, "top5": None, "balanced": 55.5, "few": 0.0, "per_class": [1.0, 2.0], "groups": {}, "n": 500}


def row(epoch: int, **changes: Any) -> dict[str, Any]:
    return {
        "epoch": epoch, "finished": True, "steps": 5, "lr": 0.1 / (epoch + 1), "loss": {"total": 2.5 - epoch},
        "seconds": 2.0, "images": 300, "val": None, "test": METRICS, **changes,
    }  # fmt: skip


def read_events(folder: Path) -> dict[str, dict[int, float]]:
    """What TensorBoard's own reader finds: tag -> epoch -> value."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return {tag: {event.step: event.value for event in found.Scalars(tag)} for tag in found.Tags()["scalars"]}


def test_scalars_are_the_single_numbers_of_a_row() -> None:
    assert scalars(row(1)) == {
        "loss/total": 1.5,
        "train/lr": 0.05,
        "train/images_per_second": 150.0,
        "test/top1": 61.0,
        "test/balanced": 55.5,
        "test/few": 0.0,
    }
    assert not any(name.startswith("test/") for name in scalars(row(0, test=None)))
    assert scalars(row(0, val={"top1": 7.0}))["val/top1"] == 7.0


def test_tensorboard_reads_what_was_tracked(tmp_path: Path) -> None:
    tracker = TensorBoard(tmp_path, {}, first_epoch=0)
    for epoch in range(3):
        tracker.epoch(row(epoch))
        assert len(read_events(tmp_path)["loss/total"]) == epoch + 1  # at once, not when the run ends
    tracker.close()
    events = read_events(tmp_path)
    assert set(events) == set(scalars(row(0)))
    assert events["loss/total"] == {0: 2.5, 1: 1.5, 2: 0.5}
    assert events["test/top1"] == {0: 61.0, 1: 61.0, 2: 61.0}
    assert events["train/lr"] == pytest.approx({0: 0.1, 1: 0.05, 2: 0.1 / 3})


def test_resumed_session_replaces_the_epochs_it_takes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsgl.runs.trackers.time.time", lambda: 1000.0)
    first = TensorBoard(tmp_path, {}, first_epoch=0)
    for epoch in range(4):
        first.epoch(row(epoch))
    first.close()
    monkeypatch.setattr("fsgl.runs.trackers.time.time", lambda: 2000.0)
    second = TensorBoard(tmp_path, {}, first_epoch=2)
    second.epoch(row(2, loss={"total": 9.0}))
    second.close()
    assert read_events(tmp_path)["loss/total"] == {0: 2.5, 1: 1.5, 2: 9.0}


def test_a_run_is_tracked_epoch_by_epoch(tiny: Any, tmp_path: Path) -> None:
    from fsgl.runs.saved import read_history
    from fsgl.runs.train import Runtime, train

    train(tiny, tmp_path / "run", Runtime("cpu", trackers=("tensorboard",)))
    history = read_history(tmp_path / "run")
    events = read_events(tmp_path / "run")
    assert events["loss/total"] == pytest.approx({row["epoch"]: row["loss"]["total"] for row in history}, rel=1e-6)
    assert events["test/top1"] == pytest.approx({row["epoch"]: row["test"]["top1"] for row in history}, rel=1e-6)
    assert events["val/balanced"] == pytest.approx({row["epoch"]: row["val"]["balanced"] for row in history}, rel=1e-6)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = TensorBoard(tmp_path, {}, first_epoch=0)
    tracker.close()
    with Path("/dev/full").open("ab") as full:
        tracker._file = full
        with pytest.raises(UserError, match=r"tfevents.*cannot be written \(No space left on device\)"):
            tracker.epoch(row(0))
        tracker.close()  # what could not be written is not tried again


def test_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("a file")
    with pytest.raises(UserError, match="cannot be written"):
        TensorBoard(tmp_path, {}, first_epoch=0)


def test_names_are_checked_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_trackers(())
    require_trackers(("tensorboard",))
    with pytest.raises(UserError, match="unknown tracker 'tensorbord'; did you mean 'tensorboard'"):
        require_trackers(("tensorbord",))
    with pytest.raises(UserError, match="unknown tracker"):
        make_trackers(("tensorboard", "x"), tmp_path, {}, 0)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'fsgl\[wandb\]'"):
        require_trackers(("tensorboard", "wandb"))


needs_wandb = pytest.mark.skipif(
    importlib.util.find_spec("wandb") is None, reason="wandb is not installed: pip install 'fsgl[wandb]'"
)
WANDB = """
import json, sys
from pathlib import Path
from fsgl.errors import UserError
from fsgl.runs.trackers import make_trackers
try:
    (tracker,) = make_trackers(("wandb",), Path(sys.argv[1]), {"seed": 17}, 0)
except UserError as error:
    sys.exit(str(error))
for row in json.loads(sys.argv[2]):
    tracker.epoch(row)
tracker.close()
"""


def track_with_wandb(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    import json

    folder.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    environment = {**kept, "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(folder), **settings}
    rows = json.dumps([row(0), row(1)])
    return forked.run(folder, rows, code=WANDB, env=environment, stdin=forked.DEVNULL)


@needs_wandb
def test_wandb_offline_keeps_a_run_on_this_machine(tmp_path: Path) -> None:
    done = track_with_wandb(tmp_path / "my-run", WANDB_MODE="offline")
    assert done.returncode == 0, done.stderr
    (written,) = (tmp_path / "my-run" / "wandb").glob("offline-run-*/run-*.wandb")
    content = written.read_bytes()
    for expected in (b"loss/total", b"test/top1", b"train/images_per_second", b"my-run", b"seed"):
        assert expected in content, expected


@needs_wandb
def test_wandb_without_a_key_is_one_line(tmp_path: Path) -> None:
    done = track_with_wandb(tmp_path / "run", WANDB_SILENT="true", WANDB_BASE_URL="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "WANDB_MODE=offline needs neither key nor network" in done.stderr.splitlines()[-1]
