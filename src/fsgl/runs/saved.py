"""A run folder, read again: its record, its epochs, its network."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fsgl.data.images.pixels import Shape
from fsgl.data.images.scale import SIXTEEN_BITS, Scale
from fsgl.data.load import LoadedData, load_data
from fsgl.data.readers.arrays import KEPT
from fsgl.errors import UserError, first_line
from fsgl.files import read_json
from fsgl.models.assemble import RecognitionNet
from fsgl.models.light import merge_lora
from fsgl.recipes.experiment import Experiment
from fsgl.runs.folder import how_to_go_on, recorded
from fsgl.runs.network import ModelWithData, build_model, build_network

_LISTS = ("train_list", "val_list", "test_list")
WEIGHTS = {"last": "model.safetensors", "best-val": "best-val.safetensors"}


def read_record(folder: Path) -> dict[str, Any]:
    """The content of a run's experiment.json. Raises UserError where there is no run, or no such record."""
    if not (folder / "experiment.json").exists():
        runs = sorted(str(found.parent) for found in folder.glob("*/experiment.json"))
        hint = f"; it holds the runs {', '.join(runs)}" if runs else "; name a folder that fsgl train made"
        raise UserError(f"{folder} holds no run (no experiment.json){hint}")
    return recorded(folder)


def read_experiment(path: Path) -> Experiment:
    """The experiment of a record, or of a bare settings file."""
    content = read_json(path)
    settings = content.get("settings", content) if isinstance(content, dict) else content
    return _where_it_lies(Experiment.from_json(settings, str(path)), path.parent, content)


def experiment_of(folder: Path, record: dict[str, Any]) -> Experiment:
    """The experiment of a run's record."""
    return _where_it_lies(Experiment.from_json(record["settings"], str(folder / "experiment.json")), folder, record)


def _where_it_lies(experiment: Experiment, folder: Path, record: dict[str, Any]) -> Experiment:
    """With the arrays that were kept in the run's folder, wherever that has been moved to, and with relative paths of
    images from where the run was begun. None of this is part of the experiment's hash."""
    kept = folder / KEPT
    if experiment.data.name == "own" and Path(experiment.data.root).name == KEPT and kept.exists():
        return replace(experiment, data=replace(experiment.data, root=str(kept)))
    return _from_where_it_began(experiment, record, ("root", "images"))


def _from_where_it_began(experiment: Experiment, record: dict[str, Any], names: Sequence[str]) -> Experiment:
    """With the relative paths of these settings taken from the folder in which the run was begun, where they are there;
    otherwise from here, as when a project was moved with its images and its runs."""
    began = record.get("begun_in")
    if not isinstance(began, str) or began == os.getcwd():
        return experiment
    written = {name: value for name in names if (value := getattr(experiment.data, name)) is not None}
    there = {name: Path(began) / value for name, value in written.items()}
    found: dict[str, Any] = {name: str(path) for name, path in there.items() if path.exists()}
    return replace(experiment, data=replace(experiment.data, **found)) if found else experiment


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl; a torn last line, left by a kill, is passed over."""
    path = folder / "metrics.jsonl"
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            if number < len(lines):
                raise UserError(f"{path}, line {number}: not valid JSON ({error})") from None
            break
        if not isinstance(row, dict) or not row.keys() >= {"epoch", "lr", "loss", "seconds", "images", "val", "test"}:
            raise UserError(f"{path}, line {number}: not the record of an epoch")
        rows.append(row)
    return rows


def read_predictions(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of predictions.npz. Raises UserError where it is missing or damaged."""
    path = folder / "predictions.npz"
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as saved:
            found = {name: saved[name] for name in saved.files}
        if not {"logits", "labels", "class_counts"} <= found.keys():
            raise ValueError("it lacks logits, labels or class_counts")
    except Exception as error:  # of zipfile, zlib, NumPy and the disk; whatever it is, the file is of no use
        raise UserError(f"{path}: no predictions of a run ({first_line(error)})") from None
    return found


def load_network(
    folder: Path, weights: str = "last", device: torch.device | str = "cpu", data: LoadedData | None = None
) -> ModelWithData:
    """The trained network of a run with its data. weights: a key of ``WEIGHTS``.  data: the run's, where they are in
    memory; None reads them. Raises UserError, also for data that are not the run's."""
    record = read_record(folder)
    experiment = _from_where_it_began(experiment_of(folder, record), record, _LISTS)
    _require_weights(folder, weights, record)
    data = data or load_data(experiment.data)
    if data.hash != record["data"]["split_hash"]:
        raise UserError(f"{folder}: trained and tested on other images than these (the data's hash differs)")
    network = build_network(experiment, data, torch.device(device), pretrained=False)
    _load_weights(network.model, folder, weights, record)
    return network


@dataclass(frozen=True)
class TrainedModel:
    """A trained network without its data: what is needed to use it elsewhere.

    mean, std: of each channel, in [0, 1].  image_size: side in pixels of the view of a photograph; array_size: height
    and width where the network was trained on images of that size in memory, else None.  class_counts: training images.
    temperature: fitted on validation images; 1 where there were none.  assumed_prior: class weights that its
    probabilities hold for, of any sum.  scale: by which images of more than 8 bits a channel are shown; None where it
    was trained on none.
    """

    model: RecognitionNet
    experiment: Experiment
    class_names: tuple[str, ...]
    class_counts: np.ndarray
    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int
    array_size: tuple[int, int] | None
    temperature: float
    assumed_prior: np.ndarray
    scale: Scale | None = None

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for RGB."""
        return len(self.mean)

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of what the network is given."""
        return self.array_size or (self.image_size * (1 + self.model.stacked), self.image_size)

    @property
    def shape(self) -> Shape:
        """What it is shown of an image at test."""
        return Shape(*self.input_size, self.channels, photograph=self.array_size is None, whole=self.model.stacked)


