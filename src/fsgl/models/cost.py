"""What a network costs: its parameters, and the multiply-adds of one image's forward pass."""

from __future__ import annotations

import copy

import torch
from torch import nn


def count_parameters(module: nn.Module) -> int:
    """Number of parameters, each shared one once; BatchNorm's running statistics are not parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def multiply_adds(backbone: nn.Module, image_shape_CHW: tuple[int, int, int]) -> int:
    """Multiply-adds of one image's forward pass in evaluation mode: convolutions and matrix products only.

    This is the figure that papers call "FLOPs" of a network; twice as many floating-point operations. BatchNorm, ReLU,
    additions and pooling are left out, as they do there. ``backbone`` stays as it is. Shapes alone are propagated
    (PyTorch's meta device), so no figure is computed; a network that needs real figures is run on the CPU instead.
    """
    try:
        return _count(backbone, image_shape_CHW, "meta")
    except (NotImplementedError, RuntimeError):  # an operation without a shape rule, or one that reads a value
        return _count(backbone, image_shape_CHW, "cpu")


def _count(backbone: nn.Module, image_shape_CHW: tuple[int, int, int], device: str) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    tensors = [*backbone.parameters(), *backbone.buffers()]
    # deepcopy takes what its memo already holds: the copy shares no tensor with the original, and on "meta" no figure
    # is copied at all.
    replica = copy.deepcopy(backbone, {id(tensor): _moved(tensor, device) for tensor in tensors}).eval()
    dtype = next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.get_default_dtype())
    image = torch.zeros((1, *image_shape_CHW), dtype=dtype, device=device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        replica(image)
    return int(counter.get_total_flops()) // 2


def _moved(tensor: torch.Tensor, device: str) -> torch.Tensor:
    moved = tensor.detach().to(device, copy=True)
    return nn.Parameter(moved, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else moved
