"""What a table must say of its rows' learning rates and decays, and of the versions they were trained with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from fsgl.comparison.entries import budget_of, describe_rates, label_of, tuned

SEARCHED = "resnet8-lite"  # the network whose rates and decays docs/searches.md is about
RATES = {"schedule.lr", "optim.weight_decay"}


def rates_note(runs: Sequence[Mapping[str, Any]]) -> str | None:
    """Where rows that nobody tuned differ in rate or decay: what they have, and why where that was searched; None where
    all have the same."""
    plain = [run for run in runs if not budget_of(run)]
    if len({tuned(run) for run in plain}) < 2:
        return None
    why = (
        " They were searched on held-out training images of CIFAR-10-LT: with cross-entropy and Balanced Softmax, and "
        "with GLMC. Every other row has those of its kind, unsearched (docs/searches.md)."
    )
    searched = all(run["settings"]["backbone"] == SEARCHED for run in plain)
    return f"Rows differ in {describe_rates(plain)}." + (why if searched else "")


def tuning_note(record: Mapping[str, Any]) -> str:
    """How rows came to be tuned, from the record of ``fsgl tune``."""
    content = record["content"]
    recipes = content["recipes"]
    first = next(iter(recipes.values()))
    own = first["trials"][0]["settings"]
    views = content["of"].get("transfer.cached_views") or first.get("of", {}).get("transfer.cached_views") or 0
    judge = "validation images" if content["on"] == "validation" else content["on"]
    kept = f" with {views} kept view{'s' * (views != 1)}" if views else ""
    bare = [name for name, recipe in recipes.items() if set(recipe["space"]) <= RATES]
    return (
        f"Tuned{kept}: {content['budget']} for each of {len(recipes)} methods, judged by {judge}; the first "
        f"has the recipe's rate {own['schedule.lr']:g} and decay {own['optim.weight_decay']:g}."
        + (f" Of {', '.join(bare)} these two alone were searched." if bare else "")
    )


def versions_note(records: Sequence[Mapping[str, Any]]) -> str | None:
    """Where rows were trained with several versions of torch: which; None for one."""
    labels: dict[str, set[str]] = defaultdict(set)
    for record in records:
        labels[record["environment"]["versions"]["torch"]].add(label_of(record["content"]))
    if len(labels) < 2:
        return None
    each = "; ".join(f"{version} ({', '.join(sorted(of))})" for version, of in sorted(labels.items()))
    return f"Trained with several versions of torch, between which equal seeds are other runs: {each}."
