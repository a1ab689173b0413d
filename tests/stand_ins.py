"""What stands in tests for slower parts, and counts what it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch

from fsgl.commands.cli import main
from fsgl.comparison.grid import Cell
from fsgl.models import assemble


def cells_here(names: list[str]) -> Callable[..., Iterator[Cell]]:
    """In place of ``run_grid``: the cells one after another in this process. names: takes those of their folders."""

    def here(cells: Sequence[Cell], devices: object, options: Sequence[str], threads: object) -> Iterator[Cell]:
        while cell := next((cell for cell in cells if cell.ready), None):
            names.append(cell.folder.name)
            assert main(cell.command(options, "cpu")[3:]) == 0
            cell.status = "complete"
            yield cell

    return here


def counted_passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images go through a backbone from now on, a call each."""
    counts: list[int] = []
    seen: Any = assemble.seen

    def counting(backbone: torch.nn.Module, images: torch.Tensor, stacked: bool) -> torch.Tensor:
        counts.append(len(images))
        passed: torch.Tensor = seen(backbone, images, stacked)
        return passed

    monkeypatch.setattr(assemble, "seen", counting)
    return counts
