"""What a run began with and how much of it was trained: runs that differ in that never stand in one table."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from fsgl.models.transfer import TransferSpec

LIGHT = {"bias": "the biases", "lora": "LoRA adapters"}
_SCRATCH = dataclasses.asdict(TransferSpec())


def transfer_key(run: Mapping[str, Any]) -> str | None:
    """None for training from scratch; else a text, equal for equal weights and equal settings of ``transfer``.

    run: the content of experiment.json or of a run's record, of runs before there was such a setting too. A file of
    weights counts by its SHA-256, wherever it lay.
    """
    settings = {**_SCRATCH, **(run["settings"].get("transfer") or {})}
    if settings == _SCRATCH:
        return None
    sha256 = (run.get("pretrained") or {}).get("sha256")
    if settings["weights"] is not None:
        settings["weights"] = "pretrained"
    return json.dumps([settings, sha256], sort_keys=True)


def describe_transfer(run: Mapping[str, Any]) -> str:
    """The same in words: "trained from scratch", or what with and of what."""
    settings = {**_SCRATCH, **(run["settings"].get("transfer") or {})}
    origin = run.get("pretrained") or {}
    parts = ["trained from scratch"]
    if settings["weights"] is not None:
        kind, source = str(origin.get("kind")), f"`{origin.get('source')}`"
        where = {"hub": source, "package": source, "file": "a file"}.get(kind, "unknown source")
        parts = [f"pretrained weights `{str(origin.get('sha256'))[:12]}` ({where})"]
    elif settings["train"] == "heads":
        parts = ["random weights"]
    if settings["train"] == "heads":
        parts.append("backbone frozen")
    elif settings["train"] in LIGHT:
        parts.append(f"of the backbone {LIGHT[settings['train']]} trained")
    elif settings["backbone_lr"] != 1:
        parts.append(f"backbone fine-tuned at {settings['backbone_lr']:g} of the learning rate")
    elif settings["weights"] is not None:
        parts.append("the whole network fine-tuned")
    if settings["probe_epochs"]:
        parts.append(f"the heads first, {settings['probe_epochs']} epochs on features")
    if settings["layer_decay"] != 1:
        parts.append(f"each layer at {settings['layer_decay']:g} of the rate above it")
    if settings["batch_norm"] == "frozen":
        parts.append("BatchNorm by the statistics that it began with")
    if settings["classifier"] == "cosine":
        parts.append("a cosine classifier" + " begun at class means" * (settings["weights"] is not None))
    if settings["image_size"] is not None:
        parts.append(f"images of side {settings['image_size']}")
    if settings["cached_views"]:
        views = settings["cached_views"]
        parts.append(f"on cached features of {views} view{'s'[: views > 1]}, mixed as features")
    return ", ".join(parts)


def brief_transfer(run: Mapping[str, Any]) -> str:
    """In a word or two, for a title: "" from scratch."""
    settings = {**_SCRATCH, **(run["settings"].get("transfer") or {})}
    words = ["pretrained"] if settings["weights"] is not None else []
    return " ".join([*words, *(["frozen"] if settings["train"] == "heads" else [])])
