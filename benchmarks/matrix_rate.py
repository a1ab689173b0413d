"""How many operations a second a device does where nothing but arithmetic holds it up; for speed.py."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matrix_rates(device: torch.device, sides: Sequence[int], repeats: int = 5) -> dict[str, dict[str, float]]:
    """Operations a second by precision and by what is computed; only precisions that the device multiplies fast."""
    kinds = {"float32": (torch.float32, "highest")}
    if device.type == "cuda":
        kinds |= {"tf32": (torch.float32, "high"), "bf16": (torch.bfloat16, "highest")}
    before, rates = torch.get_float32_matmul_precision(), {}
    for name, (dtype, precision) in kinds.items():
        torch.set_float32_matmul_precision(precision)
        found = rates[name] = {"square products": 0.0}
        for side in sides:
            left, right, out = (torch.randn(side, side, device=device).to(dtype) for _ in range(3))
            rate = 2 * side**3 / fastest(partial(torch.mm, left, right, out=out), device, repeats)
            found["square products"] = max(found["square products"], rate)
        if device.type == "cpu":  # where products may come from a library that leaves half of the vector units idle
            images = torch.randn(8, 256, 16, 16).to(memory_format=torch.channels_last)
            weights = torch.randn(256, 256, 3, 3).to(memory_format=torch.channels_last)
            convolve = partial(nn.functional.conv2d, images, weights, padding=1)
            found["3 x 3 convolution"] = 2 * images.numel() * 256 * 9 / fastest(convolve, device, repeats)
    torch.set_float32_matmul_precision(before)
    return rates


def fastest(function: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Least seconds of ``repeats`` calls, after one for warming up."""
    seconds = []
    for _ in range(repeats + 1):
        synchronise(device)
        start = time.perf_counter()
        function()
        synchronise(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])
