from __future__ import annotations

import pytest
import torch
from torch import nn

from fsgl.models.backbones import BACKBONES, build_backbone
from fsgl.models.cost import count_parameters, multiply_adds

SHAPES = {  # blocks of each stage, width of each stage, expansion (None: option A, no weights in the shortcuts)
    "resnet18": ((2, 2, 2, 2), (64, 128, 256, 512), 1),
    "resnet34": ((3, 4, 6, 3), (64, 128, 256, 512), 1),
    "resnet50": ((3, 4, 6, 3), (64, 128, 256, 512), 4),
    "resnet32": ((5, 5, 5), (64, 128, 256), None),
    "resnet32-slim": ((5, 5, 5), (16, 32, 64), None),
    "resnet20-slim": ((3, 3, 3), (16, 32, 64), None),
    "resnet8-slim": ((1, 1, 1), (16, 32, 64), None),
    "resnet8-lite": ((1, 1, 1), (32, 128, 256), 1),
    "resnet8-strided": ((1, 1, 1), (64, 128, 256), 1),
}


def by_hand(name: str, channels: int, side: int) -> tuple[int, int]:
    """(parameters, multiply-adds), convolution by convolution, from the architecture's description alone."""
    depths, widths, expansion = SHAPES[name]
    if name in ("resnet8-lite", "resnet8-strided"):
        side = (side + 1) // 2
    convolutions = [(channels, widths[0], 3, side)]  # inputs, outputs, kernel side, output side
    inputs = widths[0]
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        for block in range(depth):
            before = side
            if stage and not block:
                side = (side + 1) // 2
            outputs = width * (expansion or 1)
            if expansion == 4:
                convolutions += [(inputs, width, 1, before), (width, width, 3, side), (width, outputs, 1, side)]
            else:
                convolutions += [(inputs, width, 3, side), (width, width, 3, side)]
            if expansion and (side != before or inputs != outputs):
                convolutions.append((inputs, outputs, 1, side))
            inputs = outputs
    parameters = sum(i * o * k * k + 2 * o for i, o, k, _ in convolutions)
    return parameters, sum(i * o * k * k * s * s for i, o, k, s in convolutions)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(("channels", "side"), [(3, 32), (1, 8), (3, 9)])
def test_against_arithmetic_by_hand(name: str, channels: int, side: int) -> None:
    net = build_backbone(name, channels)
    assert (count_parameters(net), multiply_adds(net, (channels, side, side))) == by_hand(name, channels, side)


@pytest.mark.parametrize(
    ("name", "parameters", "millions"),
    [
        ("resnet34", 21_276_992, 1160),
        ("resnet32", 7_383_616, 1097),
        ("resnet32-slim", 463_504, 69),
        ("resnet20-slim", 269_072, 40.6),
        ("resnext50_32x4d", 22_979_904, 4230),
    ],
)
def test_known_figures_of_the_field(name: str, parameters: int, millions: float) -> None:
    """He et al. table 6: 0.27 M and 0.46 M; the rest as commonly given (resnext50: 25,028,904 less its classifier)."""
    net, side = build_backbone(name), BACKBONES[name].image_size
    assert count_parameters(net) == parameters
    assert multiply_adds(net, (3, side, side)) / 1e6 == pytest.approx(millions, rel=0.005)


def test_linear_maps_count_and_the_rest_does_not() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 7, bias=False))
    assert count_parameters(net) == 12 * 5 + 5 + 2 * 5 + 5 * 7
    assert multiply_adds(net, (3, 2, 2)) == 12 * 5 + 5 * 7


def test_a_shared_parameter_counts_once() -> None:
    layer = nn.Linear(3, 3)
    assert count_parameters(nn.Sequential(layer, layer)) == 12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_network_stays_as_it_is(dtype: torch.dtype) -> None:
    net = build_backbone("resnet8-slim").to(dtype).train()
    net.stem.eval()
    modes = [module.training for module in net.modules()]
    held = {key: (value.data_ptr(), value.clone()) for key, value in net.state_dict().items()}
    state = torch.get_rng_state()
    multiply_adds(net, (3, 8, 8))
    assert [module.training for module in net.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    for key, value in net.state_dict().items():
        pointer, before = held[key]
        assert value.data_ptr() == pointer
        assert torch.equal(value, before)
    assert all(p.requires_grad and p.grad is None for p in net.parameters())


class ReadsAValue(nn.Module):
    """Cannot run on shapes alone, and writes to a buffer even in evaluation."""

    calls: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.linear(x.mean((2, 3))) if x.sum().item() == 0 else x


def test_a_network_that_reads_values_is_run_for_real_on_a_copy() -> None:
    net = ReadsAValue()
    assert multiply_adds(net, (3, 4, 4)) == 6
    assert net.calls == 0
