"""Fine-tuning within ``fsgl auto``: on which images it is judged, what stops it, and what comes of it then."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from fsgl.automatic.candidates import Candidate
from fsgl.automatic.clock import Clock, Cost
from fsgl.automatic.display import Display
from fsgl.automatic.fold import fold_of
from fsgl.automatic.heads import Pool, out_of_fold
from fsgl.automatic.search import Study, Trial
from fsgl.automatic.whole import KIND, FineTuning
from fsgl.data.draw.folds import NEVER, validation_folds
from fsgl.data.load import LoadedData, load_data
from fsgl.data.stream.features import ImageFeatures
from fsgl.engine.interrupts import Interrupts
from fsgl.engine.runtime import Runtime
from fsgl.models.backbone import GivenFeatures
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import override
from fsgl.runs.network import build_network

# The weights of a small network that an old run trained on the digits.
WEIGHTS = Path(__file__).parents[1] / "before_the_move" / "run" / "model.safetensors"
BASES = {
    name: override(
        make_experiment(name, "digits"), f"transfer.weights={WEIGHTS}", "backbone=resnet8-slim", "data.val=0",
        "transfer.train=heads", "transfer.cached_views=1", "optim.epochs=2", "optim.batch_size=64",
    )
    for name in ("balanced-softmax", "crt")
}  # fmt: skip
CPU = Runtime("cpu", trackers=(), show=False)


@dataclass
class Scene:
    """Digits and their features, before any trial."""

    data: LoadedData
    pool: Pool

    def tuning(self, folder: Path, minutes: float = 30.0, cache: Path | None = None) -> FineTuning:
        clock = Clock(minutes, 0.0, time.monotonic())
        runtime = Runtime("cpu", trackers=(), show=False, feature_cache=cache)
        return FineTuning(
            self.data, self.pool, folder, clock, Display(False, clock), runtime, CPU.place(), Interrupts()
        )

    def study(self, folder: Path) -> Study:
        """With a trial of heads."""
        study = Study(folder, BASES, {}, self.pool.features.labels[self.pool.judged])
        right = out_of_fold(BASES["balanced-softmax"], self.pool).argmax(1) == study.labels
        study.ended(Trial(0, Candidate("balanced-softmax", {}), 1.0, 1.0, right))
        return study


@pytest.fixture(scope="module")
def scene() -> Scene:
    first = BASES["balanced-softmax"]
    data = load_data(first.data)
    network = build_network(first, data, torch.device("cpu"))
    features = ImageFeatures((network.features(data.train, torch.device("cpu")),), data.train.labels)
    folds = validation_folds(features.labels, 3, 0, data.num_classes)
    return Scene(data, Pool(features, folds, data.class_names, GivenFeatures(network.model.backbone)))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsgl.automatic.whole.FEWEST_EPOCHS", 1)
    monkeypatch.setattr("fsgl.automatic.whole.MOST_EPOCHS", 2)


def test_a_fold_trains_on_none_of_what_it_sets_aside_and_its_features_are_its_images(scene: Scene) -> None:
    seen = []
    for number in range(3):
        data, features = fold_of(scene.data, scene.pool, number)
        assert np.array_equal(data.test.labels, scene.pool.features.labels[scene.pool.folds == number])
        assert np.array_equal(data.counts, np.bincount(features.labels, minlength=10))
        fresh = build_network(BASES["balanced-softmax"], data, torch.device("cpu")).features(
            data.train.take(np.arange(20)),
            torch.device("cpu"),  # type: ignore[union-attr]
        )
        np.testing.assert_allclose(fresh, features.views[0][:20], rtol=1e-4, atol=1e-5)
        assert len(data.train) + len(data.test) == len(scene.data.train)
        seen.append(data.hash)
    assert len({scene.data.hash, *seen}) == 4  # features are kept by it
    # Where validation images are given, as ``fsgl auto`` puts them behind the others.
    data = load_data(override(BASES["crt"], "data.val=0.2").data)
    assert data.val is not None
    labels = np.concatenate([data.train.labels, data.val.labels])
    given = ImageFeatures((np.zeros((len(labels), 1), dtype=np.float32),), labels)
    folds = np.where(np.arange(len(labels)) < len(data.train), NEVER, 0)
    part, features = fold_of(data, Pool(given, folds, data.class_names, scene.pool.backbone), 0)
    assert part.val is None
    assert np.array_equal(part.test.labels, data.val.labels)
    assert np.array_equal(features.labels, data.train.labels)


def test_a_signal_leaves_a_state_from_which_the_next_session_comes_to_the_same(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fsgl.automatic.whole.MARGIN", 0.0)  # so that one fold is all
    monkeypatch.setattr(FineTuning, "_planned", planned)
    whole = scene.tuning(tmp_path / "once")
    steps: list[str] = []
    monkeypatch.setattr(whole.display, "tick", lambda study: steps.append("once"))
    whole.run(study := scene.study(tmp_path / "study"))
    assert whole.note is None
    trial = study.whole[0]
    logits = np.load(whole.logits)
    rows = scene.pool.folds[scene.pool.judged] == 0
    assert np.array_equal(trial.judged, rows)  # type: ignore[arg-type]
    assert np.array_equal(np.isfinite(logits).all(1), rows)
    assert np.array_equal(trial.right[rows], logits[rows].argmax(1) == study.labels[rows])  # type: ignore[index]

    first = scene.tuning(tmp_path / "twice")

    def tick(study: Study) -> None:
        steps.append("first")
        if steps.count("first") == 8:
            first.interrupts.signal_number = 2

    monkeypatch.setattr(first.display, "tick", tick)
    first.run(again := scene.study(tmp_path / "study2"))
    assert not again.whole
    assert "the same command goes on" in (first.note or "")
    second = scene.tuning(tmp_path / "twice")
    assert second.begun
    monkeypatch.setattr(second.display, "tick", lambda study: steps.append("second"))
    second.run(again)
    assert np.array_equal(np.load(second.logits), logits, equal_nan=True)
    assert 0 < steps.count("second") <= steps.count("once") - 8
    assert second.over(again)
    assert not list((tmp_path / "twice").glob("fold-*"))


def planned(self: FineTuning, study: Study) -> tuple[Candidate, Cost, float]:
    return Candidate("balanced-softmax", {"optim.epochs": 2}, KIND), Cost(1.0, 1.0, 1.0, 1.5, 1.0), 0.0


def test_epochs_and_folds_are_as_many_as_fit(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, cost = scene.tuning(tmp_path), Cost(epoch=100.0, scoring=10.0, heads=5.0, share=1.5, tested=2.0)
    assert cost.fold(4) == 5 + 400 + 30
    assert cost.last(4) == 5 + 600 + 60
    assert whole.reserve(0.001) < 0.5 * 60 * 30
    assert whole.fits(0.001)
    assert whole.reserve(10.0) == 0
    assert "was not tried: 1 epochs on one fold" in (whole.note or "")
    assert not whole.fits(10.0)
    # What trains in two stages cannot be: the next best that can.
    study = scene.study(tmp_path / "study")
    study.ended(Trial(1, Candidate("crt", {}), 1.0, 1.0, np.ones(len(study.labels), dtype=bool)))
    assert study.verdict().trial.candidate.recipe == "crt"
    candidate, measured, _ = whole._planned(study)
    assert (candidate.recipe, candidate.settings["optim.epochs"], candidate.kind) == ("balanced-softmax", 2, KIND)
    assert measured.share == pytest.approx(1.5, rel=0.01)


def test_what_is_not_over_in_time_gives_way_to_heads_and_is_gone_on_with(scene: Scene, tmp_path: Path) -> None:
    whole = scene.tuning(tmp_path / "run" / "auto" / "fine-tuned", cache=tmp_path / "features")
    candidate, cost, _ = planned(whole, scene.study(tmp_path))
    whole._write(candidate, cost, 0.0)
    trial = Trial(1, candidate, 1.0, 1.0, None)
    assert whole.remaining(trial) == cost.last(2)
    whole.clock = Clock(1.0, 50.0, time.monotonic())
    assert whole.last_fits(trial)
    whole.clock = Clock(1.0, 60.0, time.monotonic())
    assert not whole.last_fits(trial)
    assert "would have been chosen" in (whole.note or "")
    assert whole.last(candidate.experiment(BASES)) is None  # no time is left: after the first step
    assert "when the time was up" in (whole.note or "")
    whole.clock = Clock(30.0, 0.0, time.monotonic())
    folder = whole.last(candidate.experiment(BASES))
    assert folder is not None
    assert (folder / "model.safetensors").exists()
    assert whole.remaining(trial) == 0
    # Once the run folder holds it, no session trains it again, and none puts heads in its place for want of time.
    assert not whole.there
    (folder / "experiment.json").rename(tmp_path / "run" / "experiment.json")
    assert whole.there
    shutil.rmtree(folder)
    assert whole.remaining(trial) == 0
