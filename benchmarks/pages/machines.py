"""What a record was measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def is_gpu(record: Mapping[str, Any]) -> bool:
    """Whether it was measured on a CUDA device: the record then has the name of the GPU where others have "cpu"."""
    return record["environment"].get("device", "cpu") not in ("cpu", "mps")


def machine_of(record: Mapping[str, Any]) -> str:
    """The GPU, or else the processor."""
    environment = record["environment"]
    return str(environment["device"] if is_gpu(record) else environment["processor"])


def at_a_time(records: Sequence[Mapping[str, Any]]) -> int:
    """Most runs that shared the machine."""
    sessions = (session for record in records for session in record["content"].get("sessions", []))
    return max((session.get("jobs", 1) for session in sessions), default=1)
