"""A run folder, read again: its record, its epochs, its network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from fsgl.data.load import load_data
from fsgl.errors import UserError
from fsgl.experiment import Experiment
from fsgl.files import read_json
from fsgl.folder import recorded
from fsgl.network import Network, build_network

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
    return Experiment.from_json(settings, str(path))


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


def load_network(folder: Path, weights: str = "last", device: torch.device | str = "cpu") -> Network:
    """The trained network of a run with its data. weights: a key of ``WEIGHTS``. Raises UserError."""
    import safetensors.torch

    record = read_record(folder)
    experiment = Experiment.from_json(record["settings"], str(folder / "experiment.json"))
    path = folder / WEIGHTS[weights]
    if not path.exists():
        raise UserError(f"{path}: no such weights; the run's status is '{record.get('status')}'")
    data = load_data(experiment.data)
    if data.hash != record["data"]["split_hash"]:
        raise UserError(f"{folder}: trained and tested on other images than these (the data's hash differs)")
    network = build_network(experiment, data, torch.device(device), pretrained=False)
    try:
        content = path.read_bytes()
        network.model.load_state_dict(safetensors.torch.load(content))
    except (safetensors.SafetensorError, RuntimeError, ValueError, LookupError, OSError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: does not hold this run's weights ({reason})") from None
    if _trained_by(content) != record.get("hash"):
        raise UserError(f"{path}: belongs to another run than {folder / 'experiment.json'} (their hashes differ)")
    return network


def _trained_by(safetensors_file: bytes) -> str | None:
    """The hash of the experiment that wrote these weights: in the header, JSON after its length in 8 bytes."""
    length = int.from_bytes(safetensors_file[:8], "little")
    metadata = json.loads(safetensors_file[8 : 8 + length]).get("__metadata__") or {}
    return metadata.get("experiment")
