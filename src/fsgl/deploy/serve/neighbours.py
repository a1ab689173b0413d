"""The training images that are nearest to a new one, by the cosine of the backbone's features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fsgl.data.images.image_files import BadImage
from fsgl.data.images.pixels import view
from fsgl.data.images.shards import PreparedImages
from fsgl.data.images.sources import ImageArrays, ImageFiles
from fsgl.data.images.thumbnails import thumbnail
from fsgl.data.stream.transforms import normalise
from fsgl.deploy.predict import BATCH
from fsgl.runs.saved import TrainedModel

MOST = 5000  # training images in the index: of each class an equal number, as far as it goes
SIDE = 96  # pixels of a thumbnail


@dataclass(frozen=True)
class Index:
    """features: ``N x D``, of unit length.  labels: ``N``.  thumbnails: JPEG as data URIs."""

    features: np.ndarray
    labels: np.ndarray
    thumbnails: tuple[str, ...]

    def nearest(self, features_D: np.ndarray, count: int) -> list[tuple[int, float]]:
        """(row, cosine), the nearest first."""
        cosines = self.features @ (features_D / max(float(np.linalg.norm(features_D)), 1e-12))
        rows = np.argsort(-cosines, kind="stable")[:count]
        return [(int(row), float(cosines[row])) for row in rows]


def features_of(trained: TrainedModel, views: Sequence[np.ndarray]) -> np.ndarray:
    """Features ``N x D`` of views as ``data.images.pixels.view`` makes them."""
    with torch.inference_mode():
        features = trained.model.features(normalise(np.stack(views), trained.mean, trained.std))
    return features.numpy()


def build_index(
    trained: TrainedModel, images: ImageArrays | ImageFiles | PreparedImages, seed: int = 0
) -> Index | None:
    """Of up to MOST images, balanced over the classes; unreadable ones are left out. None where all are."""
    features, labels, thumbnails = [], [], []
    chosen = _balanced(images.labels, seed)
    for start in range(0, len(chosen), BATCH):
        views = []
        for position in chosen[start : start + BATCH].tolist():
            try:
                image = images.open(position)
            except BadImage:
                continue
            views.append(view(image, trained.shape))
            labels.append(int(images.labels[position]))
            thumbnails.append(thumbnail(image, SIDE))
        if views:
            features.append(features_of(trained, views))
    if not features:
        return None
    rows = np.concatenate(features)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return Index(rows, np.array(labels), tuple(thumbnails))


def _balanced(labels: np.ndarray, seed: int) -> np.ndarray:
    if len(labels) <= MOST:
        return np.arange(len(labels))
    random = np.random.default_rng(seed)
    order = random.permutation(len(labels))
    # The first of every class, then the second of every class, ...
    rank = np.empty(len(labels), dtype=np.int64)
    for k in np.unique(labels):
        of_class = order[labels[order] == k]
        rank[of_class] = np.arange(len(of_class))
    return np.sort(order[np.argsort(rank[order], kind="stable")][:MOST])
