"""The replay of steps, with a recorder that works without a GPU; and, where there is one, CUDA graphs themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fsgl.data.stream.streams import ArrayStream, StreamSpec
from fsgl.data.stream.transforms import CropFlip
from fsgl.engine.fit import TrainingPlan, TrainState, fit
from fsgl.engine.graphs import GraphedUpdate
from fsgl.engine.step import Update
from fsgl.engine.tally import Tally
from fsgl.losses.class_weights import power_class_weights
from fsgl.methods import Glmc
from fsgl.models.assemble import FourHeadNet
from fsgl.models.feature_scaling import FeatureScaling
from fsgl.models.heads import FourHeads
from fsgl.optim.sam import SamSpec, make_ascent
from fsgl.optim.schedule import Schedule
from fsgl.types import Losses

COUNTS = [20, 9, 4]
IMAGES = np.random.default_rng(0).integers(0, 256, (33, 8, 8, 3), dtype=np.uint8)
LABELS = np.repeat(np.arange(3), COUNTS)
EPOCHS = 3
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


class Recorder:
    """Like a CUDA graph: the recording runs nothing, each replay runs it on what the fixed tensors then hold."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def warm_up(self, function: Callable[[], Losses]) -> Losses:
        return function()

    def record(self, function: Callable[[], Losses]) -> tuple[Losses, Callable[[], None]]:
        self.recorded += 1
        result = Losses(torch.zeros(()))

        def replay() -> None:
            self.replayed += 1
            result.total.copy_(function().total.detach())

        return result, replay


def make_state(device: str = "cpu") -> TrainState:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    weights = power_class_weights(COUNTS, 1.2).float()
    net = FourHeadNet(backbone, FeatureScaling(COUNTS, 0.5), FourHeads(5, 3, 4), weights).to(device)
    net = net.to(memory_format=torch.channels_last)
    sgd = torch.optim.SGD(net.parameters(), lr=9.0, momentum=0.9, weight_decay=5e-3, fused=True)
    return TrainState(net, sgd, Tally(device))


def make_plan(state: TrainState, capture: Recorder | None, graphs: bool = True, device: str = "cpu") -> TrainingPlan:
    spec, method = StreamSpec(6, 2, 0.5, seed=4), Glmc()
    stream = ArrayStream(IMAGES, LABELS, 3, spec, CropFlip(padding=1), (0.5,) * 3, (0.25,) * 3, device)
    update = Update(state.model, method, state.optimizer, make_ascent(state.model, SamSpec(0.05)), state.tally)
    updates = GraphedUpdate(update, capture=capture) if graphs else update
    return TrainingPlan(method, stream, Schedule(0.2), updates, 3, EPOCHS, seed=4)


def train(
    state: TrainState, capture: Recorder | None, graphs: bool = True, device: str = "cpu"
) -> list[dict[str, float]]:
    plan = make_plan(state, capture, graphs, device)
    return [report.loss for report in fit(state, plan, lambda report: False)]


def test_replayed_training_is_the_ordinary_one_bit_for_bit() -> None:
    """Also over epochs, whose learning rate and progress differ, and their last batch, which is smaller."""
    plain, replayed, recorder = make_state(), make_state(), Recorder()
    expected = train(plain, None, graphs=False)
    assert train(replayed, recorder) == expected
    for (name, one), other in zip(plain.model.state_dict().items(), replayed.model.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    # Six steps an epoch: three to warm up, one of another size an epoch, the rest replayed; one recording an epoch.
    assert (recorder.recorded, recorder.replayed) == (EPOCHS, 6 * EPOCHS - 3 - EPOCHS)


def test_an_epochs_last_batch_is_not_compiled_for() -> None:
    torch.compiler.reset()
    sizes: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        sizes.extend(tensor.shape[0] for tensor in inputs if tensor.ndim == 4 and tensor.shape[1:] == (3, 8, 8))
        return graph.forward

    state = make_state()
    state.model.compile(backend=backend, dynamic=False)
    train(state, Recorder())
    assert set(sizes) == {6}


@GPU
def test_cuda_graphs_train_like_ordinary_steps() -> None:
    torch.backends.cudnn.deterministic = True
    plain, replayed = make_state("cuda"), make_state("cuda")
    expected, found = train(plain, None, False, "cuda"), train(replayed, None, True, "cuda")
    for one, other in zip(expected, found, strict=True):
        assert other == pytest.approx(one, rel=1e-4)
    for (name, one), other in zip(plain.model.state_dict().items(), replayed.model.state_dict().values(), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5, msg=name)


@GPU
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.parametrize("graphs", [False, True])
def test_nothing_within_an_epoch_waits_for_the_gpu(graphs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One epoch whose losses are read once, at its end, under torch's own check."""
    state = make_state("cuda")
    train(state, None, graphs, "cuda")  # what is set up once may wait
    state.epoch = EPOCHS - 1
    honest = Tally.read

    def read(self: Tally) -> dict[str, float]:
        torch.cuda.set_sync_debug_mode("default")
        return honest(self)

    monkeypatch.setattr(Tally, "read", read)
    plan = make_plan(state, None, graphs, "cuda")  # brings the images there, and waits
    torch.cuda.set_sync_debug_mode("error")
    try:
        assert len(list(fit(state, plan, lambda report: False))) == 1
    finally:
        torch.cuda.set_sync_debug_mode("default")


@GPU
def test_a_gpu_sees_the_same_crops_as_a_cpu() -> None:
    spec = StreamSpec(6, 2, 0.5, seed=4)
    streams = [
        ArrayStream(IMAGES, LABELS, 3, spec, CropFlip(padding=1), (0.5,) * 3, (0.25,) * 3, device)
        for device in ("cpu", "cuda")
    ]
    for one, other in zip(*(stream.batches(1) for stream in streams), strict=True):
        for view, moved in zip(one.original.views, other.original.views, strict=True):
            torch.testing.assert_close(moved.cpu(), view, rtol=0, atol=1e-6)
        assert torch.equal(one.original.labels, other.original.labels.cpu())
