"""What accuracy costs: seconds, passes of the backbone, multiply-adds; and rows at equal cost beside equal epochs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fsgl.comparison.entries import HEADLINE, Entry, Run, accuracy, ranked_with
from fsgl.models.backbones import BACKBONES, build_backbone
from fsgl.models.cost import multiply_adds as multiply_adds_of
from fsgl.models.timm_backbones import is_timm
from fsgl.recipes.experiment import Experiment
from fsgl.report.comparison_figures import Points

Cost = Callable[[Entry], float]
FORWARD_AND_BACKWARD = 3  # times a forward pass's multiply-adds, by the usual count

# By so much experts' share of the work differs between sides that halve evenly and others (28 pixels: 6 to 7 %).
SIDES = 0.07


@dataclass(frozen=True)
class Axis:
    """A cost: its name, its unit, and how an entry's is found."""

    name: str
    of: Cost


def seconds(entry: Entry) -> float:
    """Of training, by its fastest seed: whatever else the machine does can only slow the others."""
    return min(float(run["train_seconds"]) for run in entry.runs)


def total_passes(run: Run) -> int:
    """Of the backbone over the training images, in the whole training; 0 where cached features are trained on."""
    return int(run["cost"].get("passes_per_step") or 0) * int(run["settings"]["optim"]["epochs"])


def passes(entry: Entry) -> float:
    """Of the backbone in the whole training."""
    return float(total_passes(entry.runs[0]))


def multiply_adds(entry: Entry) -> float:
    """Of the backbone in the whole training, in 10^12: passes x images x those of an image, forward and backward."""
    run = entry.runs[0]
    each = run["cost"].get("multiply_adds_per_image") or 0
    return total_passes(run) * run["data"].get("train", 0) * each * FORWARD_AND_BACKWARD / 1e12


AXES = (
    Axis("seconds of training", seconds),
    Axis("passes of the backbone over the images", passes),
    Axis("multiply-adds of the backbone, 10¹²", multiply_adds),
)


def on_front(costs: Sequence[float], accuracies: Sequence[float]) -> list[bool]:
    """Which are on the Pareto front: nothing of no higher cost is more accurate, nothing cheaper as accurate."""
    pairs = list(zip(costs, accuracies, strict=True))
    return [
        not any((c <= cost and a > value) or (c < cost and a >= value) for c, a in pairs) for cost, value in pairs
    ]  # fmt: skip


def panels(entries: Sequence[Entry]) -> list[tuple[str, Points]]:
    """For a figure: of each cost that differs between the entries its name, and a point an entry."""
    shown = [entry for entry in entries if entry.runs]
    values = [float(np.mean(entry.values(accuracy))) for entry in shown]
    found: list[tuple[str, Points]] = []
    for axis in AXES:
        costs = [axis.of(entry) for entry in shown]
        if min(costs, default=0) <= 0 or max(costs) <= min(costs):
            continue  # a logarithm is drawn, of what differs
        front = on_front(costs, values)
        found.append((axis.name, [(e.label, c, v, f) for e, c, v, f in zip(shown, costs, values, front, strict=True)]))
    return found


def in_words(found: Sequence[tuple[str, Points]]) -> str:
    """What the figure shows, for those who do not see it."""
    said = []
    for name, points in found:
        front = sorted((point for point in points if point[3]), key=lambda point: point[1])
        said.append(f"by {name}: " + ", ".join(f"{label} {value:.1f} at {cost:.3g}" for label, cost, value, _ in front))
    return f"{HEADLINE} against cost; on the front, " + "; ".join(said) + "."


def at_equal_cost(runs: Sequence[Run], reference: Run) -> list[Run]:
    """Those that took the reference's multiply-adds, to the nearest epoch of theirs, and else may be ranked with it.

    Where they are not recorded, its passes.
    """
    key, found = ranked_with(reference, any_epochs=True), []
    for run in runs:
        wanted, took = total_passes(reference), total_passes(run)
        adds, own = (each["cost"].get("multiply_adds_per_image") or 0 for each in (reference, run))
        times = own / adds if own and adds else 1.0
        nearest = times * run["cost"]["passes_per_step"] / 2 + SIDES * wanted * (times != 1)
        if ranked_with(run, any_epochs=True) == key and wanted > 0 and abs(times * took - wanted) <= nearest:
            found.append(run)
    return found


def pass_cost(experiment: Experiment) -> float:
    """Multiply-adds of a pass, as a multiple of the plain backbone's; before the images, and so their side, are known.

    1 for all methods but those of several experts, and for timm's networks, which experts share whole.
    """
    if is_timm(experiment.backbone):
        return 1.0
    method: Any = experiment.method
    return _pass_cost(experiment.backbone, method)


@functools.cache
def _pass_cost(name: str, method: Any) -> float:
    with torch.device("meta"):
        backbone = build_backbone(name)
        widened = method.widened(backbone)
        if widened is backbone:
            return 1.0
        side = BACKBONES[name].image_size
        plain, wide = (multiply_adds_of(each, (3, side, side)) for each in (backbone, widened))
    return wide / plain
