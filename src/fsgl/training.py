"""An experiment's training, assembled: the state that changes and everything that works on it."""

from __future__ import annotations

import torch

from fsgl.data.streams import Shard, StreamSpec
from fsgl.engine.fit import Recipe, TrainState
from fsgl.engine.graphs import GraphedUpdate
from fsgl.engine.precision import compute_dtype
from fsgl.engine.step import Update
from fsgl.engine.tally import Tally
from fsgl.experiment import Experiment
from fsgl.models.assemble import Net
from fsgl.network import Network
from fsgl.optim.sam import make_ascent
from fsgl.processes import ALONE
from fsgl.runtime import Placement, Runtime


def assemble(
    experiment: Experiment, network: Network, runtime: Runtime, placement: Placement
) -> tuple[TrainState, Recipe]:
    """Optimizer, stream and update for a network that is on its device already."""
    optim, method, model = experiment.optim, experiment.method, network.model
    processes, device = placement.processes, placement.device
    for module in model.modules():
        if isinstance(module, Net):
            module.compute_dtype = compute_dtype(placement.precision)
    if runtime.compile:
        model.compile(dynamic=False)  # in place: the weights keep their names
    sgd = torch.optim.SGD(
        model.parameters(),
        lr=experiment.schedule.lr,
        momentum=optim.momentum,
        weight_decay=optim.weight_decay,
        fused=True,  # one pass over the weights instead of four; and it heeds the tally
    )
    state = TrainState(model, sgd, Tally(device))
    climbing = processes if experiment.sam.climb == "global" else ALONE
    update = Update(model, method, sgd, make_ascent(model, experiment.sam), state.tally, processes, climbing)
    q = method.resample_weighting if method.needs_two_streams else None
    shard = Shard(processes.index, processes.count)
    stream = network.data.stream(
        StreamSpec(optim.batch_size, method.views, q, experiment.seed, shard), device, runtime.workers
    )
    recipe = Recipe(
        method=method,
        stream=stream,
        schedule=experiment.schedule,
        update=GraphedUpdate(update) if runtime.cuda_graphs else update,
        num_classes=network.data.num_classes,
        epochs=optim.epochs,
        seed=experiment.seed,
    )
    return state, recipe
