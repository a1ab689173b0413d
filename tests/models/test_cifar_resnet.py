from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsgl.models.backbones import build_backbone
from fsgl.models.cifar_resnet import BasicBlock, Bottleneck, CifarResNet, PadShortcut, pad_shortcut

CHANNELS_LAST = torch.channels_last
SMALL_SET = (
    "resnet18", "resnet34", "resnet50", "resnet32", "resnet32-slim", "resnet20-slim", "resnet8-slim", "resnet8-lite",
)  # fmt: skip


def images(batch: int, channels: int = 3, side: int = 32, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(batch, channels, side, side, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def torchvision_twin(ours: nn.Module, name: str) -> nn.Module:
    """torchvision's ResNet with a small-image stem and our tensors, matched by order."""
    from torchvision.models import resnet

    block = resnet.Bottleneck if name == "resnet50" else resnet.BasicBlock
    twin = resnet.ResNet(block, [2, 2, 2, 2] if name == "resnet18" else [3, 4, 6, 3])
    twin.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    twin.maxpool = nn.Identity()
    twin.fc = nn.Identity()
    mine, theirs = list(ours.state_dict().values()), list(twin.state_dict())
    assert len(mine) == len(theirs)
    twin.double().load_state_dict({key: value.clone() for key, value in zip(theirs, mine, strict=True)})
    return twin


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_agrees_with_torchvision_given_its_stem_and_weights(name: str) -> None:
    torch.manual_seed(1)
    ours = build_backbone(name).double()
    for module in ours.modules():  # PyTorch's ones and zeros would hide an exchange of two BatchNorms
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    twin = torchvision_twin(ours, name)
    x = images(2, side=16, dtype=torch.float64)
    for training in (True, False):
        a, b = ours.train(training)(x), twin.train(training)(x)
        assert a.shape == (2, ours.feature_dim)
        assert (a - b).abs().max() < 1e-10 * max(1.0, b.abs().max().item())
        if training:
            (a**2).mean().backward()
            (b**2).mean().backward()
    for (key, p), q in zip(ours.named_parameters(), twin.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, rtol=1e-8, atol=1e-10 * q.grad.abs().max().item()), key
    for (key, p), q in zip(ours.named_buffers(), twin.buffers(), strict=True):
        assert torch.allclose(p, q, rtol=1e-10), key


def plain_forward(net: nn.Module, x: Tensor) -> Tensor:
    """resnet20-slim from its tensors in order, out of place; shortcuts by the NumPy loop below."""
    tensors = iter(net.parameters())

    def conv_norm(x: Tensor, stride: int) -> Tensor:
        y = F.conv2d(x, next(tensors), stride=stride, padding=1)
        mean, variance = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), unbiased=False, keepdim=True)
        scale, shift = next(tensors)[:, None, None], next(tensors)[:, None, None]
        return (y - mean) / (variance + 1e-5).sqrt() * scale + shift

    x = conv_norm(x, 1).clamp(min=0)
    for width, first_stride in ((16, 1), (32, 2), (64, 2)):
        for stride in (first_stride, 1, 1):
            y = conv_norm(conv_norm(x, stride).clamp(min=0), 1)
            shortcut = x if stride == 1 else torch.from_numpy(option_a_loop(x.detach().numpy(), width))
            x = (y + shortcut).clamp(min=0)
    assert next(tensors, None) is None
    return x.sum((2, 3)) / (x.shape[2] * x.shape[3])


