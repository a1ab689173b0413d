from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from fsgl.errors import UserError
from fsgl.models.backbones import BACKBONES, TorchvisionBackbone, build_backbone

# D, the width of the heads, and how linear maps on top are initialised.
EXPECTED = {
    "resnet18": (512, 256, "default"),
    "resnet34": (512, 256, "default"),
    "resnet50": (2048, 256, "default"),
    "resnext50_32x4d": (2048, 256, "default"),
    "resnet18-imagenet": (512, 256, "default"),
    "resnet50-imagenet": (2048, 256, "default"),
    "resnet32": (256, 128, "kaiming_normal"),
    "resnet32-slim": (64, 128, "kaiming_normal"),
    "resnet20-slim": (64, 128, "kaiming_normal"),
    "resnet8-slim": (64, 128, "kaiming_normal"),
    "resnet8-lite": (256, 256, "default"),
    "resnet8-strided": (256, 256, "default"),
}


def images(batch: int, channels: int, side: int) -> torch.Tensor:
    return torch.randn(batch, channels, side, side, generator=torch.Generator().manual_seed(0))


def test_the_table_is_what_the_method_names() -> None:
    assert set(BACKBONES) == set(EXPECTED)
    assert all(name == info.name and info.note for name, info in BACKBONES.items())
    assert {name for name, info in BACKBONES.items() if info.image_size == 224} == {
        "resnet18-imagenet", "resnet50-imagenet", "resnext50_32x4d",
    }  # fmt: skip
    with pytest.raises(dataclasses.FrozenInstanceError):
        BACKBONES["resnet34"].image_size = 1  # type: ignore[misc]


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_backbone_keeps_the_contract(name: str, channels: int) -> None:
    info = BACKBONES[name]
    net = build_backbone(name, channels)
    side = 33 if info.image_size == 224 else 8
    features = net(images(2, channels, side))
    assert features.shape == (2, net.feature_dim)
    assert features.dtype == torch.float32
    assert (net.feature_dim, net.head_width, net.linear_init) == EXPECTED[name]
    assert features.min() >= 0  # after a ReLU and a mean
    with pytest.raises(RuntimeError, match="channels"):
        net(images(2, 4 - channels, side))


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_trains_evaluates_saves_and_loads(name: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    torch.manual_seed(0)
    net = build_backbone(name)
    x = images(4, 3, 33 if BACKBONES[name].image_size == 224 else 8)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    before = [p.detach().clone() for p in net.parameters()]
    (net.train()(x) ** 2).mean().backward()
    optimizer.step()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    assert any(not torch.equal(p, q) for p, q in zip(net.parameters(), before, strict=True))
    steps = [buffer.item() for key, buffer in net.named_buffers() if key.endswith("num_batches_tracked")]
    assert steps == [1] * len(steps)

    net.eval()
    with torch.no_grad():
        features = net(x)
        assert torch.isfinite(features).all()
        # an image's features do not hang on its batch; to what float32 and another convolution kernel leave
        assert torch.allclose(net(x[:1]), features[:1], rtol=1e-3, atol=1e-4 * features.abs().max().item())
    save_file(net.state_dict(), tmp_path / "model.safetensors")
    torch.manual_seed(1)
    other = build_backbone(name).eval()
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    with torch.no_grad():
        assert torch.equal(other(x), features)


@pytest.mark.parametrize("name", BACKBONES)
def test_channels_last_gives_the_same_features(name: str) -> None:
    net = build_backbone(name).double()
    x = images(2, 3, 64 if BACKBONES[name].image_size == 224 else 16).double()
    with torch.no_grad():
        expected = net.train()(x)
        actual = net.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
    assert torch.allclose(actual, expected, rtol=1e-9, atol=1e-10 * expected.abs().max().item())


@pytest.mark.parametrize("channels", [1, 3])
def test_resnext_starts_kaiming_normal_fan_out_without_classifier(channels: int) -> None:
    torch.manual_seed(2)
    net = build_backbone("resnext50_32x4d", channels)
    assert not any(isinstance(module, nn.Linear) for module in net.modules())
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            assert module.bias is None
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            assert module.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.06)


def test_resnext_is_torchvisions() -> None:
    from torchvision.models import resnext50_32x4d

    net = build_backbone("resnext50_32x4d").eval()
    assert isinstance(net, TorchvisionBackbone)
    twin = resnext50_32x4d(weights=None).eval()
    twin.fc = nn.Identity()
    twin.load_state_dict({key.removeprefix("net."): value for key, value in net.state_dict().items()})
    x = images(1, 3, 64)
    with torch.no_grad():
        assert torch.equal(net(x), twin(x))


@pytest.mark.parametrize(
    ("name", "near"),
    [("resnet-34", "resnet34"), ("resnet32_slim", "resnet32-slim"), ("resnext50_32", "resnext50_32x4d")],
)
def test_an_unknown_name_is_answered_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UserError, match=f"unknown backbone '{name}'; did you mean '{near}'"):
        build_backbone(name)


def test_an_import_leaves_torchvision_alone() -> None:
    code = "import sys, fsgl.models.backbones, fsgl.models.cost; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
