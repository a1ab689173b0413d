"""What mending a rival changed, on the embedded digits: the same seeds before and after, in one record.

    python benchmarks/mended_rivals.py --before FOLDER --record results

--before: records of ``fsgl compare`` on the digits from before (results/digits of commit c575ed1). --after: records of
today's recipes (results/digits), whose seeds are not trained again. The others are trained here as ``make leaderboard``
does: ``fsgl train RECIPE --data digits seed=N evaluation.every=10``, one thread.
docs/rivals.md is written from the record.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from fsgl.commands.cli import guarded
from fsgl.engine.environment import environment
from fsgl.engine.runtime import Runtime
from fsgl.errors import UserError
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import override
from fsgl.report.records import read_records, write_record
from fsgl.runs.train import train

# Recipe to what was mended in it, or that it is new.
MENDED = {
    "logit-adjustment": "tau 1, the paper's, for 1.5: it is Balanced Softmax",
    "lws": "the bias is scaled with its row, as in the authors' code",
    "max-norm": "radius relative to the rows found; the authors' loss, rate, decay, and images drawn as they are; "
    "before: every row clipped to length 1, every class drawn as often",
    "weight-averaging": "SWA's rates (constant in the last quarter) and new BatchNorm statistics; before: a mean of "
    "weights at rates that fall to 0",
    "ldam-drw": "the late loss is divided by the sum of the batch's weights, as in the authors' code",
    "glmc": "contrast_weight 4, as published, for 1",
    "glmc-sam": "contrast_weight 4, as published, for 1",
    "fsgl": "contrast_weight 4, as published, for 1",
    "disalign": "new",
    "sade": "new: three experts",
    "bcl": "new: contrastive, three views, without its authors' augmentations",
    "paco": "new: contrastive, momentum encoder and queue, without its authors' augmentations",
}


def before(folder: Path, recipe: str, seeds: int) -> list[float]:
    """Accuracy (mean over classes, last epoch) of each seed; nothing for a new method.

    Raises UserError where a seed has no record.
    """
    if MENDED[recipe].startswith("new"):
        return []
    found: dict[int, float] = {}
    for record in read_records(folder, "run"):
        settings = record["content"]["settings"]
        if settings["recipe"] == recipe and not record["content"]["adjustment"]:
            found[settings["seed"]] = record["content"]["epochs"][-1]["test"]["balanced"]
    if missing := set(range(seeds)) - found.keys():
        raise UserError(f"{folder}: no record of {recipe} with seed {min(missing)}")
    return [found[seed] for seed in range(seeds)]


def after(recipe: str, seed: int, records: Path | None) -> float:
    """The same figure of today's recipe, from the record of such a run where there is one; else by training."""
    experiment = override(make_experiment(recipe, "digits"), f"seed={seed}", "evaluation.every=10")
    for record in [] if records is None else read_records(records, "run"):
        if record["content"]["hash"] == experiment.hash and not record["content"]["adjustment"]:
            return float(record["content"]["epochs"][-1]["test"]["balanced"])
    with tempfile.TemporaryDirectory() as folder:
        result = train(experiment, Path(folder) / "run", Runtime("cpu", trackers=()))["result"]
    return float(result["last"]["balanced"])


def run(options: argparse.Namespace) -> int:
    """Every recipe with every seed; the record is rewritten after each recipe."""
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for recipe, why in MENDED.items():
        was = before(options.before, recipe, options.seeds)
        now = [after(recipe, seed, options.after) for seed in range(options.seeds)]
        rows.append({"method": recipe, "why": why, "before": was, "after": now})
        content = {"data": "digits, imbalance factor 20, resnet8-slim, 40 epochs", "rows": rows}
        command = "python benchmarks/mended_rivals.py"
        write_record(options.record, "mended", "mended-rivals", command, environment(torch.device("cpu")), content)
        print(f"{recipe}: {was} -> {now}", flush=True)
    return 0


def main(arguments: list[str]) -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="records of before")
    parser.add_argument("--after", type=Path, metavar="FOLDER", help="records of today's recipes")
    parser.add_argument("--record", type=Path, default=Path("results"))
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args(arguments)
    return guarded("mended_rivals.py", lambda: run(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
