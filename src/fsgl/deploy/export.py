"""A trained network as one file for elsewhere: ONNX, a torch.export program, or safetensors.

Only what answers at test is exported: the backbone and the classifier that predicts, no feature scaling and no training
heads. Every file is compared with the original before it is kept.
"""

from __future__ import annotations

import io
import json
import logging
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fsgl.deploy.predict import predict_views
from fsgl.errors import UserError, first_line
from fsgl.files import write_atomically
from fsgl.runs.saved import Trained

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2", "safetensors": ".safetensors"}
TOLERANCE = 1e-3  # of the largest logit: other kernels add up in another order


class InferenceGraph(nn.Module):
    """Backbone and classifier. preprocess: takes uint8 ``B x H x W x C`` instead of normalised ``B x C x H x W``."""

    scale: Tensor
    shift: Tensor
    temperature_K: Tensor | None

    def __init__(self, trained: Trained, preprocess: bool) -> None:
        super().__init__()
        self.backbone, self.classifier = trained.model.backbone, trained.model.classifier
        self.register_buffer("temperature_K", trained.model.temperature_K)  # of a run that was so adjusted
        self.preprocess = preprocess
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in (trained.mean, trained.std))
        self.register_buffer("scale", (1 / (255 * std)).float(), persistent=preprocess)
        self.register_buffer("shift", (-mean / std).float(), persistent=preprocess)

    def forward(self, images: Tensor) -> Tensor:
        if self.preprocess:
            images = (images.float() * self.scale + self.shift).permute(0, 3, 1, 2)
        logits: Tensor = self.classifier(self.backbone(images))
        if self.temperature_K is not None:
            logits = logits / self.temperature_K[logits.argmax(dim=1)][:, None]
        return logits


@dataclass(frozen=True)
class Parity:
    """An exported file beside the network it came from, on the same images.

    difference: largest, of a logit.  scale: largest logit.  changed: images whose top class differs.
    """

    images: int
    difference: float
    scale: float
    changed: int

    @property
    def ok(self) -> bool:
        return self.changed == 0 and self.difference <= TOLERANCE * max(1.0, self.scale)


def describe(trained: Trained, preprocess: bool, licence: str) -> dict[str, Any]:
    """What whoever uses the file must know; JSON in its metadata."""
    height, width = trained.input_size
    photograph = "shorter side to 8/7 of the input's, bilinear with antialiasing, centre crop"
    array = "shorter side to the input's, bilinear, centre crop; grey images as one channel"
    return {
        "made_by": "fsgl",
        "task": "image classification; the output is one logit a class",
        "class_names": list(trained.class_names),
        "class_counts": trained.class_counts.tolist(),
        "backbone": trained.experiment.backbone,
        "input": f"uint8 N x {height} x {width} x {trained.channels}" if preprocess
        else f"float32 N x {trained.channels} x {height} x {width}, (pixels / 255 - mean) / std",
        "resize": photograph if trained.array_size is None else array,
        "mean": list(trained.mean),
        "std": list(trained.std),
        "temperature": trained.temperature,
        "assumed_prior": (trained.assumed_prior / trained.assumed_prior.sum()).tolist(),
        "experiment": trained.experiment.hash,
        "licence": licence,
    }  # fmt: skip


def export(
    trained: Trained, form: str, path: Path, views: np.ndarray, preprocess: bool = False, licence: str = "unstated"
) -> Parity:
    """Write the network to ``path`` and compare.

    form: a key of ``SUFFIXES``.  views: uint8 ``N x H x W x C``, what it is compared on.  licence: of the weights, for
    the metadata. Nothing is kept where the file answers otherwise than the network (``Parity.ok``).
    Raises UserError for a missing package or a network that cannot be exported.
    """
    graph = InferenceGraph(trained, preprocess).eval()
    if form == "safetensors" and preprocess:
        raise UserError("safetensors holds weights and no graph, so --preprocess is of no use there")
    example = torch.from_numpy(views[:2].repeat(2, axis=0)[:2]) if preprocess else _normalised(trained, views[:2])
    metadata = describe(trained, preprocess, licence)
    make = {"onnx": _onnx, "torch": _torch, "safetensors": _safetensors}[form]
    try:
        content, answer = make(graph, example, metadata)
    except ImportError as error:
        raise UserError(f"--format {form} needs {error.name}: pip install 'fsgl[onnx]'") from None
    theirs = np.concatenate([
        answer(views[i : i + 50] if preprocess else _normalised(trained, views[i : i + 50]).numpy())
        for i in range(0, len(views), 50)
    ])  # fmt: skip
    ours = predict_views(trained, list(views))
    parity = Parity(
        len(views), float(np.abs(ours - theirs).max()), float(np.abs(ours).max()),
        int((ours.argmax(axis=1) != theirs.argmax(axis=1)).sum()),
    )  # fmt: skip
    if parity.ok:
        write_atomically(path, content)
    return parity


def _normalised(trained: Trained, views: np.ndarray) -> Tensor:
    from fsgl.data.stream.transforms import normalise

    return normalise(views, trained.mean, trained.std).contiguous()


Made = tuple[bytes, Callable[[np.ndarray], np.ndarray]]


def _program(graph: InferenceGraph, example: Tensor) -> torch.export.ExportedProgram:
    if len(example) < 2:  # an example of one would fix the batch at one
        example = example.repeat(2, *[1] * (example.ndim - 1))
    try:
        return torch.export.export(graph, (example,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
    except Exception as error:  # of whatever a backbone does that cannot be traced
        raise UserError(f"this backbone cannot be exported ({first_line(error)})") from None


def _torch(graph: InferenceGraph, example: Tensor, metadata: dict[str, Any]) -> Made:
    extra = {"fsgl.json": json.dumps(metadata)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of weights that are views of one another and are saved whole
        torch.export.save(_program(graph, example), buffer := io.BytesIO(), extra_files=extra)
    content = buffer.getvalue()
    loaded = torch.export.load(io.BytesIO(content)).module()

    def answer(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            logits: np.ndarray = loaded(torch.from_numpy(images)).numpy()
        return logits

    return content, answer


def _onnx(graph: InferenceGraph, example: Tensor, metadata: dict[str, Any]) -> Made:
    import onnx
    import onnxruntime
    import onnxscript  # noqa: F401  torch's exporter needs it, and says so at length

    program = _program(graph, example)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # the exporter's own, of its own workings
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        made = torch.onnx.export(
            program, (), dynamo=True, input_names=["images"], output_names=["logits"], verbose=False, optimize=True
        )
        assert made is not None
        made.save(path := str(Path(folder) / "model.onnx"), external_data=False)
        model = onnx.load(path)
    onnx.helper.set_model_props(model, {name: _text(value) for name, value in metadata.items()})
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def answer(images: np.ndarray) -> np.ndarray:
        (logits,) = session.run(None, {"images": images})
        return np.asarray(logits)

    return content, answer


def _safetensors(graph: InferenceGraph, example: Tensor, metadata: dict[str, Any]) -> Made:
    from safetensors.torch import load, save

    weights = {name: value.contiguous() for name, value in graph.state_dict().items()}
    content: bytes = save(weights, {name: _text(value) for name, value in metadata.items()})
    graph.load_state_dict(load(content))

    def answer(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            logits: np.ndarray = graph(torch.from_numpy(images)).numpy()
        return logits

    return content, answer


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
