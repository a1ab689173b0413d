"""Where the time of a training step goes: seconds, share of the machine's matrix rate, operations, gaps.

Used by ``paper_run.py profile``. The steps are those of ``fsgl.runs.train.train``, watched from its stream of
batches: first timed by themselves, in blocks with the device synchronised between them, then once more under
torch.profiler.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from fsgl.data.load import LoadedData
from fsgl.data.stream.streams import Stream
from fsgl.engine.runtime import Runtime
from fsgl.errors import UserError
from fsgl.recipes.experiment import Experiment
from fsgl.runs.saved import read_record
from fsgl.runs.train import train

TOP = 10
ON_DEVICE = {"kernel", "gpu_memcpy", "gpu_memset"}  # categories of a trace, by torch's profiler


class Seen(Exception):
    """Enough steps were watched; nothing is wrong."""


class WatchedStream:
    """A stream that calls ``tick`` each time a step asks for its batch."""

    def __init__(self, inner: Stream, tick: Callable[[], None]) -> None:
        self._inner, self._tick = inner, tick

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def batches(self, *arguments: Any, **named: Any) -> Iterator[Any]:
        """The inner stream's batches."""
        for batch in self._inner.batches(*arguments, **named):
            self._tick()
            yield batch


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class WatchedData(LoadedData):
    """Loaded data whose streams are watched.  needed: steps that must lie within one epoch."""

    tick: Callable[[], None]
    needed: int

    def stream(self, *arguments: Any, **named: Any) -> Any:
        """The training stream. Raises UserError where an epoch of it is too short."""
        inner = super().stream(*arguments, **named)
        if inner.steps_per_epoch < self.needed:
            steps = inner.steps_per_epoch
            raise UserError(f"an epoch has {steps} steps, and {self.needed} are wanted; lower --steps or --repeats")
        return WatchedStream(inner, self.tick)


