"""Any image model of timm as a backbone: ``timm:NAME`` or ``timm:NAME.TAG``, a tag being one set of published weights.

timm takes seconds to import, so nothing here does before such a name is met. Names without the prefix are this
project's own (models/backbones.py): timm's resnet34 is another network than ours.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsgl.errors import UserError, first_line, unknown
from fsgl.models.backbone import Backbone

PREFIX = "timm:"
HEAD_WIDTH = 256  # of the projection and contrast heads, as for the other networks made for large images


@dataclass(frozen=True)
class ModelInput:
    """What a model was made for.  size: side in pixels.  mean, std: of each of three channels, in [0, 1] units."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def statistics(self, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and std for images of so many channels: grey ones take the average over the colours."""
        if channels == len(self.mean):
            return self.mean, self.std
        return tuple((sum(of) / len(of),) * channels for of in (self.mean, self.std))  # type: ignore[return-value]


def is_timm(name: str) -> bool:
    """Whether a backbone's name means one of timm's; that there is such a one, ``configuration`` finds out."""
    return name.startswith(PREFIX)


def knows(name: str) -> bool:
    """Whether timm is installed and has a model of this name, without prefix."""
    if not name or importlib.util.find_spec("timm") is None:
        return False
    known: bool = _timm().is_model(name)
    return known


def _timm() -> ModuleType:
    try:
        import timm
    except ImportError as error:
        raise UserError(f"backbones '{PREFIX}...' need the package timm ({error}): pip install 'fsgl[timm]'") from None
    return timm


def configuration(name: str) -> Any:
    """timm's ``PretrainedCfg`` of ``timm:NAME``. Raises UserError, with the nearest real name, for no such model."""
    timm = _timm()
    bare = name.removeprefix(PREFIX)
    architecture, _, tag = bare.partition(".")
    if not timm.is_model(architecture):
        raise unknown("backbone", name, [PREFIX + known for known in timm.list_models()])
    try:
        found = timm.get_pretrained_cfg(bare)
    except RuntimeError:
        tags = timm.list_pretrained(f"{architecture}.*")
        raise UserError(
            f"unknown weights '{tag}' of {PREFIX}{architecture}; there are: "
            + (", ".join(PREFIX + known for known in tags) or "none")
        ) from None
    if found is None:
        raise UserError(f"{name}: timm says nothing of this model's input; take another")
    return found


def model_input(name: str) -> ModelInput:
    """Input size and normalisation of ``timm:NAME``, as its published weights were trained."""
    published = configuration(name).to_dict()
    from timm.data.config import resolve_data_config

    found = resolve_data_config(pretrained_cfg=published)
    _, height, width = found["input_size"]
    if height != width:
        raise UserError(f"{name} takes images of {height} x {width} pixels; only square ones are supported")
    return ModelInput(int(height), tuple(map(float, found["mean"])), tuple(map(float, found["std"])))


class TimmBackbone(Backbone):
    """A timm model without its classifier, with fresh weights.

    name: with prefix.  image_size: side of what it is shown, None for the model's own; other images are resized to it
    (bicubic, on their device). Linear maps on top keep PyTorch's initialisation.
    Raises UserError where the model cannot take images of that size or does not give one vector an image.
    """

    def __init__(self, name: str, *, in_channels: int = 3, image_size: int | None = None) -> None:
        super().__init__()
        published = configuration(name)
        own = model_input(name).size
        self.name = name
        self.image_size = own if image_size is None else image_size
        # Transformers keep a table of positions of one size; convolutions take any.
        sized = {"img_size": self.image_size} if published.fixed_input_size and self.image_size != own else {}
        bare = name.removeprefix(PREFIX)
        try:
            self.net: nn.Module = _timm().create_model(
                bare, pretrained=False, num_classes=0, in_chans=in_channels, **sized
            )
            shape = _shape_of_features(self.net, (2, in_channels, self.image_size, self.image_size))
        except Exception as error:  # each model has its own way of refusing, asserts among them
            reason = first_line(error)
            images = f"{self.image_size} x {self.image_size} images of {in_channels} channel{'s'[: in_channels > 1]}"
            raise UserError(f"{name} cannot be a backbone for {images} ({reason})") from None
        if len(shape) != 2:
            raise UserError(f"{name} gives features of shape {shape[1:]} an image, not one vector; take another model")
        self.feature_dim = shape[1]
        self.head_width = HEAD_WIDTH
        self.linear_init = "default"
        self.in_channels = in_channels

    def depths(self) -> dict[str, int]:
        from timm.models import group_parameters

        net: Any = self.net
        found = group_parameters(net, net.group_matcher(coarse=False), reverse=True)
        places = {depth: place for place, depth in enumerate(sorted(set(found.values())))}
        return {f"net.{name}": places[depth] for name, depth in found.items()}

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.net(resized(images, self.image_size))
        return features


def resized(images_BCHW: Tensor, side: int) -> Tensor:
    """Images ``B x C x side x side``, bicubic, smoothed where they shrink; the same ones where they fit."""
    height, width = images_BCHW.shape[-2:]
    if (height, width) == (side, side):
        return images_BCHW
    shrinks = side < max(height, width)
    return F.interpolate(images_BCHW, (side, side), mode="bicubic", align_corners=False, antialias=shrinks)


def _shape_of_features(net: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    """By shapes alone (PyTorch's meta device) where the model's operations have a rule for that, or by computing."""
    was_training = net.training
    net.eval()
    try:
        with torch.no_grad():
            try:
                tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
                shapes = {name: tensor.to("meta") for name, tensor in tensors.items()}
                found = torch.func.functional_call(net, shapes, (torch.zeros(shape, device="meta"),))
            except (NotImplementedError, RuntimeError):
                found = net(torch.zeros(shape))
    finally:
        net.train(was_training)
    return tuple(found.shape) if isinstance(found, Tensor) else ()
