"""What ``fsgl auto`` tries: kinds of training, recipes, and within each the settings that its method declares.

A candidate is an experiment like any other, so that what is chosen is a run like any other. To add a kind that trains
more than heads: a line in ``WHOLE``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from fsgl.errors import UserError
from fsgl.methods.search import Choice, Range, Search
from fsgl.models.backbone import Backbone
from fsgl.recipes.experiment import Experiment, override
from fsgl.recipes.on_data import FINE_TUNE
from fsgl.recipes.tuning import search_space, value_of
from fsgl.runs.network import build_model

# Heads on kept features. The order is that of trying; simplicity is ``simplicity``'s.
HEADS = (
    "balanced-softmax", "logit-adjustment", "cross-entropy", "vector-scaling", "ldam-drw", "crt", "lws", "glmc", "fsgl",
)  # fmt: skip
# After these as they come, before anything is proposed: what did well on folds of other people's images.
STARTS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("logit-adjustment", {"method.tau": 1.5}),
    ("balanced-softmax", {"transfer.classifier": "cosine"}),
    ("logit-adjustment", {"method.tau": 1.5, "transfer.classifier": "cosine"}),
)
# Kinds that train the backbone, by name: their settings, over which a candidate has what ``whole_of`` took over.
WHOLE: dict[str, Mapping[str, str]] = {"fine-tuned": FINE_TUNE}
TAKEN_OVER = ("method.", "transfer.classifier", "transfer.cosine_scale", "sam.")
COSINE: dict[str, Search] = {
    "transfer.classifier": Choice(("linear", "cosine")), "transfer.cosine_scale": Range(8.0, 60.0, log=True)
}  # fmt: skip


@dataclass(frozen=True)
class Candidate:
    """recipe: of fsgl's.  settings: over its own, by their dotted names.  kind: "heads" or one of ``WHOLE``."""

    recipe: str
    settings: Mapping[str, Any]
    kind: str = "heads"

    def experiment(self, bases: Mapping[str, Experiment]) -> Experiment:
        """As it is trained. bases: by recipe, as they come."""
        base = bases[self.recipe]
        given = {**(WHOLE[self.kind] if self.kind != "heads" else {}), **self.settings}
        return override(base, *(f"{name}={value}" for name, value in given.items()))

    def __str__(self) -> str:
        changed = ", ".join(f"{name.removeprefix('method.')}={_short(value)}" for name, value in self.settings.items())
        what = self.recipe if self.kind == "heads" else f"{self.recipe}, {self.kind}"
        return f"{what} ({changed})" if changed else what


def whole_of(heads: Candidate, kind: str, epochs: int) -> Candidate:
    """The same with the backbone trained as well; rate, decay and batches, which suit heads, are the kind's own."""
    taken = {name: value for name, value in heads.settings.items() if name.startswith(TAKEN_OVER)}
    return Candidate(heads.recipe, {**taken, "optim.epochs": epochs}, kind)


def simplicity(candidate: Candidate, bases: Mapping[str, Experiment]) -> tuple[int, int, int, int]:
    """What the rule of one standard error takes for simple: the lowest. A frozen backbone before a trained one; fewer
    settings away from the recipe's own, which is what a search can fit to chance; fewer passes a step; the order of
    ``HEADS``."""
    base = bases[candidate.recipe]
    passes = base.method.passes * (2 if base.sam.rho > 0 else 1)
    place = HEADS.index(candidate.recipe) if candidate.recipe in HEADS else len(HEADS)
    return int(candidate.kind != "heads"), len(candidate.settings), passes, place


def space_of(base: Experiment, backbone: Backbone, classes: int) -> dict[str, Search]:
    """What may be tried of a recipe on kept features: rate, decay, its method's own, and the kind of classifier."""
    space = search_space(base)
    if base.method.second_stage(base.optim.epochs) is not None:  # which begins its own classifier anew
        return space
    try:
        counts = torch.ones(classes, dtype=torch.int64)
        build_model(override(base, "transfer.classifier=cosine"), 3, counts, False, backbone)
    except UserError:
        return space
    return {**space, **COSINE}


def differing(base: Experiment, found: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are not the recipe's own, without those that others switch off."""
    settings = {name: value for name, value in found.items() if value != value_of(base, name)}
    if settings.get("transfer.classifier", "linear") == "linear":
        settings.pop("transfer.cosine_scale", None)
    return settings


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
