"""Records: one JSON file in results/ for each run or measurement, written by the code that measured it.

kind         "run", "benchmark", "search", "horizon", "profile", "published", "photographs", "fine-tuning", "auto", ...
name         of the file
command      that measured it
date         of the measurement, UTC
environment  commit, versions, machine (engine/environment.py)
content      the figures
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fsgl.errors import UserError
from fsgl.files import read_json, write_json
from fsgl.models.transfer import HUB, PACKAGE

FIELDS = ("kind", "name", "command", "date", "environment", "content")


def write_record(
    folder: Path, kind: str, name: str, command: str, environment: Mapping[str, Any], content: Mapping[str, Any]
) -> Path:
    """Write ``folder/name.json`` and return its path."""
    path = folder / f"{name}.json"
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    values = (kind, name, command, date, dict(environment), dict(content))
    write_json(path, dict(zip(FIELDS, values, strict=True)))
    return path


def read_records(folder: Path, kind: str) -> list[dict[str, Any]]:
    """The records of a kind, by name. Raises UserError for a file that is none."""
    records = []
    for path in sorted(folder.glob("*.json")):
        record = read_json(path)
        if not isinstance(record, dict) or any(field not in record for field in FIELDS):
            raise UserError(f"{path}: not a record (it needs {', '.join(FIELDS)})")
        if record["kind"] == kind:
            records.append(record)
    return records


def run_content(record: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What of a run folder goes into its record: settings, data, cost and every scored epoch's figures.

    record: experiment.json.  history: metrics.jsonl. Per-class accuracy is kept for the last epoch only.
    """
    settings = {**record["settings"], "data": {**record["settings"]["data"]}}
    del settings["data"]["root"]  # where the images lay on one machine is no part of a result, nor a file of weights
    if (settings.get("transfer") or {}).get("weights") not in (None, HUB, PACKAGE):
        settings["transfer"] = {**settings["transfer"], "weights": "file"}
    epochs = []
    for row in history:
        if row["test"] is None:
            continue
        scores = {"val": _brief(row["val"]), "test": _brief(row["test"])}
        epochs.append({"epoch": row["epoch"], "loss": row["loss"], **scores})
    return {
        "settings": settings,
        "hash": record["hash"],
        "data": record["data"],
        "pretrained": record.get("pretrained"),
        "class_counts": record["class_counts"],
        "adjustment": _without_prior(record.get("adjustment")),
        "cost": record["cost"],
        "status": record["status"],
        "train_seconds": record["result"]["train_seconds"],
        "epochs": epochs,
        "last_per_class": history[-1]["test"]["per_class"],
    }


def _without_prior(adjustment: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if adjustment is None:
        return None
    return {name: value for name, value in adjustment.items() if name != "assumed_prior"}


def _brief(metrics: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if metrics is None:
        return None
    return {name: value for name, value in metrics.items() if name != "per_class"}
