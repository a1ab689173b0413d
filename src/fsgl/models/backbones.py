"""The backbones by name.

``BACKBONES`` lists our own, ``timm:NAME`` is any of timm's (models/timm_backbones.py), and ``build_backbone`` makes
one. To add one: a line in ``BACKBONES`` with a function that takes the number of image channels and returns a
``Backbone``.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from fsgl.errors import UserError, unknown
from fsgl.models.backbone import Backbone
from fsgl.models.cifar_resnet import BasicBlock, Bottleneck, CifarResNet
from fsgl.models.timm_backbones import PREFIX, TimmBackbone, configuration, is_timm, knows


@dataclass(frozen=True)
class BackboneInfo:
    """A backbone that can be built by name.

    build: number of image channels -> the network with fresh weights.
    image_size: the side in pixels that it is meant for.
    note: one line for people.
    """

    name: str
    build: Callable[[int], Backbone]
    image_size: int
    note: str


class TorchvisionBackbone(Backbone):
    """A torchvision ResNet without its classifier, for images of side 224.

    builder: a name in ``torchvision.models`` whose networks have ``conv1`` and ``fc``, as all its ResNets.
    Convolutions are Kaiming normal, fan out (torchvision's own rule); no pretrained weights.
    """

    def __init__(self, builder: str, *, in_channels: int = 3, head_width: int = 256) -> None:
        super().__init__()
        import torchvision.models  # here, as it takes longer to import than all of fsgl

        self.net = getattr(torchvision.models, builder)(weights=None)
        self.feature_dim = self.net.fc.in_features
        self.head_width = head_width
        self.linear_init = "default"
        self.net.fc = nn.Identity()
        if in_channels != 3:
            conv = self.net.conv1
            self.net.conv1 = nn.Conv2d(
                in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, bias=False
            )
            nn.init.kaiming_normal_(self.net.conv1.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.net(images)
        return features

    def parted(self) -> tuple[nn.Module, nn.Module]:
        *first, last, pool, _ = self.net.children()
        return nn.Sequential(*first), nn.Sequential(last, pool, nn.Flatten())

    def initialise(self, part: nn.Module) -> None:
        super().initialise(part)
        for module in part.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _four_stages(block: type[BasicBlock] | type[Bottleneck], depths: tuple[int, ...], channels: int) -> Backbone:
    return CifarResNet(block, depths, (64, 128, 256, 512), in_channels=channels)


def _three_stages(depth: int, width: int, channels: int) -> Backbone:
    return CifarResNet(
        BasicBlock,
        (depth,) * 3,
        (width, 2 * width, 4 * width),
        in_channels=channels,
        shortcut="pad",
        init="kaiming_normal",
        head_width=128,
    )


def _strided(widths: tuple[int, int, int], channels: int) -> Backbone:
    return CifarResNet(BasicBlock, (1, 1, 1), widths, in_channels=channels, stem_stride=2)


def _torchvision(builder: str, channels: int) -> Backbone:
    return TorchvisionBackbone(builder, in_channels=channels)


_ALL = (
    BackboneInfo("resnet18", partial(_four_stages, BasicBlock, (2, 2, 2, 2)), 32,
                 "3x3 stem, widths 64 to 512"),
    BackboneInfo("resnet34", partial(_four_stages, BasicBlock, (3, 4, 6, 3)), 32,
                 "3x3 stem, widths 64 to 512; the published CIFAR results"),
    BackboneInfo("resnet50", partial(_four_stages, Bottleneck, (3, 4, 6, 3)), 32,
                 "3x3 stem, bottlenecks, widths 64 to 512 times 4"),
    BackboneInfo("resnet32", partial(_three_stages, 5, 64), 32,
                 "widths 64-128-256, the release's; four times as wide as the field's ResNet-32"),
    BackboneInfo("resnet32-slim", partial(_three_stages, 5, 16), 32,
                 "widths 16-32-64, what most long-tail papers call ResNet-32"),
    BackboneInfo("resnet20-slim", partial(_three_stages, 3, 16), 32,
                 "widths 16-32-64, three blocks a stage; for CPUs"),
    BackboneInfo("resnet8-slim", partial(_three_stages, 1, 16), 32,
                 "widths 16-32-64, one block a stage; for tests and digits"),
    BackboneInfo("resnet8-lite", partial(_strided, (32, 128, 256)), 32,
                 "widths 32-128-256, one block a stage, stem of stride 2; for CPUs and small images of your own"),
    BackboneInfo("resnet8-strided", partial(_strided, (64, 128, 256)), 32,
                 "widths 64-128-256, otherwise as resnet8-lite, which learns more from a CPU-minute"),
    BackboneInfo("resnet18-imagenet", partial(_torchvision, "resnet18"), 224,
                 "torchvision's, 7x7 stem, without pretrained weights; photographs of your own"),
    BackboneInfo("resnet50-imagenet", partial(_torchvision, "resnet50"), 224,
                 "torchvision's, 7x7 stem, bottlenecks, without pretrained weights"),
    BackboneInfo("resnext50_32x4d", partial(_torchvision, "resnext50_32x4d"), 224,
                 "torchvision's, without pretrained weights; ImageNet-LT, iNaturalist"),
)  # fmt: skip

BACKBONES: dict[str, BackboneInfo] = {info.name: info for info in _ALL}


def check_backbone(name: str) -> None:
    """Raises UserError, with the nearest real name, for a backbone that there is not."""
    if is_timm(name):
        configuration(name)
    elif name not in BACKBONES:
        # Ours are looked at first: timm takes seconds to load, and a slip is likelier than a forgotten prefix.
        if difflib.get_close_matches(name, BACKBONES, n=1, cutoff=0.8):
            raise UserError(f"{unknown('backbone', name, BACKBONES)} (a model of timm is {PREFIX}NAME)")
        if knows(name):
            raise UserError(f"unknown backbone '{name}'; did you mean '{PREFIX}{name}'?")
        raise unknown("backbone", name, BACKBONES)


def build_backbone(name: str, in_channels: int = 3, image_size: int | None = None) -> Backbone:
    """The backbone called ``name`` for images of ``in_channels`` channels, with fresh weights.

    image_size: of ``timm:NAME`` only, side of what it is shown; None is the model's own. Ours take any size.
    The weights are drawn from torch's global generator: seed it, or fork it, for the same ones again.
    Raises UserError, with the nearest real name, for a name that is none.

    >>> import fsgl, torch
    >>> backbone = fsgl.build_backbone("resnet8-slim", in_channels=1)
    >>> backbone(torch.rand(2, 1, 8, 8)).shape
    torch.Size([2, 64])
    """
    check_backbone(name)
    if is_timm(name):
        return TimmBackbone(name, in_channels=in_channels, image_size=image_size)
    return BACKBONES[name].build(in_channels)
