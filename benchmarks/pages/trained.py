"""Which comparisons are of networks trained to the end, and what is said of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fsgl.comparison.entries import Entry
from fsgl.recipes.budget import PUBLISHED_EPOCHS, fc_cb_budget
from fsgl.recipes.experiment import Experiment, override

# By docs/horizon.md, GLMC, GLMC + SAM and FSGL pass cross-entropy at some 5, 11 and 22 steps.
ENOUGH_EPOCHS, ENOUGH_SEEDS, ENOUGH_BUDGET = 40, 3, 20.0


def is_short(runs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether runs of one comparison had too short a schedule for their methods to be judged by."""
    found = _budgets(runs)
    return bool(runs[0]["settings"]["optim"]["epochs"] < ENOUGH_EPOCHS) or (
        found is not None and found[0] < ENOUGH_BUDGET
    )


def with_enough_seeds(entries: Sequence[Entry]) -> list[Entry]:
    """The entries that may stand on the first page."""
    return [entry for entry in entries if len(entry.runs) >= ENOUGH_SEEDS]


def budget_note(runs: Sequence[Mapping[str, Any]]) -> str | None:
    """The sentence below a short comparison that has methods which predict by ``fc_cb``; None for others."""
    found = _budgets(runs)
    if found is None or not is_short(runs):
        return None
    return (
        "Short runs: the classifier that GLMC and FSGL use at test, fc_cb, was trained for as much as "
        f"{found[0]:.0f} steps at full rate ({found[1]:.0f} in {PUBLISHED_EPOCHS} epochs), as its weight grows with "
        "(t/T)² while the learning rate falls. Their rows say how far it has come, and little of the methods "
        "(docs/horizon.md)."
    )


def _budgets(runs: Sequence[Mapping[str, Any]]) -> tuple[float, float] | None:
    """Of ``fc_cb``, as trained and in 200 epochs; the least of those that have one."""
    found = []
    for run in runs:
        settings = run["settings"]
        if "feature_scaling" in settings["method"]:
            experiment = Experiment.from_json({**settings, "data": {**settings["data"], "root": ""}}, "record")
            full = override(experiment, f"optim.epochs={PUBLISHED_EPOCHS}")
            own, published = (fc_cb_budget(each, run["class_counts"]) for each in (experiment, full))
            if own is not None and published is not None:
                found.append((own, published))
    return min(found, default=None)
