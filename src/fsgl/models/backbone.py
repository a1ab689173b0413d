"""The contract that every backbone keeps, ours, torchvision's and timm's."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

Init = Literal["default", "kaiming_normal"]


class Backbone(nn.Module):
    """What every backbone offers: images ``B x C x H x W`` in, features ``B x D`` out, after global average pooling.

    feature_dim: D.  head_width: width of the projection and contrast heads that suit it.
    linear_init: how linear maps put on top are to be initialised: "default" (PyTorch's) or "kaiming_normal" (fan in).
    ``parted`` and ``initialise`` are for networks with several experts (models/experts.py), and have answers.
    """

    feature_dim: int
    head_width: int
    linear_init: Init

    def __call__(self, images: Tensor) -> Tensor:
        features: Tensor = super().__call__(images)
        return features

    def depths(self) -> dict[str, int]:
        """How deep each weight lies, by its name: 0 nearest to the image; weights of one layer have one depth."""
        children = {name: place for place, (name, _) in enumerate(self.named_children())}
        return {name: children.get(name.split(".")[0], 0) for name, _ in self.named_parameters()}

    def parted(self) -> tuple[nn.Module, nn.Module]:
        """The network as what several experts can share and what each has for itself: images -> ... -> ``B x D``."""
        return self, nn.Identity()

    def initialise(self, part: nn.Module) -> None:
        """Fresh weights for a part of it, from torch's global generator."""
        for module in part.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()


class GivenFeatures(Backbone):
    """In the place of a frozen backbone where its features are at hand: the heads alone are built on it, at once.

    like: the backbone.
    """

    def __init__(self, like: Backbone) -> None:
        super().__init__()
        self.feature_dim, self.head_width, self.linear_init = like.feature_dim, like.head_width, like.linear_init

    def forward(self, features: Tensor) -> Tensor:
        return features
