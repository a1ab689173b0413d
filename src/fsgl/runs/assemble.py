"""An experiment's training, assembled: the state that changes and everything that works on it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fsgl.data.stream.streams import Shard, StreamSpec
from fsgl.engine.fit import TrainingPlan, TrainState
from fsgl.engine.graphs import GraphedUpdate
from fsgl.engine.precision import compute_dtype
from fsgl.engine.processes import ALONE
from fsgl.engine.runtime import Placement, Runtime
from fsgl.engine.step import Update
from fsgl.engine.tally import Tally
from fsgl.errors import UserError
from fsgl.models.assemble import RecognitionNet
from fsgl.optim.sam import make_ascent
from fsgl.recipes.experiment import Experiment
from fsgl.runs.network import ModelWithData


def parameter_groups(model: nn.Module, backbone_lr: float, layer_decay: float = 1.0) -> list[dict[str, Any]]:
    """What the optimizer changes: everything that is not frozen.

    backbone_lr: the backbone's learning rate as a share of the heads'; other than 1, it is a group of its own, whose
    share ``fit`` finds in the group's ``lr_factor``.  layer_decay: below 1, each of the backbone's layers is such a
    group, from the one under the heads on down: backbone_lr * layer_decay, then * layer_decay**2, ...
    """
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    if backbone_lr == layer_decay == 1:
        return [{"params": list(trained.values())}]
    backbone = [weight for name, weight in trained.items() if name.startswith("backbone.")]
    heads = [weight for name, weight in trained.items() if not name.startswith("backbone.")]
    if layer_decay != 1:
        layers: dict[int, list[nn.Parameter]] = {}
        depths: dict[str, int] = model.backbone.depths()  # type: ignore[operator, union-attr]
        for name, weight in trained.items():
            if name.startswith("backbone."):
                layers.setdefault(depths[name.removeprefix("backbone.")], []).append(weight)
        top = max(depths.values(), default=0)
        shares = {depth: backbone_lr * layer_decay ** (top - depth + 1) for depth in layers}
        return [{"params": heads}, *({"params": layers[d], "lr_factor": shares[d]} for d in sorted(layers))]
    return [{"params": heads}, {"params": backbone, "lr_factor": backbone_lr}]


def make_optimizer(experiment: Experiment, model: nn.Module) -> torch.optim.Optimizer:
    """What descends. Fused: one pass over the weights instead of four; and it heeds the tally."""
    optim, groups = (
        experiment.optim,
        parameter_groups(model, experiment.transfer.backbone_lr, experiment.transfer.layer_decay),
    )
    common: dict[str, Any] = {"lr": experiment.schedule.lr, "weight_decay": optim.weight_decay, "fused": True}
    if optim.kind == "adamw":
        return torch.optim.AdamW(groups, **common)
    return torch.optim.SGD(groups, momentum=optim.momentum, **common)


def set_compute_dtype(model: nn.Module, precision: str) -> None:
    """Let the backbone compute in what a precision stands for."""
    for module in model.modules():
        if isinstance(module, RecognitionNet):
            module.compute_dtype = compute_dtype(precision)


def assemble(
    experiment: Experiment, network: ModelWithData, runtime: Runtime, placement: Placement
) -> tuple[TrainState, TrainingPlan]:
    """Optimizer, stream and update for a network that is on its device already."""
    optim, method, model = experiment.optim, experiment.method, network.model
    processes, device = placement.processes, placement.device
    set_compute_dtype(model, placement.precision)
    if runtime.compile:
        model.compile(dynamic=False)  # in place: the weights keep their names
    optimizer = make_optimizer(experiment, model)
    state = TrainState(model, optimizer, Tally(device))
    ascending = processes if experiment.sam.ascent == "global" else ALONE
    update = Update(model, method, optimizer, make_ascent(model, experiment.sam), state.tally, processes, ascending)
    second_stage = method.second_stage(optim.epochs)
    if method.stateful and runtime.cuda_graphs:
        raise UserError(f"{method.name} keeps state between steps, which CUDA graphs do not; leave --cuda-graphs off")
    if second_stage is not None and runtime.cuda_graphs:
        raise UserError(f"{method.name} trains in two stages, which CUDA graphs do not follow; leave --cuda-graphs off")
    if experiment.schedule.by_step and runtime.cuda_graphs:
        raise UserError("schedule.kind=step-cosine changes the rate within a CUDA graph; leave --cuda-graphs off")
    q = method.resample_weighting if method.needs_two_streams else None
    shard = Shard(processes.index, processes.count)
    balanced_from = second_stage if method.balanced_second_stage else None
    stream = network.data.stream(
        StreamSpec(optim.batch_size, method.views, q, experiment.seed, shard, balanced_from), device, runtime.workers
    )
    recipe = TrainingPlan(
        method=method,
        stream=stream,
        schedule=experiment.schedule,
        update=GraphedUpdate(update) if runtime.cuda_graphs else update,
        num_classes=network.data.num_classes,
        epochs=optim.epochs,
        seed=experiment.seed,
        second_stage=second_stage,
        averaging=experiment.averaging,
    )
    return state, recipe
