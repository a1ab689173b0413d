"""In which precision a device computes, and what makes it fast.

    float32   every product in float32
    tf32      matrix products and convolutions round their factors to 10 bits of mantissa (NVIDIA Ampere and newer)
    bf16      the backbone's passes under autocast to bfloat16; weights, heads, FSM and losses stay in float32

"auto" is bf16 on GPUs that have it and float32 on CPUs, where bfloat16 is twenty times slower on some and a third
faster on others (those with AMX or avx512_bf16).
"""

from __future__ import annotations

import torch

from fsgl.errors import UserError, unknown

PRECISIONS = ("auto", "float32", "tf32", "bf16")


def choose(precision: str, device: torch.device) -> str:
    """The precision that a setting stands for on a device. Raises UserError for one that the device lacks."""
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    on_gpu = device.type == "cuda"
    modern = on_gpu and torch.cuda.get_device_capability(device) >= (8, 0)
    if precision == "auto":
        return "bf16" if modern else "float32"
    if on_gpu and not modern and precision != "float32":
        raise UserError(f"{torch.cuda.get_device_name(device)} has no {precision}; take --precision float32")
    if precision == "tf32" and not on_gpu:
        raise UserError(f"precision tf32 is of NVIDIA GPUs; {device} computes in float32")
    return precision


def configure(precision: str, device: torch.device) -> None:
    """Set torch's switches for a chosen precision; ``precision`` is what ``choose`` returned."""
    if device.type == "cuda":
        fast = precision != "float32"  # bf16 too: its few float32 products are no reason to wait
        torch.backends.cuda.matmul.allow_tf32 = fast
        torch.backends.cudnn.allow_tf32 = fast
        torch.backends.cudnn.benchmark = True  # shapes repeat, so the search for the fastest algorithm pays


def compute_dtype(precision: str) -> torch.dtype | None:
    """Of the backbone under autocast (``RecognitionNet.compute_dtype``), for a chosen precision."""
    return torch.bfloat16 if precision == "bf16" else None
