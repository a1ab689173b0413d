"""How many classes a mean over classes rests on, where some have no test images.

groups: of ``evaluation.metrics.evaluate_predictions``; those of before 0.2 have no ``tested``, and nothing is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UNTESTED = "untested"


def is_untested(groups: Mapping[str, Any] | None, group: str) -> bool:
    """Whether a group has classes, and none of them test images."""
    tested = (groups or {}).get("tested") or {}
    return tested.get(group) == 0 and groups is not None and groups["classes"][group] > 0


def of_classes(groups: Mapping[str, Any], group: str | None = None) -> str:
    """ "1 of 3 classes": those with test images, of a group or of all; "" where all have some."""
    tested, classes = groups.get("tested"), groups["classes"]
    if tested is None:
        return ""
    have, of = (sum(counts.values()) if group is None else counts[group] for counts in (tested, classes))
    return f"{have:,} of {of:,} classes" if have < of else ""


def rests_on(groups: Mapping[str, Any], mean: str = "balanced") -> list[str]:
    """A sentence on the means over classes, or none where every class has test images. mean: what it is called."""
    if not (whole := of_classes(groups)):
        return []
    parts = [
        f"{group} {UNTESTED}" if is_untested(groups, group) else f"{group} of {some}"
        for group in groups["classes"] if (some := of_classes(groups, group))
    ]  # fmt: skip
    return [f"Not all classes have test images: {mean} is of {whole} ({'; '.join(parts)})."]
