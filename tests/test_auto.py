"""``fsgl auto`` from outside: a signal ends it early with the best so far, and the same command goes on."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from tests import forked
from tests.stand_ins import counted_passes

import fsgl
from fsgl.commands.cli import main

TINY = ["--image-size", "32", "--workers", "0", "--device", "cpu", "--jobs", "1", "optim.epochs=3"]
COLOURS = {"red fish": (200, 60, 60), "green fish": (60, 190, 70), "blue fish": (60, 80, 200)}


@pytest.fixture
def fish(tmp_path: Path) -> Path:
    """Photographs of three classes, which their colours tell apart; of the third, three."""
    random = np.random.default_rng(0)
    for (label, colour), count in zip(COLOURS.items(), (20, 12, 3), strict=True):
        folder = tmp_path / "fish" / label
        folder.mkdir(parents=True)
        for i in range(count):
            coarse = (np.array(colour) + random.normal(0, 40, (5, 6, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(coarse).resize((70 + i, 68), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return tmp_path / "fish"


@pytest.mark.slow
@pytest.mark.usefixtures("trials_forked")
def test_a_signal_ends_it_with_the_best_so_far_and_the_same_command_goes_on(
    fish: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(fish.parent)
    monkeypatch.setenv("XDG_CACHE_HOME", str(fish.parent / "cache"))
    command = ["auto", "fish", "--minutes", "5", *TINY]
    process = forked.start(*command)
    trials, deadline = Path("runs/auto-fish/auto/trials.jsonl"), time.monotonic() + 120
    while not (trials.exists() and len(trials.read_text().splitlines()) >= 4):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=400)
    assert process.returncode == 128 + signal.SIGTERM
    assert "the same command goes on" in said
    run = Path("runs/auto-fish")
    first = json.loads((run / "experiment.json").read_text())
    assert first["status"] == "complete"
    assert first["auto"]["fine_tuning"] == "Fine-tuning was not tried: the search was stopped before it."
    assert re.search(r"(?s)Chosen, and why.*What would help most", (run / "auto.html").read_text())
    assert not list(run.glob("auto/logits-*"))

    spent = json.loads((run / "auto/auto.json").read_text())["seconds"]
    monkeypatch.setattr("fsgl.automatic.whole.MARGIN", 1e-6)  # heads alone
    monkeypatch.setattr("fsgl.automatic.run.PATIENCE", first["auto"]["trials"] + 2)  # ends before the time is up
    assert main(["auto", "fish", "--minutes", f"{spent / 60 + 10}", *TINY]) == 0
    second = json.loads((run / "experiment.json").read_text())
    assert second["auto"]["trials"] > first["auto"]["trials"]
    assert second["data"]["val"] == 0
    saved = np.load(run / "predictions.npz")
    assert len(saved["val_labels"]) == second["auto"]["judged"] == len(saved["val_logits"])
    assert second["auto"]["test"] == {name: second["result"]["last"][name] for name in second["auto"]["test"]}
    assert second["result"]["temperature"] > 0
    capsys.readouterr()
    # A run like any other.
    assert main(["evaluate", str(run), "--workers", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["balanced"] == pytest.approx(second["auto"]["test"]["balanced"])
    assert main(["predict", str(run), "fish/red fish/0.png", "--coverage", "0.8", "--workers", "0"]) == 0
    # Other images, or other settings, are not mixed with it.
    (fish / "red fish" / "0.png").unlink()
    assert main(["auto", "fish", "--minutes", "5", *TINY]) == 2
    assert "holds trials of other images" in capsys.readouterr().err


def test_what_cannot_be_is_refused_before_anything_is_made(
    fish: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(fish.parent)
    for words, reason in {
        ("fish", "--minutes", "0"): "minutes must be above 0",
        ("fish", "data.val=0.2"): "data.val is decided by fsgl auto",
        ("fish", "optim.epoch=3"): "optim.epochs",
        ("nowhere/",): "nowhere",
        ("fish", "--backbone", "timm:resnet18"): "no package has weights",
    }.items():
        assert main(["auto", *words]) == 2, words
        assert reason in capsys.readouterr().err
    assert not Path("runs").exists()


@pytest.mark.usefixtures("trials_forked")
def test_features_that_cannot_fit_end_it_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a clock that goes on by 0.36 seconds with each image, and not otherwise."""
    monkeypatch.chdir(tmp_path)
    passed = counted_passes(monkeypatch)
    for module in ("fsgl.automatic.clock", "fsgl.commands.auto"):
        monkeypatch.setattr(f"{module}.time", SimpleNamespace(monotonic=lambda: 0.36 * sum(passed)))
    assert main(["auto", "digits", "--minutes", "2", "--feature-cache", "kept", *TINY]) == 2
    said = capsys.readouterr().err
    assert "917 images at 32 pixels need about 6 minutes for their features alone, and 2 min were left" in said
    assert "give --minutes 7 or more in all" in said
    assert "fsgl train balanced-softmax --data digits" in said
    assert len(said.splitlines()) == 1
    assert sum(passed) <= 128  # two passes
    assert not list(Path("kept").glob("*"))  # nothing half-made
    assert not list(Path("runs/auto-digits").rglob("*.json"))  # nor any of the minutes charged


