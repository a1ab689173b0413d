"""Classes by their training counts: their order, and the group of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def class_order(counts_K: Sequence[float] | Any) -> list[int]:
    """Class indices, the most frequent class first; equal counts in the order of their indices.

    >>> from fsgl.evaluation.classes import class_order
    >>> class_order([5, 100, 20, 100])
    [1, 3, 2, 0]
    """
    counts = [float(count) for count in counts_K]
    return sorted(range(len(counts)), key=lambda k: (-counts[k], k))


def group_of(count: float, many: float, few: float) -> str:
    """The group of a class with so many training images: "many" above ``many``, "few" up to ``few``, else "medium".

    >>> from fsgl.evaluation.classes import group_of
    >>> [group_of(count, many=100, few=20) for count in (101, 100, 21, 20)]
    ['many', 'medium', 'medium', 'few']
    """
    return "many" if count > many else "few" if count <= few else "medium"
