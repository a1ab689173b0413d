"""The loss curve of short trainings, as it was before the speed-ups: what is faster must not train otherwise.

The figures are those of commit 61d3be5, on an AMD EPYC with torch 2.15 and one thread. There the same trainings at the
commit that brought device-resident streams and losses on the device ended in the same weights, bit for bit; the
tolerance is for other processors.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fsgl.engine.runtime import Runtime
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import override
from fsgl.runs.train import train

BEFORE = {
    "fsgl": {
        "total": 5.84771466255188, "conventional": 6.447099924087524, "rebalanced": 2.159655809402466,
        "consistency": -0.599385354667902,
    },
    "cross-entropy": {"total": 2.1747184097766876, "cross_entropy": 2.1747184097766876},
}  # fmt: skip


@pytest.mark.parametrize("recipe", BEFORE)
def test_the_first_four_steps_lose_what_they_did(recipe: str, tmp_path: Path) -> None:
    # The recipes' weight of the consistency was 1 then.
    before = ["method.contrast_weight=1"] if recipe == "fsgl" else []
    experiment = override(make_experiment(recipe, "digits"), "backbone=resnet8-slim", "optim.epochs=3", *before)
    train(experiment, tmp_path / "run", Runtime("cpu", max_steps=4, trackers=()))
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert row["loss"] == pytest.approx(BEFORE[recipe], rel=1e-3)
