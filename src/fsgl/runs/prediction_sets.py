"""Prediction sets of a run: thresholds from the validation logits that it kept (the maths: evaluation/conformal.py)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fsgl.errors import UserError, unknown
from fsgl.evaluation.conformal import (
    SCORES,
    Thresholds,
    conformal_scores,
    conformal_thresholds,
    fewest_images,
)
from fsgl.evaluation.posthoc import probabilities
from fsgl.runs.saved import assumed_prior, experiment_of, read_predictions, read_record

EXPORTED = (0.8, 0.9, 0.95, 0.99)  # coverages whose thresholds go with an exported model
NAMED = 5  # classes in a note


@dataclass(frozen=True)
class Scoring:
    """From a network's logits to scores of classes.  assumed_K, prior_K: class frequencies, as weights, that the
    network's probabilities hold for, and those of training."""

    temperature: float
    assumed_K: np.ndarray
    prior_K: np.ndarray
    score: str = "prevalence"

    def __call__(self, logits_NK: np.ndarray) -> np.ndarray:
        shares = probabilities(logits_NK, self.temperature, self.prior_K, self.assumed_K)
        return conformal_scores(shares, self.prior_K, self.score)


@dataclass(frozen=True)
class PredictionSets:
    """``members`` of logits; ``notes``: what is promised of them and of what it is not, a sentence each."""

    scoring: Scoring
    thresholds: Thresholds
    class_names: tuple[str, ...]

    def members(self, logits_NK: np.ndarray) -> np.ndarray:
        """Which classes are in the set of each image, ``N x K`` booleans."""
        return self.thresholds.sets(self.scoring(logits_NK))

    @property
    def notes(self) -> tuple[str, ...]:
        found = self.thresholds
        total, share = int(found.images_K.sum()), f"{100 * found.coverage:g} %"
        by = {0.0: "over all images together", 1.0: "for each class"}.get(found.by_class)
        if by is None:
            by = f"about, at least {max(0.0, 200 * found.coverage - 100):g} % for certain, over all images together"
        notes = [
            f"sets hold the true class in {share} of cases {by}, if images are like the {total:,} validation images "
            "that this was calibrated on"
        ]
        fewest = fewest_images(found.coverage)
        pooled = found.shared_K & ~found.unpromised_K
        if pooled.any():
            notes.append(
                f"{self._named(pooled)} of fewer than {fewest} validation images share a threshold; the promise holds "
                "for them together"
            )
        if found.unpromised_K.any():
            why = f"fewer than {fewest} validation images" if found.shared_K.any() else "no validation image"
            notes.append(f"nothing is promised of {self._named(found.unpromised_K)} of {why}")
        return tuple(notes)

    def _named(self, which_K: np.ndarray) -> str:
        names = [self.class_names[k] for k in np.flatnonzero(which_K)]
        some = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
        return f"{len(names)} class{'es'[: 2 * (len(names) > 1)]} ({some})"


def prediction_sets(
    run: Path, coverage: float, by_class: float = 0.0, score: str = "prevalence", weights: str = "last"
) -> PredictionSets:
    """The sets of a run that hold the true class in a share ``coverage`` of cases.

    by_class: 0 over all images, 1 for each class, and between.  score: of ``SCORES``.  weights: of the network asked.
    Raises UserError where the run has too few validation images for that, or none; and for the weights "best-val",
    which the validation images have chosen.
    """
    if score not in SCORES:
        raise unknown("score", score, SCORES)
    if not 0 < coverage < 1:
        raise UserError(f"the coverage must be above 0 and below 1, not {coverage:g}")
    if not 0 <= by_class <= 1:
        raise UserError(f"--by-class must be from 0 (all images together) to 1 (each class), not {by_class:g}")
    if weights != "last":
        raise UserError("sets are calibrated for the weights of the last epoch: leave --weights off")
    saved = read_predictions(run)
    if "val_logits" not in saved:
        raise UserError(f"{run}: sets are calibrated on validation images, and the run had none; train with --val 0.1")
    logits, labels = saved["val_logits"], saved["val_labels"]
    if len(labels) < (fewest := fewest_images(coverage)):
        raise UserError(
            f"{run}: a coverage of {coverage:g} needs {fewest} validation images or more, and the run had {len(labels)}"
        )
    record = read_record(run)
    counts = np.maximum(record["class_counts"], 1)
    temperature = float((record.get("result") or {}).get("temperature") or 1.0)
    scoring = Scoring(temperature, assumed_prior(record, experiment_of(run, record), counts), counts, score)
    found = conformal_thresholds(scoring(logits), labels, coverage, by_class)
    return PredictionSets(scoring, found, tuple(map(str, record["class_names"])))


def exported_sets(run: Path) -> dict[str, Any] | None:
    """Thresholds for an exported model's metadata, of those coverages that the validation images allow; None without.

    ``{"score": "prevalence", "images": [K], "coverages": {"0.9": {"marginal": t, "class": [K]}}}``.
    """
    coverages = {}
    for coverage in EXPORTED:
        try:
            of = {by: prediction_sets(run, coverage, by).thresholds for by in (0.0, 1.0)}
        except UserError:
            continue
        images = of[0.0].images_K
        coverages[f"{coverage:g}"] = {
            "marginal": float(of[0.0].threshold_K[0]), "class": of[1.0].threshold_K.tolist()
        }  # fmt: skip
    return {"score": "prevalence", "images": images.tolist(), "coverages": coverages} if coverages else None
