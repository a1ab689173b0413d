"""The README's example runs as printed, and is FSGL: one step of it equals one step of the recipe's code."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from fsgl.engine.step import Update, training_step
from fsgl.losses.class_weights import power_class_weights
from fsgl.methods import Glmc
from fsgl.models.assemble import FourHeadNet
from fsgl.models.backbones import build_backbone
from fsgl.models.feature_scaling import FeatureScaling, FeatureScalingSpec
from fsgl.models.heads import FourHeads
from fsgl.optim.sam import SamSpec, make_ascent
from fsgl.types import Batch, Sample

README = Path(__file__).parent.parent / "README.md"
LABELS = torch.tensor([0] * 9 + [1] * 4 + [2] * 2)


def batches(count: int) -> list[tuple]:
    random = torch.Generator().manual_seed(7)

    def images() -> torch.Tensor:
        return torch.randn(6, 3, 16, 16, generator=random)

    def labels() -> torch.Tensor:
        return torch.randint(3, (6,), generator=random)

    return [((images(), images()), labels(), (images(), images()), labels()) for _ in range(count)]


def test_example_runs_as_printed_and_equals_the_recipe() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    scope = {"labels": LABELS, "num_classes": 3, "epochs": 2, "loader": batches(2)}
    torch.manual_seed(11)
    exec(compile(code, "README.md", "exec"), scope)

    torch.manual_seed(11)
    backbone = build_backbone("resnet8-slim")
    heads = FourHeads(backbone.feature_dim, 3, backbone.head_width)
    counts = torch.bincount(LABELS)
    net = FourHeadNet(backbone, FeatureScaling(counts, 0.5), heads, power_class_weights(counts, 1.2).float()).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-3)
    method = Glmc(feature_scaling=FeatureScalingSpec(0.5))
    update = Update(net, method, optimizer, make_ascent(net, SamSpec(0.05)))
    draws = torch.Generator().manual_seed(0)
    for epoch in range(2):
        for x_o, y_o, x_r, y_r in batches(2):
            batch = Batch(Sample(x_o, y_o), Sample(x_r, y_r))
            training_step(update, method, batch, 3, epoch / 2, draws)
    for name, value in scope["net"].state_dict().items():
        torch.testing.assert_close(value, net.state_dict()[name], rtol=1e-5, atol=1e-6, msg=name)
