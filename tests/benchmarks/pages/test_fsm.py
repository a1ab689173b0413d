from __future__ import annotations

from typing import Any

import pytest
from benchmarks.pages.fsm import answer, fsm_page

from fsgl.evaluation.statistics import holm, paired_difference


def records(
    backbone: str = "resnet8-slim", weights: str | None = None, epochs: int = 200, **scores: list[float]
) -> list[dict[str, Any]]:
    return [
        {"content": {
            "settings": {"recipe": name.replace("_", "-"), "seed": seed, "method": {}, "sam": {"rho": 0.05},
                         "data": {"name": "digits"}, "backbone": backbone,
                         "optim": {"epochs": epochs, "weight_decay": 0.0}, "schedule": {"lr": 0.1},
                         "transfer": {"weights": weights}},
            "data": {"split_hash": "f"}, "cost": {}, "train_seconds": 1.0,
            "epochs": [{"val": None, "test": {"balanced": score}}],
        }}
        for name, values in scores.items() for seed, score in enumerate(values)
    ]  # fmt: skip


NOISE = (0.0, 0.3, -0.2, 0.1, -0.1)


def shifted(by: float) -> list[float]:
    return [70 + by + noise for noise in NOISE]


@pytest.mark.parametrize(
    ("worth", "says"),
    [
        ((3.0,), "Yes, where it was seen. Of 1 comparison, the FSM helps in 1 and harms in 0"),
        ((-3.0,), "No, it did harm where it was seen."),
        ((0.05,), "Not shown so far. Of 1 comparison, the FSM helps in 0 and harms in 0; in 1 it is not"),
        ((3.0, -3.0), "It depends. Of 2 comparisons"),
        ((3.0, 0.05), "Yes, where it was seen. Of 2 comparisons, the FSM helps in 1 and harms in 0; in 1 it is not"),
    ],
)
def test_answers_in_words(worth: tuple[float, ...], says: str) -> None:
    noisy = [0.4, -0.3, 0.2, -0.4, 0.1]
    found = [
        paired_difference(shifted(0), [value + by + noise for value, noise in zip(shifted(0), noisy, strict=True)])
        for by in worth
    ]
    adjusted = holm([difference.p_value for difference in found])
    assert answer(list(zip(found, adjusted, strict=True))).startswith(says)


def test_page_pairs_fsgl_with_glmc_sam_and_its_ablations() -> None:
    wobble = [0.1, -0.1, 0.2, 0.0, -0.2]
    full = [value + w for value, w in zip(shifted(5), wobble, strict=True)]
    first = records(glmc_sam=shifted(0), fsgl=full, fsgl_same=shifted(5))
    second = records(glmc_sam=[70.0], fsgl=[71.0])
    page = fsm_page([("one", first), ("two", second), ("three", records(fsgl=[1.0]))])
    rows = {line.split("|")[1].strip(): line for line in page.splitlines() if line.startswith("| ")}
    assert "| 5 | +5.0 |" in rows["one"]
    assert "better" in rows["one"]
    assert "| 1 | +1.0 |" in rows["two"]
    assert "three" not in rows
    assert "not distinguishable" in rows["fsgl-same: all features scaled alike"]
    assert "**Networks trained from scratch: Yes, where it was seen." in page
    assert "None of these comparisons is the published setting" in page
    published = records("resnet34", glmc_sam=shifted(0), fsgl=full)
    assert "None of these" not in fsm_page([("one", first), ("four", published)])


def test_tuned_heads_are_answered_apart() -> None:
    wobble = [0.1, -0.1, 0.2, 0.0, -0.2]
    better = [value + 5 + w for value, w in zip(shifted(0), wobble, strict=True)]
    plain = records(weights="package", glmc_sam=shifted(0), fsgl=better)
    tuned = records(weights="package", glmc_sam=better, fsgl=shifted(0))
    for record in tuned:
        record["content"]["settings"]["tuning"] = {"budget": "16 trials", "trials": 16, "on": "validation"}
    page = fsm_page([("heads", plain), ("heads, tuned", tuned)])
    assert "**Heads on the features of a frozen pretrained network: Yes, where it was seen." in page
    assert "tuned with the same budget: No, it did harm where it was seen." in page
    rows = {line.split("|")[1].strip(): line for line in page.splitlines() if line.startswith("| ")}
    assert "| 5 | -5.0 |" in rows["heads, tuned"]
    assert "Tuned rows differ in more than the FSM" in page
    assert "Tuned rows differ" not in fsm_page([("heads", plain)])


def test_nothing_is_known_of_single_seeds() -> None:
    page = fsm_page([("two", records(glmc_sam=[70.0], fsgl=[71.0]))])
    assert "Not known yet: no comparison of networks trained to the end has two seeds of both.**" in page
    assert "**Not known yet" in fsm_page([])


def test_heads_on_pretrained_features_are_answered_apart_and_need_few_epochs() -> None:
    wobble = [0.1, -0.1, 0.2, 0.0, -0.2]
    worse = [value - 5 + w for value, w in zip(shifted(0), wobble, strict=True)]
    better = [value + 5 + w for value, w in zip(shifted(0), wobble, strict=True)]
    scratch = records(glmc_sam=shifted(0), fsgl=worse)
    frozen = records(weights="package", epochs=20, glmc_sam=shifted(0), fsgl=better)
    page = fsm_page([("one", scratch), ("two", frozen)])
    assert "**Networks trained from scratch: No, it did harm where it was seen. Of 1 comparison" in page
    assert "**Heads on the features of a frozen pretrained network: Yes, where it was seen. Of 1 comparison" in page
    assert "too short" not in page
    brief = fsm_page([("brief", records(epochs=20, glmc_sam=shifted(0), fsgl=better))])
    assert "brief" not in brief.split("## Runs too short")[0]
