"""What is tried next, what is remembered, and what is chosen; without training. And candidates trained on features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fsgl.automatic.candidates import COSINE, HEADS, STARTS, Candidate, space_of
from fsgl.automatic.heads import Pool, out_of_fold
from fsgl.automatic.search import Study, Trial, recipes_for
from fsgl.data.draw.folds import validation_folds
from fsgl.data.stream.features import ImageFeatures
from fsgl.errors import UserError
from fsgl.evaluation.choice import macro_accuracies
from fsgl.models.backbone import Backbone, GivenFeatures
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import Experiment, override

LABELS = np.repeat([0, 1, 2], [40, 15, 5])


def base(recipe: str, epochs: int = 2) -> Experiment:
    views = 2 if recipe in ("glmc", "fsgl") else 1
    return override(
        make_experiment(recipe, "own", scratch=True), "backbone=timm:tf_efficientnet_lite0", "transfer.weights=package",
        "transfer.train=heads", f"transfer.cached_views={views}", f"optim.epochs={epochs}", "data.val=0",
        "schedule.kind=cosine", "optim.batch_size=16",
    )  # fmt: skip


BASES = {name: base(name) for name in HEADS}


def features_of(dim: int) -> GivenFeatures:
    like = Backbone()
    like.feature_dim, like.head_width, like.linear_init = dim, dim, "default"
    return GivenFeatures(like)


def study(folder: Path, labels: np.ndarray = LABELS) -> Study:
    return Study(folder, BASES, {name: space_of(each, features_of(8), 3) for name, each in BASES.items()}, labels)


def play(search: Study, trials: int, goodness: float = 0.6) -> None:
    """So many trials that are right by chance, a little oftener with a larger rate."""
    for _ in range(trials):
        found = search.next(1e9)
        assert found is not None
        number, candidate = found
        candidate.experiment(BASES)  # there is such an experiment
        lift = 0.1 if candidate.settings.get("schedule.lr", 0) > 0.1 else 0.0
        right = np.random.default_rng(number).random(len(LABELS)) < goodness + lift
        search.ended(Trial(number, candidate, 1.0, float(number), right))


def test_recipes_as_they_come_are_first_then_others_are_proposed(tmp_path: Path) -> None:
    search = study(tmp_path)
    play(search, len(HEADS) + len(STARTS) + 12)
    candidates = [trial.candidate for trial in search.trials]
    assert [each.recipe for each in candidates[: len(HEADS)]] == list(HEADS)
    assert not any(each.settings for each in candidates[: len(HEADS)])
    assert [(each.recipe, each.settings) for each in candidates[len(HEADS) :][: len(STARTS)]] == list(STARTS)
    assert len({str(each) for each in candidates}) > len(candidates) - 2
    assert all("transfer.cosine_scale" not in c.settings or "transfer.classifier" in c.settings for c in candidates)


def test_another_session_knows_what_was_tried_and_a_torn_line_is_passed_over(tmp_path: Path) -> None:
    first = study(tmp_path)
    play(first, 15)
    with (tmp_path / "trials.jsonl").open("a") as file:
        file.write('{"number": 15, "rec')
    second = study(tmp_path)
    second.read()
    assert [trial.line() for trial in second.trials] == [trial.line() for trial in first.trials]
    for trial, again in zip(first.trials, second.trials, strict=True):
        assert np.array_equal(trial.right, again.right)  # type: ignore[arg-type]
    found, again_found = first.next(1e9), second.next(1e9)
    assert found == again_found
    assert first.verdict().trial.number == second.verdict().trial.number


def test_only_what_is_cheap_enough_is_proposed(tmp_path: Path) -> None:
    search = study(tmp_path)
    play(search, len(HEADS) + len(STARTS))
    for trial in search.trials:
        trial.seconds = 30.0 if trial.candidate.recipe != "crt" else 1.0
    for _ in range(3):
        found = search.next(2.0)
        assert found is not None
        assert found[1].recipe == "crt"
    assert search.next(0.5) is None
    assert search.next(0.5, left=0.9) is None
    for _ in range(3):  # or the time would go unused
        found = search.next(0.5, left=40.0)
        assert found is not None
        assert found[1].recipe == "crt"


def test_what_was_judged_on_some_images_is_held_against_the_others_on_these(tmp_path: Path) -> None:
    search = study(tmp_path)
    play(search, 5, goodness=0.5)
    before = search.verdict(correct=False).trial
    some = np.arange(len(LABELS)) % 2 == 0
    whole = Candidate("balanced-softmax", {}, "fine-tuned")
    search.ended(Trial(90, whole, 1.0, 1.0, ~some, judged=some))  # wrong on all that it was judged on
    assert search.verdict(correct=False).trial is before
    search.ended(Trial(91, whole, 1.0, 1.0, some, judged=some))  # right on all of them
    assert search.verdict(correct=False).trial.number == 91
    again = study(tmp_path)
    again.read()
    assert again.verdict(correct=False).trial.number == 91


def test_a_search_without_a_trial_that_ended_says_why(tmp_path: Path) -> None:
    search = study(tmp_path)
    number, candidate = search.next(1.0) or (0, Candidate("glmc", {}))
    search.ended(Trial(number, candidate, 1.0, 1.0, None, failed="diverged: it did"))
    with pytest.raises(UserError, match="diverged: it did"):
        search.verdict()


def test_a_classifier_by_cosines_is_tried_where_there_is_one_linear_map() -> None:
    with_it = {name for name, each in BASES.items() if COSINE.keys() <= space_of(each, features_of(8), 3).keys()}
    assert {"balanced-softmax", "cross-entropy", "logit-adjustment"} <= with_it
    assert not with_it & {"glmc", "fsgl", "crt", "lws", "ldam-drw"}


def test_recipes_of_more_views_than_are_kept_are_left_out() -> None:
    assert not {"glmc", "fsgl"} & recipes_for(1, BASES).keys()
    assert list(recipes_for(2, BASES)) == list(HEADS)


# --- on features --------------------------------------------------------------------------------------------------


def pool(labels: np.ndarray, signal: float) -> Pool:
    random, centres = np.random.default_rng(0), 3 * np.eye(3, 8)
    views = tuple(
        (signal * centres[labels] + random.normal(size=(len(labels), 8))).astype(np.float32) for _ in range(2)
    )
    folds = validation_folds(labels, 3, 0, 3)
    return Pool(ImageFeatures(views, labels), folds, ("a", "b", "c"), features_of(8))


def test_a_pool_goes_through_files(tmp_path: Path) -> None:
    first = pool(LABELS, 1.0)
    first.write(tmp_path)
    second = Pool.read(tmp_path)
    one, other = (out_of_fold(base("balanced-softmax"), each) for each in (first, second))
    assert np.array_equal(one, other)
    assert one.shape == (60, 3)
    assert np.isfinite(one).all()


@pytest.mark.parametrize("recipe", HEADS)
def test_every_recipe_learns_what_features_tell(recipe: str) -> None:
    labels = np.repeat([0, 1, 2], [30, 15, 6])
    right = out_of_fold(base(recipe, epochs=12), pool(labels, 1.5)).argmax(axis=1) == labels
    assert macro_accuracies(right[None], labels)[0] > 60  # chance is 33


def test_on_labels_without_signal_chance_is_expected_though_the_best_of_many_looks_better(tmp_path: Path) -> None:
    corrected, best = [], []
    for data in range(6):
        labels = np.random.default_rng(data).permutation(np.repeat([0, 1, 2], [24, 12, 9]))
        search, noise = study(tmp_path / str(data), labels), pool(labels, 0.0)
        for number, recipe in enumerate(("balanced-softmax", "cross-entropy", "logit-adjustment", "crt")):
            for rate in (0.01, 0.1, 0.5):
                candidate = Candidate(recipe, {"schedule.lr": rate})
                right = out_of_fold(candidate.experiment(BASES), noise).argmax(axis=1) == labels
                search.ended(Trial(10 * number, candidate, 1.0, 1.0, right))
        verdict = search.verdict()
        assert verdict.corrected is not None
        corrected.append(verdict.corrected.mean)
        best.append(verdict.best.accuracy)
    error = np.std(corrected) / np.sqrt(len(corrected))
    assert abs(np.mean(corrected) - 100 / 3) < 3 * error + 1
    assert np.mean(best) > np.mean(corrected) + 3
