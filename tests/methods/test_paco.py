"""PaCo's state: what momentum encoder and queue hold after some steps, with SAM, interrupted, on two processes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.builders import make_batch
from torch.nn.functional import normalize

from fsgl.data.load import load_data
from fsgl.engine.processes import ALONE, ConnectedProcesses
from fsgl.engine.runtime import Placement, Runtime
from fsgl.engine.step import Update, training_step
from fsgl.errors import UserError
from fsgl.methods import Paco
from fsgl.models.backbones import build_backbone
from fsgl.optim.sam import SamSpec, make_ascent
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import override
from fsgl.runs.assemble import assemble
from fsgl.runs.network import build_network
from fsgl.runs.train import train
from fsgl.types import Share

COUNTS = torch.tensor([50, 7, 20, 2])
METHOD = Paco(queue=10, momentum=0.9)


def made(method: Paco = METHOD) -> Any:
    torch.manual_seed(0)
    model = method.build(build_backbone("resnet8-slim", 1), COUNTS)
    method.begin(model, False)
    return model.train()


@pytest.mark.parametrize("rho", [0.0, 0.05])
def test_keys_follow_and_the_queue_turns_once_a_step(rho: float) -> None:
    """Against a momentum encoder and a list kept by hand; SAM's second pass adds nothing."""
    model = made()
    slow, queue = copy.deepcopy(model.key_encoder), []
    for step in range(4):
        with torch.no_grad():
            fast = [*model.backbone.parameters(), *model.projection.parameters()]
            for mine, theirs in zip(slow.parameters(), fast, strict=True):
                mine.mul_(0.9).add_(theirs, alpha=0.1)
            batch = make_batch(4, (1, 8, 8), 4, views=2, seed=step)
            keys = normalize(slow[1](slow[0](batch.original.views[1])), dim=1)
        queue += zip(keys, batch.original.labels.tolist(), strict=True)
        sgd = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=0.1)
        update = Update(model, METHOD, sgd, make_ascent(model, SamSpec(rho)))
        training_step(update, METHOD, batch, 4, 0.0, torch.Generator())
    assert int(model.queued) == len(queue) == 16
    for place, (key, label) in enumerate(queue[6:], start=6):  # the last ten, each where its turn is
        torch.testing.assert_close(model.queue[place % 10], key)
        assert int(model.queue_labels[place % 10]) == label
    assert all(weight.grad is None for weight in model.key_encoder.parameters())


def test_a_step_larger_than_the_queue_leaves_its_last_keys() -> None:
    method = Paco(queue=3)
    model = made(method)
    mixed = method.prepare(model, method.mix(make_batch(5, (1, 8, 8), 4, views=2), 4, torch.Generator()))
    method.remember(model, mixed, lambda rows: rows)
    labels, keys = mixed.extras
    assert sorted(model.queue_labels.tolist()) == sorted(labels[-3:].tolist())
    assert {tuple(row) for row in model.queue.tolist()} == {tuple(row) for row in keys[-3:].tolist()}


def test_begins_alike_and_is_no_part_of_what_is_trained() -> None:
    model = made()
    for slow, fast in zip(model.key_encoder[0].parameters(), model.backbone.parameters(), strict=True):
        assert torch.equal(slow, fast)
        assert not slow.requires_grad
    assert (model.queue_labels == -1).all()


def test_two_processes_join_their_rows_in_the_order_of_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = torch.randn(5, 3)
    parts: list[torch.Tensor] = []
    for index, rows in ((0, whole[:2]), (1, whole[2:])):
        processes = ConnectedProcesses(index, 2)
        monkeypatch.setattr(ConnectedProcesses, "_sum", lambda self, tensor: parts.append(tensor))
        processes.join(rows, Share(len(rows), 5))
    assert torch.equal(parts[0] + parts[1], whole)
    padding = ConnectedProcesses(0, 8).join(whole[:1], Share(0, 5))  # a process without a row of its own
    assert not padding.any()
    assert ALONE.join(whole, Share(5, 5)) is whole


def test_interrupted_ends_bit_for_bit(tmp_path: Path) -> None:
    experiment = override(make_experiment("paco", "digits"), "optim.epochs=2", "optim.batch_size=128", "sam.rho=0.05")
    train(experiment, tmp_path / "whole", Runtime("cpu", trackers=()))
    train(experiment, tmp_path / "parts", Runtime("cpu", trackers=(), max_steps=4))
    train(experiment, tmp_path / "parts", Runtime("cpu", trackers=()), resume=True)
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert {"queue", "queue_labels", "queued"} <= whole.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_refuses_what_it_cannot_do() -> None:
    experiment, cpu = make_experiment("paco", "digits"), torch.device("cpu")
    network = build_network(experiment, load_data(experiment.data), cpu)
    with pytest.raises(UserError, match="paco keeps state between steps, which CUDA graphs do not"):
        assemble(experiment, network, Runtime("cpu", cuda_graphs=True), Placement(cpu, "float32"))
    for wrong in ({"queue": 0}, {"momentum": 1.1}, {"temperature": 0.0}, {"alpha": -1.0}, {"width": 0}):
        with pytest.raises(UserError, match="must be"):
            Paco(**wrong)