class Watch:
    """Warm-up, then ``repeats`` timed blocks of ``steps`` steps, then one such block under the profiler."""

    def __init__(self, warmup: int, steps: int, repeats: int, device: torch.device) -> None:
        self.warmup, self.steps, self.repeats, self.device = warmup, steps, repeats, device
        self.needed = warmup + (repeats + 1) * steps + 1
        self.begun = 0
        self.marks: list[float] = []
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
        self.profiler = profile(activities=activities, acc_events=True)  # torch 2.11 warns without the latter

    def tick(self) -> None:
        """A step has its batch and begins."""
        done, self.begun = self.begun - self.warmup, self.begun + 1
        if done < 0 or done % self.steps:
            return
        self._mark()
        if done == self.repeats * self.steps:
            self.profiler.start()
            self._mark()
        if done == (self.repeats + 1) * self.steps:
            self.profiler.stop()
            raise Seen

    def _mark(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.marks.append(time.perf_counter())

    def seconds_per_step(self) -> list[float]:
        """Of each timed block, unprofiled."""
        marks = self.marks[: self.repeats + 1]
        return [(end - start) / self.steps for start, end in itertools.pairwise(marks)]

    def profiled_seconds(self) -> float:
        """Of the block under the profiler."""
        return self.marks[-1] - self.marks[-2]


def profile_steps(
    experiment: Experiment, data: LoadedData, runtime: Runtime, warmup: int, steps: int, repeats: int
) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """The figures, and the record of the run that was watched. Raises UserError."""
    if warmup < 0 or min(steps, repeats) < 1:
        raise UserError("--warmup must be 0 or more, --steps and --repeats 1 or more")
    device = runtime.torch_device()
    watch = Watch(warmup, steps, repeats, device)
    fields = {item.name: getattr(data, item.name) for item in dataclasses.fields(data)}
    with TemporaryDirectory() as folder:
        try:
            watched = WatchedData(**fields, tick=watch.tick, needed=watch.needed)
            train(experiment, Path(folder) / "run", runtime, data=watched)
        except Seen:
            pass
        else:
            raise UserError("the run ended before enough steps were seen")
        record = read_record(Path(folder) / "run")
        trace = Path(folder) / "trace.json"
        watch.profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    each = watch.seconds_per_step()
    # A pass is forward and backward of one batch: three times the forward's multiply-adds, two operations each.
    cost = record["cost"]
    flop = 6 * cost["multiply_adds_per_image"] * cost["passes_per_step"] * experiment.optim.batch_size
    rate, dtype = matrix_rate(device)
    seconds = statistics.median(each)
    figures: dict[str, Any] = {
        "seconds_per_step": seconds,
        "seconds_per_step_of_each_block": each,
        "warmup": warmup,
        "steps_a_block": steps,
        "flop_per_step": flop,
        "matrix_flop_per_second": rate,
        "matrix_dtype": dtype,
        "share_of_matrix_rate": flop / seconds / rate,
        "peak_gpu_bytes": peak,
        "profiled_seconds_per_step": watch.profiled_seconds() / steps,
        "top_operations": _operations(watch, steps),
        "device": None,
    }
    if device.type == "cuda":
        figures["device"] = device_figures(events, watch.profiled_seconds(), steps)
        figures["device"]["idle_share_unprofiled"] = 1 - figures["device"]["busy_seconds_per_step"] / seconds
    return figures, record


def device_figures(events: Sequence[Mapping[str, Any]], window: float, steps: int) -> dict[str, Any]:
    """What a trace says of the device: its busy share, the kernels by time, the longest gaps between them.

    events: of a Chrome trace, times in microseconds.  window: seconds of the profiled block, wall time.
    Kernels of several streams may overlap; busy is the union of their times.
    """
    spans = sorted(
        (event["ts"], event["ts"] + event["dur"], event["name"])
        for event in events
        if event.get("ph") == "X" and event.get("cat") in ON_DEVICE
    )
    seconds: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    gaps: list[dict[str, Any]] = []
    busy, end, last = 0.0, None, ""
    for start, stop, name in spans:
        seconds[name] += (stop - start) / 1e6
        calls[name] += 1
        if end is not None and start > end:
            gaps.append({"seconds": (start - end) / 1e6, "after": last, "before": name})
        if end is None or stop > end:
            busy += (stop - (start if end is None else max(start, end))) / 1e6
            end, last = stop, name
    order = sorted(seconds, key=lambda name: -seconds[name])[:TOP]
    return {
        "busy_seconds_per_step": busy / steps,
        "idle_share": 1 - busy / window,
        "kernels_per_step": len(spans) / steps,
        "top_kernels": [
            {"name": name, "seconds_per_step": seconds[name] / steps, "calls_per_step": calls[name] / steps}
            for name in order
        ],
        "gaps_per_step": len(gaps) / steps,
        "longest_gaps": sorted(gaps, key=lambda gap: -gap["seconds"])[:TOP],
    }


def matrix_rate(device: torch.device) -> tuple[float, str]:
    """Operations a second of a large matrix product on random data, median of ten, and its type of number.

    bfloat16 of side 8192 on CUDA; float32 of side 1024 elsewhere.
    """
    side, dtype = (8192, torch.bfloat16) if device.type == "cuda" else (1024, torch.float32)
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    times = []
    for _ in range(13):
        start = time.perf_counter()
        left @ right
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return 2 * side**3 / statistics.median(times[3:]), str(dtype).removeprefix("torch.")


def _operations(watch: Watch, steps: int) -> list[dict[str, Any]]:
    averages = sorted(watch.profiler.key_averages(), key=lambda item: -item.self_cpu_time_total)[:TOP]
    return [
        {
            "name": item.key,
            "host_seconds_per_step": item.self_cpu_time_total / 1e6 / steps,
            "calls_per_step": item.count / steps,
        }
        for item in averages
    ]
