"""The page of the searches, on records typed here."""

from __future__ import annotations

from typing import Any

from benchmarks.pages.searches import searches_page

ENVIRONMENT = {"processor": "a processor", "versions": {"torch": "2.11"}}


def trial(recipe: str, held_out: float | None, **rest: Any) -> dict[str, Any]:
    settings = {"recipe": recipe, "backbone": "small", "epochs": 3, "lr": 0.1, "weight_decay": 5e-4, "seed": 7}
    scored = {"status": "complete", "held_out": {"balanced": held_out, "n": 4000}}
    return settings | ({"status": "waiting"} if held_out is None else scored) | rest


def test_every_trial_stands_in_its_place_and_a_missing_one_is_named() -> None:
    costs = {"backbone_parameters": 1_234_567, "multiply_adds_per_image": 31_678_464}
    networks = {
        name: {"cross-entropy": {"step_seconds": 0.2451, "gflops": 49.6}, "cost": costs, "epochs": 14}
        for name in ("small", "tall")
    }
    network = {
        "environment": ENVIRONMENT,
        "content": {
            "plan": {"cpu_minutes": 10.0, "networks": networks}, "chosen": ["small"],
            "trials": [
                trial("cross-entropy", 44.92), trial("cross-entropy", None, backbone="tall"), trial("glmc", 40.6),
            ],
        },
    }  # fmt: skip
    settings = {
        "environment": ENVIRONMENT,
        "content": {
            "chosen": {"one view": {"lr": 0.1, "weight_decay": 5e-4, "held_out": 50.0}},
            "trials": [trial("cross-entropy", 44.9), trial("cross-entropy", 46.0, lr=0.05), trial("glmc", 61.0)],
        },
    }
    page = searches_page(network, settings)
    assert "| small | 1.23 | 31.7 | 245 | 50 | 14 | 44.9 | 40.6 |" in page
    assert "| tall | 1.23 | 31.7 | 245 | 50 | 14 | not trained | not trained |" in page
    assert "| 0.1 | 0.0005 | 44.9 | 61.0 |" in page
    assert "| 0.05 | 0.0005 | 46.0 | not trained |" in page
    assert "Chosen: one view: rate 0.1, decay 0.0005." in page
    assert page.count("Seed 7, 4,000 images held out.") == 2
    assert "(rate 0.1, decay 0.0005)" in page
    assert searches_page(None, None).count("Nothing is measured yet.") == 2
