"""Residual networks for small images (He et al., "Deep Residual Learning for Image Recognition", 2016).

Two families, in one class:

* the ImageNet shapes of the paper's table 1 (resnet18, 34, 50) with a stem for small images, a 3x3 convolution
  of stride 1 and no pooling, and projection shortcuts (the paper's option B);
* the CIFAR networks of the paper's section 4.2 (6n + 2 layers), three stages, with shortcuts that have no weights
  (option A).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from fsgl.models.backbone import Backbone, Init

Shortcut = Literal["projection", "pad"]


def pad_shortcut(x: Tensor, stride: int, channels: int) -> Tensor:
    """Option A: every ``stride``-th pixel, and zero channels on both sides up to ``channels``; no weights.

    x: ``B x C x H x W`` -> ``B x channels x ceil(H / stride) x ceil(W / stride)``, in the memory format of ``x``.
    An odd number of missing channels puts the extra one last.
    """
    missing = channels - x.shape[1]
    return F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, missing // 2, missing - missing // 2))


class PadShortcut(nn.Module):
    """``pad_shortcut`` as a module."""

    def __init__(self, stride: int, channels: int) -> None:
        super().__init__()
        self.stride, self.channels = stride, channels

    def forward(self, x: Tensor) -> Tensor:
        return pad_shortcut(x, self.stride, self.channels)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


def _shortcut(kind: Shortcut, inputs: int, outputs: int, stride: int) -> nn.Module | None:
    """None where the shape stays as it is, so that the block adds its input itself."""
    if stride == 1 and inputs == outputs:
        return None
    if kind == "pad":
        return PadShortcut(stride, outputs)
    return nn.Sequential(_conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


# In both blocks the in-place operations touch only what BatchNorm put out, which no backward pass reads:
# BatchNorm keeps its input, ReLU its own (overwritten) result, an addition nothing.


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (the paper's figure 5, left)."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(inputs, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3), nn.BatchNorm2d(width)
        self.shortcut = _shortcut(shortcut, inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        y += x if self.shortcut is None else self.shortcut(x)
        return F.relu(y, inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, the last four times as wide, and a shortcut (the paper's figure 5, right).

    The stride is the 3x3 convolution's, as in today's ResNet-50s; the paper had it on the first 1x1, which throws
    three of four positions away unread.
    """

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1, self.bn1 = _conv(inputs, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = _conv(width, outputs, 1), nn.BatchNorm2d(outputs)
        self.shortcut = _shortcut(shortcut, inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        y += x if self.shortcut is None else self.shortcut(x)
        return F.relu(y, inplace=True)


class CifarResNet(Backbone):
    """A residual network for small images: 3x3 stem, then stages of blocks, each but the first halving the side.

    block: ``BasicBlock`` or ``Bottleneck``.
    depths, widths: blocks of each stage and their width (before ``Bottleneck``'s fourfold expansion).
    shortcut: where the shape changes, "projection" (1x1 convolution and BatchNorm; option B) or "pad" (option A).
    stem_stride: 2 halves the side before the first stage, for CPUs: the same widths for a quarter of the work.
    init: "default" (PyTorch's) or "kaiming_normal" (He et al. 2015, fan in: deviation sqrt(2 / fan in)) for the
        convolutions; handed on as ``linear_init`` for the linear maps put on top.

    Images ``B x in_channels x H x W`` of any side give features ``B x feature_dim``. In training every BatchNorm needs
    more than one value a channel: a batch of one image must be larger than ``2^(stages - 1)`` pixels (8 with four
    stages), or PyTorch raises ValueError.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: Sequence[int],
        widths: Sequence[int],
        *,
        in_channels: int = 3,
        shortcut: Shortcut = "projection",
        stem_stride: int = 1,
        init: Init = "default",
        head_width: int = 256,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            _conv(in_channels, widths[0], 3, stem_stride), nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)
        )
        stages: list[nn.Module] = []
        inputs = widths[0]
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            blocks: list[nn.Module] = []
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(block(inputs, width, stride, shortcut))
                inputs = width * block.expansion
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.feature_dim = inputs
        self.head_width = head_width
        self.linear_init = init
        if init == "kaiming_normal":
            self._draw_convolutions(self)

    @staticmethod
    def _draw_convolutions(part: nn.Module) -> None:
        for module in part.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.stages(self.stem(images)).mean((2, 3))
        return features

    def parted(self) -> tuple[nn.Module, nn.Module]:
        pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return nn.Sequential(self.stem, self.stages[:-1]), nn.Sequential(self.stages[-1], pool)

    def initialise(self, part: nn.Module) -> None:
        super().initialise(part)
        if self.linear_init == "kaiming_normal":
            self._draw_convolutions(part)