@pytest.mark.slow
@pytest.mark.usefixtures("trials_forked")
def test_too_few_minutes_are_answered_with_enough(
    fish: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(fish.parent)
    monkeypatch.setattr("fsgl.automatic.run.PATIENCE", 1)
    monkeypatch.setattr("fsgl.automatic.whole.MARGIN", 1e-6)  # heads alone
    command = ["auto", "fish", "--feature-cache", "kept", *TINY]
    spent = []
    for _ in range(2):
        assert main([*command, "--minutes", "0.1"]) == 2
        said = capsys.readouterr().err
        found = re.search(
            r"--minutes 0\.1 is too few for one trial: (\d+) s are spent, by all sessions of this run; .*"
            r" --minutes (\d+) or more, .*: fsgl train balanced-softmax --data fish$", said.strip()
        )  # fmt: skip
        assert found, said
        spent.append(int(found[1]))
    assert spent[0] <= spent[1]  # whole seconds
    kept = {path: path.stat().st_mtime_ns for path in Path("kept").glob("*")}
    assert main([*command, "--minutes", found[2]]) == 0
    assert kept.items() <= {path: path.stat().st_mtime_ns for path in Path("kept").glob("*")}.items()
    assert json.loads(Path("runs/auto-fish/experiment.json").read_text())["auto"]["trials"] >= 1


@pytest.mark.slow
@pytest.mark.usefixtures("trials_forked")
def test_from_python_on_arrays_and_silent_where_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fsgl.automatic.run.PATIENCE", 1)
    monkeypatch.setattr("fsgl.automatic.whole.FEWEST_EPOCHS", 1)
    monkeypatch.setattr("fsgl.automatic.whole.MOST_EPOCHS", 1)
    images, labels = load_digits(return_X_y=True)
    few = [*range(40), *range(1700, 1790)]
    run = fsgl.auto(
        (images[few].reshape(-1, 8, 8), labels[few]), minutes=10, run=tmp_path / "run", image_size=32, epochs=2, jobs=1,
        show=False, device="cpu", workers=0, feature_cache=str(tmp_path / "features"),
    )  # fmt: skip
    assert capfd.readouterr().out == ""
    assert run.record["auto"]["chosen"]["recipe"] == run.record["settings"]["recipe"]
    (tuned,) = run.record["auto"]["fine_tuned"]
    assert "Tried as well, the backbone trained for 1 epochs" in (tmp_path / "run" / "auto.html").read_text()
    kind = "fine-tuned" if tuned["accuracy"] - tuned["heads"] > tuned["error"] else "heads"
    assert run.record["auto"]["chosen"]["kind"] == kind
    assert run.record["settings"]["transfer"]["train"] == {"fine-tuned": "all", "heads": "heads"}[kind]
    assert run.predict(images[few].reshape(-1, 8, 8)).shape == (130,)
