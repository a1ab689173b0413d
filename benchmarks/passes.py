"""What was tried to make the bare passes of an FSGL step faster on a CPU, beside how training does it; for speed.py."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from step import interleaved
from torch import Tensor, nn

from fsgl.engine.memory import keep_freed_memory
from fsgl.models.backbones import build_backbone

TRIED = (("resnet20-slim", 64, 9), ("resnet34", 8, 5))  # backbone, batch size, repeats

ONE_PASS = "another method: BatchNorm's statistics are then of both views"
ONE_GRAPH = "another method: both views are learnt from, in both of SAM's passes; no view can do without"
OTHER_METHODS = (ONE_PASS, ONE_GRAPH)

# Given "default" or "kept", backbone, batch size and repeats: seconds of the passes in a process of its own, or None.
InChild = Callable[[str, str, int, int], float | None]


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Within: torch computes on so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Within: numbers too small for a normal float are 0."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def without_onednn() -> Iterator[None]:
    """Within: torch's own convolutions."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="TF32 acceleration")  # of Intel's GPUs; the switch speaks of them too
        with torch.backends.mkldnn.flags(enabled=False):
            yield


class Passes:
    """The bare passes of one FSGL step: forward and backward of two views, twice, and variations of them."""

    def __init__(self, backbone: str, batch_size: int) -> None:
        torch.manual_seed(0)
        self.net = build_backbone(backbone).to(memory_format=torch.channels_last).train()
        self.views = tuple(self.images(batch_size) for _ in range(2))

    @staticmethod
    def images(count: int) -> Tensor:
        """Random images, channels-last."""
        return torch.randn(count, 3, 32, 32).to(memory_format=torch.channels_last)

    def run(
        self,
        context: Callable[[], AbstractContextManager[object]] = nullcontext,
        net: nn.Module | None = None,
        views: Sequence[Tensor] | None = None,
        one_graph: bool = False,
        keep: bool = False,
    ) -> None:
        """net, views: in place of the default. one_graph: only the first view's. keep: gradients zeroed, not freed."""
        net, views = net or self.net, views or self.views
        with context():
            for _ in range(2):
                net.zero_grad(set_to_none=not keep)
                total = net(views[0]).sum()
                for view in views[1:]:
                    with torch.no_grad() if one_graph else nullcontext():
                        more = net(view).sum()
                    total = total + more
                total.backward()

    def variations(self) -> dict[str, tuple[str, Callable[[], None]]]:
        """What each is called, what to know of it, and the function. The first is how training does it."""
        plain = copy.deepcopy(self.net).to(memory_format=torch.contiguous_format)
        many = torch.get_num_threads()
        other = 1 if many > 1 else 2
        return {
            "default": ("", self.run),
            "contiguous (NCHW) layout": ("", partial(self.run, net=plain, views=[v.contiguous() for v in self.views])),
            f"{other} thread{'s' * (other > 1)}": (f"default: {many}", partial(self.run, partial(threads, other))),
            "both views in one forward pass": (
                ONE_PASS,
                partial(self.run, views=[torch.cat(self.views).to(memory_format=torch.channels_last)]),
            ),
            "second view without a graph": (
                ONE_GRAPH,
                partial(self.run, one_graph=True),
            ),
            "gradients zeroed, not freed": ("zero_grad(set_to_none=False)", partial(self.run, keep=True)),
            "without oneDNN": ("", partial(self.run, without_onednn)),
            "denormals flushed to zero": ("", partial(self.run, flushed_denormals)),
        }


def in_this_process(way: str, backbone: str, batch_size: int, repeats: int) -> float | None:
    """Median seconds of the default passes, with freed memory "kept" or as by "default"; None if it cannot be kept."""
    if way == "kept" and not keep_freed_memory():
        return None
    return interleaved([Passes(backbone, batch_size).run], repeats)[0]


def try_variations(backbone: str, batch_size: int, repeats: int, in_child: InChild) -> dict[str, Any]:
    """Seconds of every variation of the bare passes, and their ratio to the default's; below 1 is faster."""
    passes = Passes(backbone, batch_size)
    named = passes.variations()
    times = interleaved([function for _, function in named.values()], repeats)
    rows = [
        {
            "what": what, "note": note, "seconds": each, "ratio": each / times[0],
            "same_method": note not in OTHER_METHODS,
        }
        for (what, (note, _)), each in zip(named.items(), times, strict=True)
    ]  # fmt: skip
    rows.append(try_bf16(passes, repeats))
    # What malloc does is of a whole process: two processes of each kind, in turns, and the lower of their medians.
    pairs = [[in_child(way, backbone, batch_size, repeats) for way in ("default", "kept")] for _ in range(2)]
    default, kept = ([seconds for seconds in column if seconds is not None] for column in zip(*pairs, strict=True))
    if default and kept:
        note = "glibc's mallopt, in processes of their own beside the default's"
        seconds = min(kept)
        ratio = seconds / min(default)
        rows.append({
            "what": "freed memory kept", "note": note, "seconds": seconds, "ratio": ratio, "same_method": True,
        })  # fmt: skip
    return {"backbone": backbone, "batch_size": batch_size, "rows": rows}


def try_bf16(passes: Passes, repeats: int) -> dict[str, Any]:
    """The row of bf16 autocast: of a batch of 2 and, unless that shows bfloat16 to be emulated, of the whole batch."""
    bf16 = partial(torch.autocast, "cpu", torch.bfloat16)

    def both(views: Sequence[Tensor], times: int) -> list[float]:
        return interleaved([partial(passes.run, context, views=views) for context in (nullcontext, bf16)], times)

    note = "other rounding; batch 2, beside float32 in the same way"
    default, seconds = both([view[:2] for view in passes.views], 1)
    if seconds < 3 * default:
        note = "other rounding"
        default, seconds = both(passes.views, repeats)
    return {"what": "bf16 autocast", "note": note, "seconds": seconds, "ratio": seconds / default, "same_method": True}
