"""What a report needs of a run besides its saved files: features of its test images, and the images themselves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fsgl.data.images.image_files import BadImage
from fsgl.data.images.thumbnails import thumbnail
from fsgl.data.load import LoadedData
from fsgl.data.stream.features import ImageFeatures
from fsgl.errors import UserError
from fsgl.evaluation.metrics import confidences
from fsgl.models.assemble import FourHeadNet
from fsgl.report.why import Reasons, Why
from fsgl.runs.feature_cache import as_it_was_scored
from fsgl.runs.network import ModelWithData, readable
from fsgl.runs.saved import load_network, read_record

THUMBNAIL = 96  # pixels
MISTAKES = 24
MAP_IMAGES = 5000  # points of the feature map, at most; drawn from the test images


@dataclass(frozen=True)
class ExaminedRun:
    """features: ``N x D`` of the readable test images; labels ``N``.  norms_K: mean length of each class's, NaN for a
    class without.  scales_K: the FSM's factors in training; None of networks without one."""

    network: ModelWithData
    features_ND: np.ndarray
    labels_N: np.ndarray
    norms_K: np.ndarray
    scales_K: np.ndarray | None
    device: torch.device

    def some(self, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Features and labels of up to MAP_IMAGES images, the same ones every time."""
        rows = np.random.default_rng(seed).permutation(len(self.labels_N))[:MAP_IMAGES]
        return self.features_ND[rows], self.labels_N[rows]


@dataclass(frozen=True)
class Mistake:
    """A wrongly classified test image: data URI, class indices, confidence in [0, 1], and why."""

    picture: str
    true: int
    predicted: int
    confidence: float
    why: Why


def examine(
    folder: Path, device: torch.device | str = "cpu", workers: int = 0, data: LoadedData | None = None,
    feature_cache: Path | None = None,
) -> ExaminedRun:  # fmt: skip
    """Load a run with its images and compute its test features.

    data: as of ``load_network``, whose UserErrors it raises.  feature_cache: as of ``as_it_was_scored``.
    """
    network, device = load_network(folder, device=device, data=data), torch.device(device)
    data, model = network.data, network.model
    # The images stay in ``network``: some will be shown.
    scored = as_it_was_scored(network, read_record(folder), feature_cache, device, workers, parts=("test",))
    test = scored.data.test
    features, labels = readable(scored.features(test, device, workers), test.labels)
    lengths = np.linalg.norm(features.astype(np.float64), axis=1)
    total = np.bincount(labels, minlength=data.num_classes)
    norms = np.bincount(labels, weights=lengths, minlength=data.num_classes) / np.where(total > 0, total, np.nan)
    scales = None
    if isinstance(model, FourHeadNet) and model.feature_scaling.spec.gamma != 0:
        scales = model.feature_scaling.omega_PK.cpu().double().prod(dim=0).numpy()
    return ExaminedRun(network, features, labels, norms, scales, device)


def worst_mistakes(
    examined: ExaminedRun, logits_NK: np.ndarray, labels_N: np.ndarray, rare_K: np.ndarray
) -> list[Mistake]:
    """Test images of the rare classes that the network is wrong and surest about, the surest first.

    logits, labels: of predictions.npz, so of the test images that could be read when the run ended.  rare: which
    classes. Raises UserError where others can be read now: a picture would stand beside another image's figures.
    """
    if not np.array_equal(labels_N, examined.labels_N):
        raise UserError(
            f"{len(labels_N):,} test images could be read when the run ended and {len(examined.labels_N):,} can now, "
            "so that none can be told from its row"
        )
    test, unreadable = examined.network.data.test, examined.network.data.unreadable(examined.network.data.test)
    if isinstance(test, ImageFeatures):
        return []
    labels, place = labels_N, np.flatnonzero(~unreadable)
    predicted, confidence = logits_NK.argmax(axis=1), confidences(logits_NK)
    wrong = np.flatnonzero((predicted != labels) & rare_K[labels])
    found: list[Mistake] = []
    reasons = None  # its features take a while, and there may be no mistake
    for row in wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES].tolist():
        try:
            picture = thumbnail(test.open(int(place[row])), THUMBNAIL)
        except BadImage:
            continue
        reasons = reasons or Reasons(examined.network, examined.device)
        why = reasons.of(test, int(place[row]), int(predicted[row]))
        found.append(Mistake(picture, int(labels[row]), int(predicted[row]), float(confidence[row]), why))
    return found
