"""The view's graph in front of a network's, whose names are the exporter's."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import nn

from fsgl.data.load import DataSpec, load_data
from fsgl.deploy.export import export
from fsgl.deploy.predict import ImageFile
from fsgl.runs.saved import load_model


class _Viewing(nn.Module):
    """As timm's networks end: what the exporter calls "view" is the features."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.inner(images)[..., None, None].flatten(1)


def test_what_a_layer_calls_view_is_not_taken_for_the_view(finished: Path, tmp_path: Path) -> None:
    trained = load_model(finished)
    trained.model.backbone = _Viewing(trained.model.backbone)
    names = [f"{i}.png" for i in range(4)]
    for name, pixels in zip(names, load_data(DataSpec("digits")).test.images, strict=False):  # type: ignore[union-attr]
        Image.fromarray(pixels[..., 0]).save(tmp_path / name)
    parity = export(trained, "onnx", tmp_path / "model.onnx", [ImageFile(tmp_path, name, name) for name in names])
    assert parity.ok
    assert parity.images == 4
