"""What the page and the terminal say of a search: of heads, of fine-tuning, and while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fsgl.automatic.candidates import Candidate
from fsgl.automatic.clock import Clock
from fsgl.automatic.display import Display
from fsgl.automatic.page import reasons, render_page
from fsgl.automatic.search import Study, Trial

FOUND: dict[str, Any] = {
    "folds": 5, "judged": 100, "never_judged": 0, "little_tested": 0, "classes": [], "expected": None,
    "trials": 13, "behind": 0.0, "error": 0.0,
    "best": {"name": "glmc", "accuracy": 61.0, "number": 4},
    "heads": {"name": "glmc", "number": 4, "trials": 12},
    "test": {"n": 40, "top1": 70.0}, "test_interval": {"mean": 60.0, "low": 50.0, "high": 70.0},
}  # fmt: skip
TUNED = {"name": "glmc, fine-tuned", "number": 12, "seconds": 130.0, "epochs": 6, "accuracy": 66.0, "heads": 60.0,
         "error": 2.5, "better": True, "judged": 20}  # fmt: skip
HEADS, WHOLE = {"name": "glmc", "number": 4}, {"name": "glmc, fine-tuned", "number": 12}


TRAINED = (
    "6 epochs: glmc, fine-tuned, in 2:10 minutes. It is right on 66.0 % of the 20 images that it was judged on, 6.0 "
    "points above heads alone (60.0 %) on the same ones; that is more than one standard error (2.5), so it is what was "
    "trained."
)
WORSE = "not more than one standard error (2.5) above them, so heads alone, which are simpler, stay"


@pytest.mark.parametrize(
    ("chosen", "tuned", "note", "said"),
    [
        (HEADS, [], "It was not.", ["It is the best of 12 (61.0 %)", "It was not."]),
        (WHOLE, [TUNED], None, ["Of heads alone glmc was chosen: it is the best of 12", TRAINED]),
        (HEADS, [{**TUNED, "accuracy": 58.0, "better": False}], None, ["2.0 points below heads alone", WORSE]),
        (HEADS, [TUNED], "No time.", ["more than one standard error (2.5).", "No time."]),
    ],
)
def test_what_came_of_fine_tuning_and_why(
    chosen: dict[str, Any], tuned: list[dict[str, Any]], note: str | None, said: list[str]
) -> None:
    text = "\n".join(reasons({**FOUND, "chosen": chosen, "fine_tuned": tuned, "fine_tuning": note}))
    for part in said:
        assert part in text


def test_progress_shows_trials_the_best_so_far_and_the_time_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fsgl.automatic.display.TELL_EVERY", 0.0)
    display = Display(True, Clock(10.0, 60.0, time.monotonic()))
    study = Study(tmp_path, {}, {}, np.array([0, 0, 1, 1]))
    display.tick(study)
    trial = Trial(0, Candidate("glmc", {}), 1.0, 65.0, np.array([True, True, True, False]))
    study.ended(trial)
    display.ended(trial, study)
    display.tick(study)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["0 tried, nothing yet, 9:00 left", "   1:05   75.0  glmc", "1 tried, best 75.0 %, 9:00 left"]


LONG = "IMG_20240131_Coccinella_septempunctata_and_the_like_of_it_without_any_space"
SETTINGS = "glmc: method.consistency_weight=0.25, transfer.cached_views=2, optim.weight_decay=0.0005, schedule.lr=0.05"
WHOLE_PAGE: dict[str, Any] = {
    **FOUND, "path": [[5.0, 40.0], [65.0, 61.0]], "fine_tuned": [{**TUNED, "name": SETTINGS}], "fine_tuning": None,
    "chosen": {"name": SETTINGS, "number": 4}, "never_judged": 5, "little_tested": 2,
    "expected": {"mean": 58.0, "low": 50.0, "high": 66.0},
    "test": {"n": 40, "top1": 70.0, "many": 80.0, "medium": 60.0, "few": 40.0},
    "recipes": [
        {"recipe": name, "trials": 6, "plain": 55.0, "best": 61.0, "seconds": 1234.0}
        for name in ("glmc-balanced-softmax", "cross-entropy+logit-adjustment", LONG)
    ],
    "listed": [{"number": number, "accuracy": 61.0, "seconds": 12.3, "name": SETTINGS} for number in range(3, 6)],
    "wanted": {"rises": True, "p_value": 0.01, "aim": 80.0, "classes": [
        {"name": LONG, "train": 1234, "now": 50.0, "doubled": 60.0, "gain": 1.0, "needed": needed, "taken_for": LONG}
        for needed in (None, 4321)
    ]},
    "classes": [{"name": LONG, "train": 1234, "right": 10, "judged": 20, "test_right": 5, "test": 9}] * 2,
    "seconds": {"features": 12.0, "search": 300.0, "fine-tuning": 130.0, "last training": 9.0, "all": 451.0,
                "of trials": 600.0},
    "images": ["5 training images belong with test images: never set aside for another part",
               f"LEAK: 5 of 40 test images are training images as well; the first: {LONG}/{LONG}.png = {LONG}.png"],
}  # fmt: skip


@pytest.mark.parametrize("found", [WHOLE_PAGE, {**WHOLE_PAGE, "path": []}], ids=["all of it", "without a picture"])
def test_the_page_fits_a_phone_and_a_screen(
    found: dict[str, Any], tmp_path: Path, fits: Callable[[Path], None]
) -> None:
    page = tmp_path / "auto.html"
    page.write_text(render_page(found, f"{LONG}, 10 minutes"), encoding="utf-8")
    fits(page)
