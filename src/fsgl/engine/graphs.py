"""A training step recorded once as a CUDA graph and replayed: one launch instead of some thousand.

Small images leave a large GPU waiting for the host, which takes longer to launch a kernel than the GPU to run it. A
graph holds the launches of the whole update, both passes of SAM and the optimizer, on fixed memory: a batch is copied
into it and the graph replayed. What is constant in a graph is the same in each replay, so an epoch, with its learning
rate and progress, records its own (one more launch of a step on the host); a batch of another size, the last of an
epoch, takes the ordinary way. The arithmetic is that of the ordinary step, kernel by kernel.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor

from fsgl.engine.step import Update
from fsgl.types import Losses, Mixed, Share


class Capture(Protocol):
    """Records steps."""

    def warm_up(self, function: Callable[[], Losses]) -> Losses:
        """Run a step that is not recorded, as one of those before."""
        ...

    def record(self, function: Callable[[], Losses]) -> tuple[Losses, Callable[[], None]]:
        """The function's result, which each replay overwrites, and the replay. The function itself may not run."""
        ...


class GraphedUpdate:
    """In place of an ``Update``: the same steps, replayed.

    warm_up: first steps that are taken the ordinary way, which lets libraries choose their algorithms and the optimizer
    make its buffers before anything is recorded.  capture: None records CUDA graphs.
    """

    def __init__(self, update: Update, warm_up: int = 3, capture: Capture | None = None) -> None:
        self._update = update
        self._before_capture = warm_up
        self._capture: Capture = capture or CudaCapture()
        self._recorded_for: Any = None
        self._mixed: Mixed | None = None
        self._images = 0
        self._replay: Callable[[], None] = lambda: None
        self._losses: Losses | None = None

    def __call__(self, mixed: Mixed, progress: float, share: Share) -> Losses:
        if self._before_capture > 0:
            self._before_capture -= 1
            return self._capture.warm_up(lambda: self._update(mixed, progress, share))
        # By the whole step's size, so that all processes record, replay or do neither at the same step.
        if share.total > self._images:  # the first, or one after an epoch's last batch was the first
            self._mixed = Mixed(*(tuple(map(torch.empty_like, part)) for part in (mixed.images, mixed.targets)))
            self._images, self._losses = share.total, None
        if self._mixed is None or share.total < self._images:
            with _uncompiled():
                return self._update(mixed, progress, share)
        _copy(mixed, self._mixed)
        rates = tuple(float(group["lr"]) for group in self._update.optimizer.param_groups)
        if self._losses is None or self._recorded_for != (progress, share, rates):
            static = self._mixed
            self._losses, self._replay = self._capture.record(lambda: self._update(static, progress, share))
            self._recorded_for = (progress, share, rates)
        self._replay()
        return self._losses


class CudaCapture:
    """Records CUDA graphs, all in the memory of the first."""

    def __init__(self) -> None:
        self._pool: Any = None

    def warm_up(self, function: Callable[[], Losses]) -> Losses:
        # Aside, as torch asks: what is set up on the default stream would tie a recording to it.
        present, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        aside.wait_stream(present)
        with torch.cuda.stream(aside):
            losses = function()
        present.wait_stream(aside)
        return losses

    def record(self, function: Callable[[], Losses]) -> tuple[Losses, Callable[[], None]]:
        graph = torch.cuda.CUDAGraph()
        # "thread_local": the progress bar's thread may allocate pinned memory meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            losses = function()
        self._pool = graph.pool()
        return losses, graph.replay


def _uncompiled() -> AbstractContextManager[object]:
    """Within: a network that was compiled runs as it is, for another size would be compiled anew: minutes, for one
    batch an epoch."""
    # Nothing is compiled where nobody has loaded the compiler, which takes seconds.
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


def _tensors(mixed: Mixed) -> list[Tensor]:
    return [*mixed.images, *mixed.targets]


def _copy(source: Mixed, target: Mixed) -> None:
    torch._foreach_copy_(_tensors(target), _tensors(source))
