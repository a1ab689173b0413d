"""A run's network on its validation and test images, which the run's processes divide among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fsgl.data.images.sources import Images
from fsgl.data.stream.features import ImageFeatures
from fsgl.engine.processes import Processes
from fsgl.evaluation.metrics import confusion_matrix
from fsgl.evaluation.posthoc import fit_temperature
from fsgl.runs.network import ModelWithData, readable


@dataclass(frozen=True)
class Scorer:
    """network: the one that is scored, with its data.  workers: decoding processes."""

    network: ModelWithData
    device: torch.device
    workers: int
    processes: Processes

    def logits(self, part: Images | ImageFeatures) -> np.ndarray:
        """``N x K`` of all images of a part, in every process; NaN for the unreadable."""
        rows = self.processes.rows(len(part))
        mine = part.take(np.arange(len(part))[rows]) if self.processes.count > 1 else part
        return self.processes.gather(self.network.logits(mine, self.device, self.workers))

    def scores(self) -> dict[str, dict[str, Any] | None]:
        """The metrics of "val", None without validation images, and "test"."""
        data = self.network.data
        val = None if data.val is None else self.network.measure(data.val, self.logits(data.val))
        return {"val": val, "test": self.network.measure(data.test, self.logits(data.test))}

    def predictions(self) -> tuple[dict[str, np.ndarray], float | None]:
        """What predictions.npz holds, without unreadable images; and the temperature that fits the validation images.

        logits, labels, class_counts, confusion; with validation images val_logits and val_labels, too.
        """
        data = self.network.data
        logits, labels = readable(self.logits(data.test), data.test.labels)
        found = {
            "logits": logits,
            "labels": labels,
            "class_counts": data.counts,
            "confusion": confusion_matrix(logits, labels, len(data.counts)),
        }
        if data.val is None:
            return found, None
        logits, labels = readable(self.logits(data.val), data.val.labels)
        return {**found, "val_logits": logits, "val_labels": labels}, fit_temperature(logits, labels)
