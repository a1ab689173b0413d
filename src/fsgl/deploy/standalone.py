"""An exported ONNX file asked about image files, with nothing but Pillow, NumPy and ONNX Runtime.

``module_text`` makes one module of this file and data/images/pixels.py, which ``fsgl export`` writes beside the model
and compares the model by: what is shown to it there is what ``fsgl predict`` shows to the network.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fsgl.data.images.pixels import Shape, own_scale, upright_rgb, view
from fsgl.data.images.scale import Scale


class Classifier:
    """A model that ``fsgl export`` wrote.

    path: the .onnx file, or its content.  white_level: of images of more than 8 bits a channel, the value that is
    white; None takes that of the training images, or where those had 8 bits that of each image.
    Attributes: class_names, and metadata as docs/export.md lists them.
    """

    def __init__(self, path: str | Path | bytes, white_level: float | None = None) -> None:
        import onnxruntime

        self._session = onnxruntime.InferenceSession(
            path if isinstance(path, bytes) else str(path), providers=["CPUExecutionProvider"]
        )
        found = self._session.get_modelmeta().custom_metadata_map
        self.metadata: dict[str, Any] = {name: _value(text) for name, text in found.items()}
        self.class_names: list[str] = self.metadata["class_names"]
        self._shape = Shape(*self.metadata["shape"])
        self._scale = Scale.read(self.metadata["scale"])
        if white_level is not None:
            self._scale = Scale(0.0 if self._scale is None else self._scale.black, white_level, given=True)

    def __call__(self, image: str | Path | bytes | BinaryIO) -> list[tuple[str, float]]:
        """All classes with their probabilities, the most probable first. image: a file, or its content."""
        shares = self.probabilities(image)
        return [(self.class_names[k], float(shares[k])) for k in np.argsort(-shares, kind="stable")]

    def probabilities(self, image: str | Path | bytes | BinaryIO) -> np.ndarray:
        """``K``, calibrated where the model has a temperature, for the class frequencies of ``assumed_prior``."""
        scores = self.logits(image).astype(np.float64) / self.metadata["temperature"]
        shares = np.exp(scores - scores.max())
        return np.asarray(shares / shares.sum())

    def classes(self, image: str | Path | bytes | BinaryIO, coverage: float = 0.9, by_class: float = 0.0) -> list[str]:
        """The set of classes that holds the true one in a share ``coverage`` of cases, the most probable first.

        by_class: 0 holds that over all images together, 1 for each class, and between; for images like the validation
        images of the run (docs/predict.md of fsgl). Raises ValueError where the model knows no such sets.
        """
        known = self.metadata.get("sets") or {"coverages": {}}
        found = known["coverages"].get(f"{coverage:g}")
        if found is None:
            raise ValueError(f"no sets of coverage {coverage:g}; there are: {', '.join(known['coverages']) or 'none'}")
        shares = self.probabilities(image)
        prior = np.maximum(np.array(self.metadata["class_counts"], dtype=np.float64), 1)
        natural = shares * (prior / np.array(self.metadata["assumed_prior"]))
        scores = -(natural / natural.sum()) / (prior / prior.sum())
        members = scores <= (1 - by_class) * found["marginal"] + by_class * np.array(found["class"])
        members[scores.argmin()] |= not members.any()
        return [self.class_names[k] for k in np.argsort(-shares, kind="stable") if members[k]]

    def logits(self, image: str | Path | bytes | BinaryIO) -> np.ndarray:
        """``K``, float32."""
        (logits,) = self._session.run(None, {"images": self.input(image)})
        return np.asarray(logits[0])

    def input(self, image: str | Path | bytes | BinaryIO) -> np.ndarray:
        """What the model is given of an image: all of its pixels, uint8 ``1 x H x W x 3``, where it resizes and
        normalises by itself; else float32 ``1 x C x H x W``. Raises ImageProblem, or what Pillow does, for no image."""
        file = io.BytesIO(image) if isinstance(image, bytes) else Path(image) if isinstance(image, str) else image
        scale = own_scale(file) if self._scale is None else self._scale
        rgb = upright_rgb(file, scale, self._shape.enough)
        if self.metadata["preprocess"]:
            return np.asarray(rgb)[None]
        normal = (view(rgb, self._shape) / 255 - np.array(self.metadata["mean"])) / np.array(self.metadata["std"])
        return np.ascontiguousarray(normal.transpose(2, 0, 1)[None].astype(np.float32))


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
