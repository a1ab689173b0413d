"""The picture at the end of each training, composed but not painted.

Laying it out and painting it takes longer than many a test's training. Hundreds of trainings end with it, and a few
tests look at it: those ask for ``curves_painted``, and tests/report/test_curves.py draws of itself. For the others it
is composed of their own figures, so that what cannot be drawn still fails, and an empty file stands for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fsgl.report import curves


def compose_curves(
    histories: Mapping[str, curves.History], path: Path, title: str = "", *, class_counts: Sequence[int] | None = None,
    class_names: Sequence[str] | None = None,
) -> Path:  # fmt: skip
    """In place of ``fsgl.report.curves.draw_curves`` in ``fsgl.report.summary``."""
    from matplotlib.figure import Figure

    curves._fill(Figure(), histories, title, class_counts, class_names)
    path.touch()
    return path
