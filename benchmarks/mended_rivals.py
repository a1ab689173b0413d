"""What mending a rival changed, on the embedded digits: the same seeds before and after, in one record.

    python -m benchmarks.mended_rivals --before FOLDER --record results
    python -m benchmarks.mended_rivals --vector-scaling data --record results

--before: records of ``fsgl compare`` on the digits by the code from before (commit c575ed1), made on the same machine
with the same versions. --after: records of today's recipes (results/digits), whose seeds are not trained again. The
others are trained here as ``make leaderboard`` does: ``fsgl train RECIPE --data digits seed=N evaluation.every=10``,
one thread. What was mended in vector-scaling is its values for CIFAR-100, which the digits do not show:
--vector-scaling trains it with both on the frozen CIFAR-100-LT board (results/heads). docs/rivals.md is written from
the records.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from benchmarks.more_seeds import experiment_of

from fsgl.commands.cli import guarded
from fsgl.comparison.entries import budget_of
from fsgl.engine.environment import environment
from fsgl.engine.runtime import Runtime
from fsgl.errors import UserError
from fsgl.methods import VectorScaling
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
    "remix": "new",
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


def vector_scaling(options: argparse.Namespace) -> int:
    """With CIFAR-10's values, as before, and with CIFAR-100's, on the features of a frozen network."""
    runs = (record for record in read_records(options.heads, "run") if not budget_of(record["content"]))
    known = next((record for record in runs if record["content"]["settings"]["recipe"] == "vector-scaling"), None)
    if known is None:
        raise UserError(f"{options.heads}: no record of vector-scaling as it comes")
    today = experiment_of(known, options.vector_scaling)

    def trained(*values: str) -> list[float]:
        found = []
        for seed in range(options.seeds):
            with tempfile.TemporaryDirectory() as folder:
                how = Runtime("cpu", trackers=(), feature_cache=options.feature_cache)
                result = train(override(today, f"seed={seed}", *values), Path(folder) / "run", how)["result"]
            found.append(float(result["last"]["balanced"]))
        return found

    was, now = VectorScaling(), today.method
    if not isinstance(now, VectorScaling) or (was.gamma, was.tau, now.gamma, now.tau) != (0.15, 1.25, 0.05, 0.75):
        raise UserError(f"{known['name']}: its values, or the recipe's, are others than those this record is about")
    before_values = (f"method.gamma={was.gamma}", f"method.tau={was.tau}")
    why = "CIFAR-100's gamma 0.05 and tau 0.75, as published, for CIFAR-10's 0.15 and 1.25"
    row = {"method": "vector-scaling", "why": why, "before": trained(*before_values), "after": trained()}
    data = f"cifar100, imbalance factor 100, {today.backbone} pretrained frozen, {today.optim.epochs} epochs"
    command = "python -m benchmarks.mended_rivals --vector-scaling data"
    content = {"data": data, "rows": [row]}
    write_record(options.record, "mended", "mended-vector-scaling", command, environment(torch.device("cpu")), content)
    print(row)
    return 0


def run(options: argparse.Namespace) -> int:
    """Every recipe with every seed; the record is rewritten after each recipe."""
    torch.set_num_threads(1)
    if options.vector_scaling:
        return vector_scaling(options)
    rows: list[dict[str, Any]] = []
    for recipe, why in MENDED.items():
        was = before(options.before, recipe, options.seeds)
        now = [after(recipe, seed, options.after) for seed in range(options.seeds)]
        rows.append({"method": recipe, "why": why, "before": was, "after": now})
        content = {"data": "digits, imbalance factor 20, resnet8-slim, 40 epochs", "rows": rows}
        command = "python -m benchmarks.mended_rivals --before FOLDER"
        write_record(options.record, "mended", "mended-rivals", command, environment(torch.device("cpu")), content)
        print(f"{recipe}: {was} -> {now}", flush=True)
    return 0


def main(arguments: list[str]) -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--before", type=Path, metavar="FOLDER", help="records of before")
    what.add_argument("--vector-scaling", metavar="ROOT", help="that method on CIFAR-100-LT, whose archives are there")
    parser.add_argument("--heads", type=Path, default=Path("results/heads"), help="folder of its board's records")
    parser.add_argument("--feature-cache", type=Path, metavar="FOLDER")
    parser.add_argument("--after", type=Path, metavar="FOLDER", help="records of today's recipes")
    parser.add_argument("--record", type=Path, default=Path("results"))
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args(arguments)
    return guarded("mended_rivals.py", lambda: run(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
