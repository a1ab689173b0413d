"""Fine-tuning from settings to run folders: what is trained, by what, and what stays as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from fsgl.errors import UserError
from fsgl.models.assemble import build_classifier
from fsgl.models.backbones import build_backbone
from fsgl.optim.averaging import WeightAverage
from fsgl.optim.sam import SamSpec, make_ascent
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import Experiment, override
from fsgl.runs.assemble import make_optimizer
from fsgl.types import Batch, Sample


def experiment(*assignments: str) -> Experiment:
    return override(make_experiment("balanced-softmax", "digits"), *assignments)


def norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


@pytest.mark.parametrize("rho", [0.0, 0.1])
def test_frozen_statistics_stay_while_everything_is_trained(rho: float) -> None:
    model = build_classifier(build_backbone("resnet8-slim"), 3)
    for layer in norms(model):
        layer.running_mean.normal_()
    model.frozen_batch_norm = True
    before = copy.deepcopy(model.state_dict())
    optimizer = make_optimizer(experiment("optim.kind=adamw", "schedule.lr=0.01"), model)
    images, labels = torch.randn(6, 3, 32, 32), torch.arange(6) % 3
    model.train()
    alone = model.predict(images[:1])  # of itself, whatever else is in the batch
    torch.testing.assert_close(alone, model.predict(images)[:1], rtol=1e-4, atol=1e-5)

    def gradient() -> None:
        nn.functional.cross_entropy(model(images), labels).backward()

    optimizer.zero_grad()
    with make_ascent(model, SamSpec(rho))(gradient):
        gradient()
    optimizer.step()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == ("running" in name or "num_batches" in name), name
    average = WeightAverage(model)
    average.renew_statistics([Batch(Sample((images,), labels), None)])
    for layer, kept in zip(norms(average.model), norms(model), strict=True):
        assert torch.equal(layer.running_mean, kept.running_mean)


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["optim.kind=adamw", "optim.momentum=0.5"], "optim.momentum is of sgd"),
        (["optim.kind=adam"], "did you mean 'adamw'"),
        (["transfer.batch_norm=frozen"], "name transfer.weights"),
    ],
)
def test_settings_that_say_nothing_are_refused(assignments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        experiment(*assignments)


def test_settings_that_came_later_leave_hashes_as_they_were() -> None:
    plain = experiment()
    assert experiment("optim.kind=sgd", "transfer.batch_norm=batch", "schedule.warmup_share=0.1").hash == plain.hash
    assert experiment("optim.kind=adamw").hash != plain.hash
    read = Experiment.from_json({key: value for key, value in plain.to_json().items() if key != "transfer"}, "old")
    assert read == plain