def option_a_loop(x: np.ndarray, channels: int) -> np.ndarray:
    batch, inputs, height, width = x.shape
    out = np.zeros((batch, channels, (height + 1) // 2, (width + 1) // 2), x.dtype)
    for c in range(inputs):
        for i in range(0, height, 2):
            for j in range(0, width, 2):
                out[:, (channels - inputs) // 2 + c, i // 2, j // 2] = x[:, c, i, j]
    return out


def test_the_three_stage_family_agrees_with_a_plain_second_writing() -> None:
    torch.manual_seed(2)
    net = build_backbone("resnet20-slim").double()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    x = images(3, side=16, dtype=torch.float64)
    with torch.no_grad():
        expected = plain_forward(net, x)
        assert (net(x) - expected).abs().max() < 1e-10 * expected.abs().max()


@pytest.mark.parametrize(("inputs", "channels", "side"), [(4, 8, 8), (16, 32, 7), (3, 8, 4), (4, 4, 5)])
def test_option_a_is_a_loop(inputs: int, channels: int, side: int) -> None:
    x = images(2, inputs, side)
    expected = option_a_loop(x.numpy(), channels)
    assert np.array_equal(pad_shortcut(x, 2, channels).numpy(), expected)
    assert np.array_equal(PadShortcut(2, channels)(x).numpy(), expected)
    assert torch.equal(pad_shortcut(x, 1, inputs), x)


def test_option_a_stays_channels_last() -> None:
    x = images(2, 16, 8).contiguous(memory_format=CHANNELS_LAST)
    assert pad_shortcut(x, 2, 32).is_contiguous(memory_format=CHANNELS_LAST)


def test_in_place_operations_leave_the_gradient_right() -> None:
    """Against finite differences, in both blocks and with both shortcuts."""
    torch.manual_seed(3)
    x = images(2, 3, 4, torch.float64).requires_grad_()
    kinds = ((BasicBlock, "pad"), (BasicBlock, "projection"), (Bottleneck, "projection"), (Bottleneck, "pad"))
    for block, shortcut in kinds:
        net = CifarResNet(block, (1, 1), (2, 4), shortcut=shortcut).double()
        assert torch.autograd.gradcheck(net, x, eps=1e-7, atol=1e-5)


def test_the_input_is_not_written_to() -> None:
    x = images(2, side=8)
    before = x.clone()
    build_backbone("resnet8-slim")(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet20-slim"])
def test_channels_last_runs_through_without_a_change_of_layout(name: str) -> None:
    torch.manual_seed(4)
    net = build_backbone(name).double()
    x = images(2, side=16, dtype=torch.float64)
    expected = net(x)
    net = net.to(memory_format=CHANNELS_LAST)
    changed: list[str] = []

    def watch(key: str, module: nn.Module) -> None:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            # a 1 x 1 map is contiguous in both formats; larger ones tell the formats apart
            if output.ndim == 4 and not output.is_contiguous(memory_format=CHANNELS_LAST):
                changed.append(key)

            def back(gradient: Tensor) -> None:
                if not gradient.is_contiguous(memory_format=CHANNELS_LAST):
                    changed.append(f"gradient of {key}")

            if isinstance(module, nn.Conv2d):
                output.register_hook(back)

        module.register_forward_hook(hook)

    for key, module in net.named_modules():
        watch(key, module)
    actual = net(x.contiguous(memory_format=CHANNELS_LAST))
    actual.sum().backward()
    assert changed == []
    assert torch.allclose(actual, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_default_initial_weights_are_pytorchs(name: str) -> None:
    """Uniform in +-1 / sqrt(fan in): the bound is kept and nearly reached, and the deviation is bound / sqrt(3)."""
    torch.manual_seed(5)
    net = build_backbone(name)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            assert module.bias is None
            bound = 1 / math.sqrt(module.weight[0].numel())
            assert 0.98 * bound < module.weight.abs().max() <= bound
            assert module.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)


@pytest.mark.parametrize("name", ["resnet32", "resnet32-slim", "resnet20-slim", "resnet8-slim"])
def test_three_stage_initial_weights_are_kaiming_normal_fan_in(name: str) -> None:
    torch.manual_seed(6)
    net = build_backbone(name)
    standardised = []
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            assert module.bias is None
            deviation = math.sqrt(2 / module.weight[0].numel())
            assert module.weight.std().item() == pytest.approx(deviation, rel=0.12)
            standardised.append((module.weight / deviation).detach().flatten())
    values = torch.cat(standardised)
    assert values.std().item() == pytest.approx(1, abs=0.01)
    assert (values.abs() > 2).double().mean().item() == pytest.approx(0.0455, abs=0.005)  # a normal's tails


def test_batch_norm_follows_every_convolution_and_starts_as_the_identity() -> None:
    for name in SMALL_SET:
        net = build_backbone(name)
        convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
        norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
        assert [module.out_channels for module in convolutions] == [module.num_features for module in norms]
        for norm in norms:
            assert torch.all(norm.weight == 1)
            assert torch.all(norm.bias == 0)


@pytest.mark.parametrize("name", ["resnet34", "resnet50", "resnet20-slim"])
def test_trains_on_a_last_batch_of_one_image(name: str) -> None:
    net = build_backbone(name).train()
    features = net(images(1))
    features.sum().backward()
    assert features.shape == (1, net.feature_dim)
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


def test_same_seed_same_weights() -> None:
    nets = []
    for seed in (7, 7, 8):
        torch.manual_seed(seed)
        nets.append(torch.cat([p.flatten() for p in build_backbone("resnet8-slim").parameters()]))
    assert torch.equal(nets[0], nets[1])
    assert not torch.equal(nets[0], nets[2])
