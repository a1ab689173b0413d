"""What the page and the terminal say of a search: of heads, of fine-tuning, and while it runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fsgl.automatic.candidates import Candidate
from fsgl.automatic.clock import Clock
from fsgl.automatic.display import Display
from fsgl.automatic.page import reasons
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
