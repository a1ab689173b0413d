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
from fsgl.network import Network, build_network

WEIGHTS = {"last": "model.safetensors", "best-val": "best-val.safetensors"}


def read_record(folder: Path) -> dict[str, Any]:
    """The content of a run's experiment.json. Raises UserError where there is no run."""
    path = folder / "experiment.json"
    if not path.exists():
        runs = sorted(str(found.parent) for found in folder.glob("*/experiment.json"))
        hint = f"; it holds the runs {', '.join(runs)}" if runs else "; name a folder that fsgl train made"
        raise UserError(f"{folder} holds no run (no experiment.json){hint}")
    record = read_json(path)
    if not isinstance(record, dict) or "settings" not in record:
        raise UserError(f"{path}: not the record of a run (no 'settings')")
    return record


def read_experiment(path: Path) -> Experiment:
    """The experiment of a record, or of a bare settings file."""
    content = read_json(path)
    settings = content.get("settings", content) if isinstance(content, dict) else content
    return Experiment.from_json(settings, str(path))


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl; a torn last line, left by a kill, is passed over."""
    path = folder / "metrics.jsonl"
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise UserError(f"{path}, line {number}: not valid JSON ({error})") from None
    return rows


def load_network(folder: Path, weights: str = "last", device: torch.device | str = "cpu") -> Network:
    """The trained network of a run with its data. weights: a key of ``WEIGHTS``. Raises UserError."""
    import safetensors

    record = read_record(folder)
    experiment = Experiment.from_json(record["settings"], str(folder / "experiment.json"))
    path = folder / WEIGHTS[weights]
    if not path.exists():
        raise UserError(f"{path}: no such weights; the run is {record.get('status', 'unfinished')}")
    data = load_data(experiment.data)
    if data.hash != record["data"]["split_hash"]:
        raise UserError(f"{folder}: trained and tested on other images than these (the data's hash differs)")
    network = build_network(experiment, data, torch.device(device))
    try:
        from safetensors.torch import load

        network.model.load_state_dict(load(path.read_bytes()))
    except (safetensors.SafetensorError, RuntimeError, OSError) as error:
        raise UserError(f"{path}: does not hold this run's weights ({str(error).splitlines()[0]})") from None
    return network
