"""Every method's gradient is the slope of its own loss, weight by weight; where the paper stops one, none comes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from tests.builders import make_batch
from torch import Tensor, nn

from fsgl.methods import METHODS, Crt, Glmc, Lws, Method
from fsgl.models.backbone import Backbone
from fsgl.models.feature_scaling import FeatureScalingSpec
from fsgl.models.heads import HeadOutputs
from fsgl.types import Mixed

COUNTS = torch.tensor([50, 7, 20, 2])
EPOCHS, STEP = 100, 1e-6

CASES: dict[str, Method] = {name: method() for name, method in METHODS.items()} | {
    "crt-batch": Crt(batch_norm="batch"),
    "lws-kept": Lws(bias="kept"),
    "fsgl-balanced": Glmc(feature_scaling=FeatureScalingSpec(0.5), rebalancing="balanced-softmax"),
}

# What the papers learn in the second stage alone: the optimizer of the first must find no gradient there.
SECOND_ALONE = {
    "lws": {"fc.factors_K"},
    "disalign": {"fc.confidence.weight", "fc.confidence.bias", "fc.scale_K", "fc.shift_K"},
}


class TwoParts(Backbone):
    """Smooth, and with a last part for each of SADE's experts."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 3, 3, stride=2, bias=False), nn.BatchNorm2d(3), nn.Tanh())
        self.last = nn.Sequential(
            nn.Conv2d(3, 5, 2, bias=False), nn.BatchNorm2d(5), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.feature_dim, self.head_width, self.linear_init = 5, 4, "default"

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.last(self.first(images))
        return features

    def parted(self) -> tuple[nn.Module, nn.Module]:
        return self.first, self.last


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def hold_projections(heads: nn.Module) -> None:
    """GLMC draws each prediction to the other view's projection as it stands (SimSiam), and stops that gradient on
    purpose. So from the second loss on, its projections are constants: those of the first."""
    held: list[Tensor] = []
    views = itertools.cycle((0, 1))

    def recall(module: nn.Module, arguments: tuple[Tensor], outputs: HeadOutputs) -> HeadOutputs:
        view = next(views)
        if len(held) == 2:
            return outputs._replace(projection_BD=held[view])
        held.append(outputs.projection_BD.detach())
        return outputs

    heads.register_forward_hook(recall)


def slope(loss: Callable[[], Tensor], weight: Tensor, direction: Tensor) -> float:
    """By central differences; the weight is left as it was."""
    kept, values = weight.detach().clone(), []
    with torch.no_grad():
        for sign in (1, -1):
            weight.copy_(kept + sign * STEP * direction)
            values.append(loss().item())
        weight.copy_(kept)
    return (values[0] - values[1]) / (2 * STEP)


def make_net(method: Method, second_stage: bool) -> Any:
    """In training mode; no weight is where it begins, and no running statistic."""
    torch.manual_seed(0)
    model: Any = method.build(TwoParts(), COUNTS)
    model.train().features(torch.randn(20, 1, 8, 8))
    method.begin(model, False)
    if second_stage:
        method.enter_second_stage(model, fresh=True)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return model


def make_mixed(method: Method, model: Any) -> Mixed:
    """What a second step is shown: a queue has the keys of a first one."""
    for step in range(2):
        batch = make_batch(8, (1, 8, 8), len(COUNTS), method.views, 1 + method.needs_two_streams, step, torch.float64)
        with torch.no_grad():
            mixed = method.prepare(model, method.mix(batch, len(COUNTS), torch.Generator().manual_seed(1)))
            if step == 0:
                method.remember(model, mixed, lambda rows: rows)
    return mixed


@pytest.mark.parametrize("progress", [0.3, 0.95])  # before what begins late, a second stage included, and after it
@pytest.mark.parametrize("case", CASES)
def test_gradient_is_the_slope_along_every_weight(case: str, progress: float) -> None:
    method = CASES[case]
    begins = method.second_stage(EPOCHS)
    in_second = begins is not None and progress * EPOCHS >= begins
    model = make_net(method, in_second)
    mixed = make_mixed(method, model)
    if isinstance(method, Glmc):
        hold_projections(model.heads)
    method.loss(model, mixed, progress).total.backward()
    random = torch.Generator().manual_seed(2)
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            continue
        if not in_second and name in SECOND_ALONE.get(method.name, ()):
            assert weight.grad is None, name
            continue
        direction = torch.randn(weight.shape, generator=random)
        expected = slope(lambda: method.loss(model, mixed, progress).total, weight, direction)
        found = 0.0 if weight.grad is None else (weight.grad * direction).sum().item()
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-7), name
        assert abs(found) > 1e-4 or name.endswith("projection.0.bias"), name  # BatchNorm takes that bias away
