"""What a table must say of its rows' learning rates and decays, and of the versions they were trained with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from fsgl.comparison.entries import budget_of, describe_rates, label_of, tuned


def rates_note(runs: Sequence[Mapping[str, Any]]) -> str | None:
    """Where rows that nobody tuned differ in rate or decay: what they have and why. None where all have the same."""
    plain = [run for run in runs if not budget_of(run)]
    if len({tuned(run) for run in plain}) < 2:
        return None
    return (
        f"Rows differ in {describe_rates(plain)}. They were searched on held-out training images of CIFAR-10-LT: with "
        "cross-entropy and Balanced Softmax, and with GLMC. Every other row has those of its kind, unsearched "
        "(docs/searches.md)."
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
