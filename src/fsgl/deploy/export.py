"""A trained network as one file for elsewhere: ONNX, a torch.export program, or safetensors.

Only what answers at test is exported: the backbone and the classifier that predicts, no feature scaling and no training
heads. Every file is compared with the original before it is kept: on image files, and an ONNX file through the module
that is written beside it (standalone.py).
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import inspect
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fsgl.data.images.image_files import BadImage, open_in_set
from fsgl.data.images.pixels import Shape, view
from fsgl.deploy.predict import ImageFile, predict_views, scaled_for
from fsgl.deploy.view_graph import VIEW, with_view
from fsgl.errors import UserError, first_line
from fsgl.files import write_atomically
from fsgl.models.assemble import seen
from fsgl.runs.saved import TrainedModel

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2", "safetensors": ".safetensors"}
MODULES = ("fsgl.data.images.scale", "fsgl.data.images.pixels", "fsgl.deploy.standalone")
READER = "fsgl_reader.py"  # the module beside an ONNX file
READER_HEAD = '''"""Asks a model that ``fsgl export`` wrote about image files; docs/export.md says more.

    from fsgl_reader import Classifier

    classify = Classifier("model-exported.onnx")
    print(classify("image.jpg")[:5])  # (class, probability), the most probable first

It needs Pillow, NumPy and ONNX Runtime. The model was compared with the trained network through this module.
"""'''
TOLERANCE = 1e-3  # of the largest logit: other kernels add up in another order
VIEW_TOLERANCE = 2e-2  # where the graph resizes, too: some pixels differ by one level of 255


class InferenceGraph(nn.Module):
    """Backbone and classifier. preprocess: takes uint8 ``B x H x W x C`` instead of normalised ``B x C x H x W``."""

    scale: Tensor
    shift: Tensor
    temperature_K: Tensor | None

    def __init__(self, trained: TrainedModel, preprocess: bool) -> None:
        super().__init__()
        model = trained.model
        self.backbone, self.classifier, self.stacked = model.backbone, model.classifier, model.stacked
        self.register_buffer("temperature_K", model.temperature_K)  # of a run that was so adjusted
        self.preprocess, self.mirror = preprocess, trained.experiment.evaluation.mirror
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in (trained.mean, trained.std))
        self.register_buffer("scale", (1 / (255 * std)).float(), persistent=preprocess)
        self.register_buffer("shift", (-mean / std).float(), persistent=preprocess)

    def forward(self, images: Tensor) -> Tensor:
        if self.preprocess:
            images = (images.float() * self.scale + self.shift).permute(0, 3, 1, 2)
        if self.mirror:
            return (self._logits(images) + self._logits(images.flip(-1))) / 2
        return self._logits(images)

    def _logits(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(seen(self.backbone, images, self.stacked))
        if self.temperature_K is not None:
            logits = logits / self.temperature_K[logits.argmax(dim=1)][:, None]
        return logits


@dataclass(frozen=True)
class Parity:
    """An exported file beside the network it came from, on the same images.

    difference: largest, of a logit.  scale: largest logit.  allowed: difference.  changed: images whose top class
    differs, and not only because the two highest logits are that close.
    """

    images: int
    difference: float
    scale: float
    allowed: float
    changed: int

    @property
    def ok(self) -> bool:
        return self.changed == 0 and self.difference <= self.allowed


def compared(ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> Parity:
    """Two networks' logits ``N x K`` of the same images. tolerance: as a share of the largest logit."""
    scale = float(np.abs(ours).max())
    allowed = tolerance * max(1.0, scale)
    ahead = ours.max(axis=1) - np.take_along_axis(ours, theirs.argmax(axis=1)[:, None], axis=1)[:, 0]
    changed = int((ahead > 2 * allowed).sum())
    return Parity(len(ours), float(np.abs(ours - theirs).max()), scale, allowed, changed)


