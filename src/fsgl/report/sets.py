"""Prediction sets in a run's report: what was promised, and what the test images say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fsgl.evaluation.conformal import set_figures
from fsgl.evaluation.metrics import GROUPS
from fsgl.report.render import Table
from fsgl.report.table import EMPTY
from fsgl.runs.prediction_sets import prediction_sets

COVERAGE = 0.9
CHOICES = {"over all images": 0.0, "between": 0.5, "by class": 1.0}
COLUMNS = {"all": "all images", "classes": "mean over classes", **{group: group for group in GROUPS}}


def sets_table(run: Path, saved: Mapping[str, np.ndarray], limits: Mapping[str, int]) -> Table:
    """Coverage and mean size on the test images, by group. saved: of predictions.npz.  limits: many and few.

    Raises UserError where the run had too few validation images to promise anything.
    """
    rows: list[tuple[str, ...]] = []
    notes: tuple[str, ...] = ()
    for name, by_class in CHOICES.items():
        sets = prediction_sets(run, COVERAGE, by_class)
        found = set_figures(sets.members(saved["logits"]), saved["labels"], saved["class_counts"], **limits)
        rows.append((name, *(_cell(found[column]) for column in COLUMNS)))
        notes = sets.notes  # of the last, by class, which say the most
    said = (
        f"Share of the test images whose set holds the true class, of {100 * COVERAGE:g} % asked for, and in brackets "
        "how many classes are in a set. `fsgl predict --coverage 0.9`."
    )
    other = (
        "The promise is for images like the validation images, which are as unevenly spread over the classes as those "
        "of training; where the test images are not, only sets by class can hold it."
    )
    own = tuple(f"By class: {note}." for note in notes[1:])
    return Table("Sets of classes", ("promised", *COLUMNS.values()), tuple(rows), (said, other, *own))


def _cell(found: Mapping[str, Any]) -> str:
    return EMPTY if found["coverage"] is None else f"{found['coverage']:.1f} % ({found['size']:.1f})"