def load_model(folder: Path, weights: str = "last", device: torch.device | str = "cpu") -> TrainedModel:
    """The trained network of a run, in evaluation mode; its images are not needed. Raises UserError."""
    record = read_record(folder)
    experiment = _from_where_it_began(experiment_of(folder, record), record, _LISTS)
    _require_weights(folder, weights, record)
    data, result = record["data"], record.get("result") or {}
    try:
        mean, std = (tuple(float(value) for value in data[name]) for name in ("mean", "std"))
        size, image_size = data["array_size"], int(data["image_size"])
        array_size = None if size is None else (int(size[0]), int(size[1]))
        counts = np.array(record["class_counts"], dtype=np.int64)
        names = tuple(str(name) for name in record["class_names"])
        # Before there was a scale, the upper 8 of 16 bits were taken.
        scale = Scale.read(data["scale"]) if "scale" in data else SIXTEEN_BITS
        temperature = float(result.get("temperature") or 1.0)
        if not (len(mean) == len(std) in (1, 3) and len(counts) == len(names) and temperature > 0):
            raise ValueError
    except (LookupError, TypeError, ValueError, OverflowError):
        raise UserError(f"{folder}: says too little of its images to be used without them; train it again") from None
    model, _ = build_model(experiment, len(mean), torch.from_numpy(counts), pretrained=False)
    assert isinstance(model, RecognitionNet)
    _load_weights(model, folder, weights, record)
    merge_lora(model.backbone)  # what is used elsewhere is the network alone
    model = model.to(memory_format=torch.channels_last).to(device).eval()
    prior = assumed_prior(record, experiment, counts)
    return TrainedModel(model, experiment, names, counts, mean, std, image_size, array_size, temperature, prior, scale)


def at_white_level(trained: TrainedModel, white: float | None) -> TrainedModel:
    """The network, shown images of more than 8 bits with white at this value; None leaves the run's own scale."""
    if white is None:
        return trained
    black = 0.0 if trained.scale is None else trained.scale.black
    return replace(trained, scale=Scale(black, white, given=True))


def assumed_prior(record: dict[str, Any], experiment: Experiment, counts: np.ndarray) -> np.ndarray:
    """Class weights ``K``, of any sum, that a run's probabilities hold for: as adjusted, or as its method says."""
    adjusted = (record.get("adjustment") or {}).get("assumed_prior")
    if adjusted is not None:
        return np.array(adjusted, dtype=np.float64)
    if experiment.method.assumed_prior == "training":
        return np.maximum(counts, 1).astype(np.float64)
    return np.ones(len(counts))


def _require_weights(folder: Path, weights: str, record: dict[str, Any]) -> None:
    if not (folder / WEIGHTS[weights]).exists():
        path, status = folder / WEIGHTS[weights], record.get("status")
        raise UserError(f"{path}: no such weights; the run's status is '{status}'{_unfinished(folder, status)}")


def _unfinished(folder: Path, status: object) -> str:
    """What to do about a run that is not complete, if anything can be done; for the end of a message."""
    return f"; to go on: {how_to_go_on(folder)}" if str(status).startswith(("interrupted", "failed")) else ""


def require_result(folder: Path, record: dict[str, Any]) -> None:
    """Raises UserError for a run that has none yet."""
    if not record.get("result"):
        status = record["status"]
        raise UserError(
            f"{folder}: the run's status is '{status}'; there is nothing to report yet{_unfinished(folder, status)}"
        )


def require_complete(folder: Path, record: dict[str, Any], what: str) -> None:
    """Raises UserError for a run that is not. what: that cannot be done."""
    if (status := record["status"]) != "complete":
        raise UserError(f"{folder}: the run's status is '{status}'; {what}{_unfinished(folder, status)}")


def _load_weights(model: nn.Module, folder: Path, name: str, record: dict[str, Any]) -> None:
    import safetensors.torch

    path = folder / WEIGHTS[name]
    try:
        content = path.read_bytes()
        weights = safetensors.torch.load(content)
        if "temperature_K" in weights:  # of an adjusted run; no network is trained with it
            model.register_buffer("temperature_K", torch.ones_like(weights["temperature_K"]))
        model.load_state_dict(weights)
    except (safetensors.SafetensorError, RuntimeError, ValueError, LookupError, OSError) as error:
        reason = first_line(error)
        raise UserError(f"{path}: does not hold this run's weights ({reason})") from None
    if _trained_by(content) != record.get("hash"):
        raise UserError(f"{path}: belongs to another run than {folder / 'experiment.json'} (their hashes differ)")


def _trained_by(safetensors_file: bytes) -> str | None:
    """The hash of the experiment that wrote these weights: in the header, JSON after its length in 8 bytes."""
    length = int.from_bytes(safetensors_file[:8], "little")
    metadata = json.loads(safetensors_file[8 : 8 + length]).get("__metadata__") or {}
    return metadata.get("experiment")
