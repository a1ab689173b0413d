"""Batches, and the smallest network, as many tests want them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fsgl.models.backbone import Backbone
from fsgl.types import Batch, Sample


def make_batch(
    images: int,
    shape: tuple[int, int, int],
    classes: int,
    views: int = 1,
    streams: int = 1,
    seed: int = 0,
    dtype: torch.dtype | None = None,
) -> Batch:
    """Noise with arbitrary labels. shape: C, H, W of an image.  streams: 2 adds the rebalanced one."""
    random = torch.Generator().manual_seed(seed)

    def sample() -> Sample:
        drawn: tuple[Tensor, ...] = tuple(
            torch.randn(images, *shape, generator=random, dtype=dtype) for _ in range(views)
        )
        return Sample(drawn, torch.randint(classes, (images,), generator=random))

    return Batch(*(sample() for _ in range(streams)))


class Tiny(Backbone):
    """One of each kind of layer."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(channels, 4, 3, stride=2, bias=False), nn.BatchNorm2d(4)
        self.feature_dim, self.head_width, self.linear_init = 4, 4, "default"

    def forward(self, images: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(images))).mean(dim=(2, 3))