def describe(
    trained: TrainedModel, form: str, preprocess: bool, licence: str, sets: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What whoever uses the file must know; JSON in its metadata."""
    height, width = trained.input_size
    below = "; below it the whole image, pressed into the same square" if trained.model.stacked else ""
    photograph = f"shorter side to 8/7 of the input's width, bilinear with antialiasing, centre crop{below}"
    array = "centre crop to the input's proportions, resized to it, bilinear with antialiasing; grey as one channel"
    if preprocess and form == "onnx":
        given = "uint8 N x height x width x 3, upright RGB pixels of any size; the graph resizes and normalises"
    elif preprocess:
        given = f"uint8 N x {height} x {width} x {trained.channels}"
    else:
        given = f"float32 N x {trained.channels} x {height} x {width}, (pixels / 255 - mean) / std"
    return {
        "made_by": "fsgl",
        "task": "image classification; the output is one logit a class",
        "class_names": list(trained.class_names),
        "class_counts": trained.class_counts.tolist(),
        "backbone": trained.experiment.backbone,
        "input": given,
        "preprocess": preprocess,
        "shape": list(trained.shape),
        "scale": None if trained.scale is None else list(trained.scale),
        "resize": photograph if trained.array_size is None else array,
        "mean": list(trained.mean),
        "std": list(trained.std),
        "temperature": trained.temperature,
        "assumed_prior": (trained.assumed_prior / trained.assumed_prior.sum()).tolist(),
        "experiment": trained.experiment.hash,
        "licence": licence,
        "sets": sets,
    }


def export(
    trained: TrainedModel,
    form: str,
    path: Path,
    files: Sequence[ImageFile],
    preprocess: bool | None = None,
    licence: str = "unstated",
    sets: dict[str, Any] | None = None,
) -> Parity:
    """Write the network to ``path``, for ONNX with the module that asks it beside it, and compare.

    form: a key of ``SUFFIXES``.  files: what it is compared on; those that give no image are passed over.  preprocess:
    the graph takes 8-bit pixels and normalises them and, of ONNX, resizes images of any size; None does so for ONNX.
    licence, sets: of the weights, and of classes (runs/prediction_sets.py), for the metadata. Nothing is kept where the
    file answers otherwise than the network (``Parity.ok``). Raises UserError for a missing package, a network that
    cannot be exported, or no readable image.
    """
    preprocess = form == "onnx" if preprocess is None else preprocess
    graph = InferenceGraph(trained, preprocess).eval()
    if form == "safetensors" and preprocess:
        raise UserError("safetensors holds weights and no graph, so --preprocess is of no use there")
    if form == "onnx":
        _check_reader(path.with_name(READER))
    readable, views = _views(trained, files)
    example = torch.from_numpy(views[:2].repeat(2, axis=0)[:2]) if preprocess else _normalised(trained, views[:2])
    metadata = describe(trained, form, preprocess, licence, sets)
    try:
        if form == "onnx":
            content = _onnx(graph, example, metadata, trained.shape)
            theirs = _asked(content, readable)
        else:
            content, answer = {"torch": _torch, "safetensors": _safetensors}[form](graph, example, metadata)
            groups = (views[i : i + 50] for i in range(0, len(views), 50))
            theirs = np.concatenate(
                [answer(group if preprocess else _normalised(trained, group).numpy()) for group in groups]
            )
    except ImportError as error:
        raise UserError(f"--format {form} needs {error.name}: pip install 'fsgl[onnx]'") from None
    tolerance = VIEW_TOLERANCE if form == "onnx" and preprocess else TOLERANCE
    parity = compared(predict_views(trained, list(views)), theirs, tolerance)
    if parity.ok:
        write_atomically(path, content)
        if form == "onnx":
            write_atomically(path.with_name(READER), module_text().encode())
    return parity


def module_text() -> str:
    """The module that is written beside an ONNX file: three of ours as one."""
    parts = []
    for number, module in enumerate(MODULES):
        source = inspect.getsource(importlib.import_module(module))
        lines = source.splitlines()
        for node in reversed(ast.parse(source).body):
            text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            origin = (node.module or "").split(".")[0] if isinstance(node, ast.ImportFrom) else ""
            if text or origin == "fsgl" or (origin == "__future__" and number):
                assert node.end_lineno is not None
                del lines[node.lineno - 1 : node.end_lineno]
        parts.append("\n".join(lines).strip())
    return "\n\n\n".join((READER_HEAD, *parts)) + "\n"


def _check_reader(path: Path) -> None:
    try:
        if not path.read_text().startswith(READER_HEAD.splitlines()[0]):
            raise UserError(f"{path} is not of fsgl and would be replaced; name another folder with --output")
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None


def _views(trained: TrainedModel, files: Sequence[ImageFile]) -> tuple[list[ImageFile], np.ndarray]:
    """Those of the files that give images, and what the network is shown of them."""
    trained, _ = scaled_for(trained, files)
    readable, views = [], []
    for file in files:
        with contextlib.suppress(BadImage):
            image = open_in_set(file.root, file.relative, trained.shape.enough, trained.scale)
            views.append(view(image, trained.shape))
            readable.append(file)
    if not views:
        raise UserError("none of the images to compare on can be read")
    return readable, np.stack(views)


def _asked(content: bytes, files: Sequence[ImageFile]) -> np.ndarray:
    """Logits ``N x K`` of image files, by the module that is written beside the model."""
    with tempfile.TemporaryDirectory() as folder:
        (path := Path(folder) / READER).write_text(module_text())
        spec = importlib.util.spec_from_file_location("fsgl_reader", path)
        assert spec is not None
        assert spec.loader is not None
        spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
        classifier = module.Classifier(content)
        return np.stack([classifier.logits(file.root / file.relative) for file in files])


def _normalised(trained: TrainedModel, views: np.ndarray) -> Tensor:
    from fsgl.data.stream.transforms import normalise

    return normalise(views, trained.mean, trained.std).contiguous()


Made = tuple[bytes, Callable[[np.ndarray], np.ndarray]]


def _program(graph: InferenceGraph, example: Tensor) -> torch.export.ExportedProgram:
    if len(example) < 2:  # an example of one would fix the batch at one
        example = example.repeat(2, *[1] * (example.ndim - 1))
    in_place: list[Any] = [module for module in graph.modules() if getattr(module, "inplace", False)]
    for module in in_place:  # the figures stay the same; torch's exporter takes half as long again to undo it
        module.inplace = False
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
    return content, _answering(torch.export.load(io.BytesIO(content)).module())


def _answering(network: nn.Module) -> Callable[[np.ndarray], np.ndarray]:
    def answer(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            logits: np.ndarray = network(torch.from_numpy(images)).numpy()
        return logits

    return answer


def _onnx(graph: InferenceGraph, example: Tensor, metadata: dict[str, Any], shape: Shape) -> bytes:
    import onnx
    import onnxruntime  # noqa: F401  the comparison needs it
    import onnxscript  # noqa: F401  torch's exporter needs it, and says so at length

    program = _program(graph, example)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # the exporter's own, of its own workings
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        name = VIEW if graph.preprocess else "images"
        made = torch.onnx.export(
            program, (), dynamo=True, input_names=[name], output_names=["logits"], verbose=False, optimize=True
        )
        assert made is not None
        made.save(path := str(Path(folder) / "model.onnx"), external_data=False)
        model = onnx.load(path)
    if graph.preprocess:
        model = with_view(model, shape)
    onnx.helper.set_model_props(model, {name: _text(value) for name, value in metadata.items()})
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def _safetensors(graph: InferenceGraph, example: Tensor, metadata: dict[str, Any]) -> Made:
    from safetensors.torch import load, save

    weights = {name: value.contiguous() for name, value in graph.state_dict().items()}
    content: bytes = save(weights, {name: _text(value) for name, value in metadata.items()})
    graph.load_state_dict(load(content))
    return content, _answering(graph)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
