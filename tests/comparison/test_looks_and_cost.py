"""Looks at a comparison are counted and tested more strictly; rows at equal cost; the front; what seeds can find."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

import fsgl
from fsgl.commands.cli import main
from fsgl.comparison.all_cells import power_before
from fsgl.comparison.cost import at_equal_cost, multiply_adds, on_front, panels, pass_cost
from fsgl.comparison.differences import compare_with
from fsgl.comparison.entries import make_entries
from fsgl.comparison.grid import Cell, Word
from fsgl.comparison.looks import Looks
from fsgl.comparison.outlook import outlook
from fsgl.comparison.rows import Rows
from fsgl.comparison.tables import accuracy_table, differences_table
from fsgl.errors import UserError
from fsgl.evaluation.power import detectable_difference, level_of_look, seeds_at_next_look, seeds_needed
from fsgl.evaluation.statistics import ALPHA
from fsgl.methods import METHODS
from fsgl.models.backbones import build_backbone
from fsgl.models.cost import multiply_adds as counted
from fsgl.models.experts import ExpertBackbone
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import Experiment, override


def run(recipe: str, seed: int, last: float, passes: int = 1, epochs: int = 40, seconds: float = 2.0) -> dict[str, Any]:
    scores = {"top1": last, "balanced": last, "many": last, "medium": None, "few": 1.0, "ece": 5.0}
    return {
        "settings": {
            "recipe": recipe, "seed": seed, "method": {"name": recipe}, "sam": {"rho": 0.0}, "backbone": "resnet8-slim",
            "data": {"name": "digits", "imbalance_factor": 20.0, "draw": "ldam"}, "schedule": {"lr": 0.1},
            "optim": {"epochs": epochs, "batch_size": 32, "weight_decay": 0.1},
        },
        "data": {"split_hash": "f" * 64, "train": 100}, "train_seconds": seconds, "adjustment": None,
        "cost": {"passes_per_step": passes, "multiply_adds_per_image": 10**9},
        "epochs": [{"epoch": 1, "val": scores, "test": scores}],
    }  # fmt: skip


def test_who_adds_seeds_after_a_look_is_tested_more_strictly_and_it_is_said(tmp_path: Path) -> None:
    for n in (3, 3, 5, 4, 8):  # the same seeds told again, or fewer, are no new look
        looks = Looks.read(tmp_path)
        looks.look({"fsgl": n, "crt": 3})
        looks.write(tmp_path)
    looks = Looks.read(tmp_path)
    assert looks.seeds == {"fsgl": [3, 5, 8], "crt": [3]}
    assert looks.levels == {"fsgl": ALPHA / 4, "crt": ALPHA}
    assert "fsgl at 3, 5, 8 seeds, now tested at 1.2 %" in (note := looks.note(["fsgl", "crt"]))
    assert "less than 10 %" in note
    assert looks.note(["crt"]) == ""
    runs = [run(recipe, seed, 70 + seed % 3 + (seed % 2 + 1) * (recipe == "fsgl")) for recipe in ("ce", "fsgl")
            for seed in range(8)]  # fmt: skip
    entries = make_entries(runs)
    reference = next(entry for entry in entries if entry.label == "ce")
    (strict,), (once,) = compare_with(entries, reference, looks.seeds), compare_with(entries, reference)
    assert strict.headline.p_adjusted == pytest.approx(4 * (once.headline.p_adjusted or 0))
    assert note in differences_table([strict], reference, note).notes


def test_a_plan_is_made_before_the_first_look_and_kept(tmp_path: Path) -> None:
    looks = Looks.read(tmp_path, planned=20)
    looks.look({"fsgl": 5})
    looks.write(tmp_path)
    assert Looks.read(tmp_path).levels["fsgl"] < ALPHA / 2
    assert "20 seeds were planned" in Looks.read(tmp_path).note(["fsgl"])
    with pytest.raises(UserError, match="20 seeds were planned at the first look"):
        Looks.read(tmp_path, planned=30)
    with pytest.raises(UserError, match="20 seeds were planned, and fsgl has 21"):
        looks.look({"fsgl": 21})
    (tmp_path / "looks.json").write_text("[]")
    with pytest.raises(UserError, match="is damaged"):
        Looks.read(tmp_path)


@pytest.mark.parametrize(
    ("looks", "planned", "effect"),
    [([3], None, 1.5), ([5], None, 0.8), ([3, 6], None, 1.2), ([3], 12, 1.3), ([5], 40, 0.7)],
)
def test_the_seeds_that_would_tell_do_at_the_next_look(looks: list[int], planned: int | None, effect: float) -> None:
    """Simulated: so many find a difference of this size in 80 % of cases at the level that their look has, and one seed
    fewer does not."""
    draws, error = 20_000, 3 * np.sqrt(0.8 * 0.2 / 20_000)

    def found(seeds: int) -> float:
        drawn = np.random.default_rng(1).normal(effect, 1, (draws, seeds))
        p = scipy.stats.ttest_1samp(drawn, 0, axis=1).pvalue
        return float((p < level_of_look([*looks, seeds], planned)).mean())

    needed = seeds_at_next_look(effect, 1.0, looks, planned)
    assert needed is not None
    assert found(needed) >= 0.8 - error
    assert found(needed - 1) < 0.8 + error
    # That of this look's level, as it was promised once, is too few.
    assert found(seeds_needed(effect, 1.0, level_of_look(looks, planned)) or 0) < 0.78 or planned is not None


def told(looks: list[int], planned: int | None, effect: float) -> Any:
    """Of as many seeds as the last look has, whose differences have this effect size."""
    noise = np.resize([1.0, -1.0, 0.0], looks[-1])
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    runs = [run("ce", seed, 70.0) for seed in range(looks[-1])]
    runs += [run("fsgl", seed, 70.0 + effect + value) for seed, value in enumerate(noise)]
    entries = make_entries(runs)
    (found,) = compare_with(entries, next(e for e in entries if e.label == "ce"), {"fsgl": looks}, planned)
    return found


def test_more_seeds_are_advised_for_the_next_look_and_never_beyond_the_plan() -> None:
    needed = seeds_at_next_look(1.2, 1.0, [3])
    assert needed is not None
    assert needed > (seeds_needed(1.2, 1.0) or 0)
    assert f"about {needed - 3} more would tell at the next look" in told([3], None, 1.2).words
    assert "nor would the 5 that are planned tell, were the +1.2 seen" in told([3], 5, 1.2).words
    assert told([3], 5, 1.2).headline.needed is None
    assert "with 5 seeds, and no more were planned" in told([3, 5], 5, 0.5).words
    assert "more would tell at the next look" in told([3], 12, 1.3).words
    assert "nor would 1,000 tell" in told([3], None, 0.01).words
    assert seeds_at_next_look(3.0, 1.0, [8]) == 9, "one at least"
    assert seeds_at_next_look(1.0, 0.0, [3]) is None is seeds_at_next_look(0.0, 1.0, [3], 20)


def test_what_goes_beyond_the_plan_is_refused_before_it_is_trained(tmp_path: Path, capsys) -> None:
    looks = Looks.read(tmp_path, planned=5)
    looks.look({"crt": 3})
    looks.write(tmp_path)
    for more in ([], ["--planned-seeds", "6"]):
        words = ["compare", "cross-entropy", "crt", "--data", "digits", "--seeds", "6", "--runs", str(tmp_path), *more]
        assert main(words) == 2
        said = capsys.readouterr()
        assert "5 seeds were planned" in said.err
        assert not said.out
    with pytest.raises(UserError, match="5 seeds were planned, and these are 6"):
        fsgl.compare(["cross-entropy", "crt"], "digits", seeds=6, runs=tmp_path, show=False)
    assert [path.name for path in tmp_path.iterdir()] == ["looks.json"]


def test_what_seeds_can_find_is_at_the_level_of_their_look() -> None:
    looks, words = Looks(None, {"crt": [3]}), [Word.read("cross-entropy"), Word.read("crt")]
    cells = [Cell(word, seed, make_experiment("crt", "digits"), Path("none")) for word in words for seed in range(5)]
    said = power_before(cells, words, "cross-entropy", 1.0, looks)
    assert f"a difference of {detectable_difference(1.0, 5, ALPHA / 2):.1f} points" in (said or "")
    assert (said or "").endswith("; this look is tested at 2.5 %")
    once = power_before(cells, words, "cross-entropy", 1.0, Looks())
    assert f"a difference of {detectable_difference(1.0, 5):.1f} points" in (once or "")
    tuned = [word.with_tuning() for word in words]
    cells += [Cell(word, seed, make_experiment("crt", "digits"), Path("none")) for word in tuned for seed in range(5)]
    assert power_before(cells, [*words, *tuned], "cross-entropy", 1.0, Looks()) == once, "a table of two rows each"
    assert power_before(cells, tuned, "cross-entropy", 1.0, Looks()) == once
    twice = Looks(None, {"crt": [3, 5]})
    assert twice.level_at("crt", 5) == twice.level_at("crt", 4) == ALPHA / 2


@pytest.mark.parametrize(("planned", "at_most"), [(None, 2 * ALPHA), (12, ALPHA)])
def test_comparing_until_something_is_found_errs_no_more_than_it_says(planned: int | None, at_most: float) -> None:
    """Two methods without a difference, looked at with 3, 6, 9 and 12 seeds until one of them seems better."""
    drawn = np.random.default_rng(0).normal(0, 1, (20_000, 12))
    looks, found, naive = Looks(planned), np.zeros(20_000, bool), np.zeros(20_000, bool)
    for n in (3, 6, 9, 12):
        looks.look({"fsgl": n})
        p = scipy.stats.ttest_1samp(drawn[:, :n], 0, axis=1).pvalue
        found |= p < looks.levels["fsgl"]
        naive |= p < ALPHA
    assert naive.mean() > 0.1
    assert found.mean() < at_most + 3 * np.sqrt(at_most / 20_000)


def test_what_a_grids_seeds_can_find() -> None:
    reference = {0: 70.0, 1: 71.0, 2: 69.0}
    row = {0: 72.0, 1: 72.0, 2: 72.5}
    assert outlook([row], reference, 1, None) is None
    said = outlook([row, {}], reference, 5, None)
    deviation = float(np.std([2.0, 1.0, 3.5], ddof=1))
    assert said is not None
    assert f"{detectable_difference(deviation, 5, ALPHA / 2):.1f} points" in said
    assert said.endswith("as seen so far in 1 row")
    assert "0.5, as given" in (outlook([{}], {}, 5, 0.5) or "")
    assert "--deviation POINTS" in (outlook([{}], {}, 5, None) or "")


def test_the_front() -> None:
    assert on_front([1, 2, 2, 3, 4], [70, 75, 74, 75, 80]) == [True, True, False, False, True]
    runs = [run("ce", 0, 70.0, seconds=1), run("ce", 1, 70.5, seconds=9), run("fsgl", 0, 75.0, 4, seconds=4)]
    entries = make_entries(runs)
    assert [name.split()[0] for name, _ in panels(entries)] == ["seconds", "passes", "multiply-adds"]
    assert multiply_adds(entries[0]) == pytest.approx(3 * 4 * 40 * 100 * 1e9 / 1e12)
    assert [point[:2] for point in panels(entries)[0][1]] == [("fsgl", 4.0), ("ce", 1.0)]
    assert panels(make_entries([run("a", 0, 1.0, 0, seconds=1), run("b", 0, 2.0, 0, seconds=2)]))[1:] == []


def test_rows_at_equal_cost_are_those_of_as_many_passes() -> None:
    def make(recipe: str) -> Experiment:
        return make_experiment(recipe, "digits")

    words = [Word.read(text) for text in ("cross-entropy", "mixup", "bcl", "fsgl", "cross-entropy+tau-norm")]
    rows = Rows(words, make, "cross-entropy", equal_cost=True)
    assert [word.text for word in rows.words[5:]] == ["bcl+cost", "fsgl+cost"]
    assert [rows.experiment(word, 3).optim.epochs for word in ("bcl+cost", "fsgl+cost", "fsgl")] == [13, 10, 40]
    other_way = Rows(words, make, "fsgl", equal_cost=True)
    assert other_way.experiment("cross-entropy+cost", 0).optim.epochs == 160
    assert "cross-entropy+cost+tau-norm" in [word.text for word in other_way.words]
    with pytest.raises(UserError, match="--equal-cost"):
        Rows([Word.read("fsgl+cost")], make, "fsgl+cost")
    with pytest.raises(UserError, match=r"tuned\.json"):
        Rows([Word.read("fsgl+tuned")], make, "fsgl+tuned")
    reference = run("ce", 0, 70.0)
    same = [run("mixup", 0, 71.0), run("bcl", 0, 72.0, 3, 13), run("fsgl", 0, 73.0, 4, 10)]
    other = [run("bcl", 0, 72.0, 3, 12), run("fsgl", 0, 73.0, 4, 40)]
    assert at_equal_cost([reference, *same, *other], reference) == [reference, *same]


def on_digits(recipe: str) -> Experiment:
    return make_experiment(recipe, "digits")


@pytest.mark.parametrize("backbone", ["resnet8-slim", "resnet34", "resnet18-imagenet"])
def test_equal_cost_counts_multiply_adds_of_experts_too(backbone: str) -> None:
    def make(recipe: str) -> Experiment:
        return override(on_digits(recipe), f"backbone={backbone}")

    plain = build_backbone(backbone)
    side = 224 if backbone.endswith("imagenet") else 32
    times = counted(ExpertBackbone(plain, 3), (3, side, side)) / counted(build_backbone(backbone), (3, side, side))
    assert times > 1.3
    rows = Rows([Word.read("cross-entropy"), Word.read("sade")], make, "cross-entropy", equal_cost=True)
    assert [word.text for word in rows.words] == ["cross-entropy", "sade", "sade+cost"]
    assert rows.experiment("sade+cost", 0).optim.epochs == round(40 / times)
    other_way = Rows([Word.read("cross-entropy"), Word.read("sade")], make, "sade", equal_cost=True)
    assert other_way.experiment("cross-entropy+cost", 0).optim.epochs == round(40 * times)


def test_every_network_whose_backbone_is_more_than_the_plain_one_is_counted_as_that() -> None:
    counts = torch.tensor([9, 5, 2])
    for name, kind in METHODS.items():
        backbone = build_backbone("resnet8-slim", 1)
        plain, built = counted(backbone, (1, 8, 8)), kind().build(backbone, counts).get_submodule("backbone")
        made = override(on_digits("cross-entropy"), "backbone=resnet8-slim")
        cost = pass_cost(replace(made, method=kind()))
        assert counted(built, (1, 8, 8)) / plain == pytest.approx(cost, rel=0.02), name


def test_rows_of_experts_are_at_equal_cost_by_their_multiply_adds() -> None:
    reference = run("ce", 0, 70.0)
    experts = [run("sade", 0, 71.0, epochs=epochs) for epochs in (40, 25, 20)]
    for each in experts:
        each["cost"]["multiply_adds_per_image"] = int(1.6e9)
    assert at_equal_cost([reference, *experts], reference) == [reference, experts[1]]
    for each in experts:
        del each["cost"]["multiply_adds_per_image"]
    assert at_equal_cost([reference, *experts], reference) == [reference, experts[0]], "passes, where nothing else is"


def test_a_row_that_cannot_be_at_equal_cost_is_left_out_with_a_line() -> None:
    def make(recipe: str) -> Experiment:
        return override(on_digits(recipe), "optim.epochs=2")

    words = [Word.read(text) for text in ("cross-entropy", "crt", "crt+sam", "fsgl", "cutmix+sam", "glmc-sam")]
    rows = Rows(words, make, "cross-entropy", equal_cost=True)
    assert [word.text for word in rows.words[6:]] == ["fsgl+cost", "cutmix+sam+cost", "glmc-sam+cost"]
    (note,) = rows.notes
    assert note == "crt+sam has no row at equal cost: crt trains in two stages and needs 2 epochs or more, not 1"
    one = Rows(words[:1] + words[3:4], lambda recipe: override(on_digits(recipe), "optim.epochs=1"), "cross-entropy",
               equal_cost=True)  # fmt: skip
    assert one.notes == ["fsgl has no row at equal cost: one epoch of it costs more than twice as much"]
    assert len(one.words) == 2


def test_on_kept_features_nothing_is_at_equal_cost() -> None:
    def make(recipe: str) -> Experiment:
        frozen = ("backbone=timm:tf_efficientnet_lite0", "transfer.weights=package", "transfer.train=heads")
        return override(on_digits(recipe), *frozen, "transfer.cached_views=2")

    with pytest.raises(UserError, match=r"kept features .* there are none; .*without: cross-entropy, fsgl"):
        Rows([Word.read("cross-entropy"), Word.read("fsgl")], make, "cross-entropy", equal_cost=True)


def test_a_row_tuned_for_other_epochs_says_so_where_it_stands() -> None:
    def tuned(*arguments: Any) -> dict[str, Any]:
        made = {**run(*arguments), "settings_from": "tuned, 3 trials on validation"}
        made["settings"]["tuning"] = {"budget": "3 trials", "trials": 3, "on": "validation", "names": "schedule.lr"}
        return made

    entries = make_entries([tuned("ce", 0, 70.0), tuned("fsgl", 0, 72.0, 4, 10)], any_epochs=True)
    table = accuracy_table(entries, "At equal cost", tuned_at=40)
    column = table.headings.index("settings")
    assert {row[0]: row[column] for row in table.rows} == {
        "ce+tuned": "tuned, 3 trials on validation", "fsgl+tuned": "tuned, 3 trials on validation, for 40 epochs"
    }  # fmt: skip
    assert "tuned for 40 epochs and trained for another number" in table.notes[0]
    assert "trained for another number" not in accuracy_table(entries[:1], "t").notes[0]
