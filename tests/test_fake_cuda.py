"""What only a GPU runs, rehearsed on fake CUDA tensors: no GPU, no driver, no figures; shapes, devices and waiting.

Within ``FakeCuda`` whatever lies on "cuda" is a fake tensor, and all else is real: the host's random numbers, images
and batches of positions. It raises where a tensor was left on the CPU, where the host reads a value (``item``, ``if``),
and, once ``strict``, where it copies to the device and waits for that. What is fetched is counted and comes as zeros.
Stand-ins, for want of a driver: pinning memory, the backward pass (every parameter that the loss reaches gets a
gradient on its own device) and the kernel of fused SGD.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, count
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensor, FakeTensorMode
from torch.utils._pytree import tree_leaves

from fsgl.data.load import LoadedData, load_data
from fsgl.data.stream.transforms import _affine_rows
from fsgl.data.stream.views import Draw, _constants, finish_on_device
from fsgl.engine.fit import TrainingPlan, TrainState
from fsgl.engine.runtime import Placement, Runtime
from fsgl.engine.step import training_step
from fsgl.evaluation.metrics import evaluate_predictions
from fsgl.methods import CrossEntropy
from fsgl.randomness import generator
from fsgl.recipes import RECIPES, make_experiment
from fsgl.recipes.experiment import Experiment
from fsgl.runs.assemble import assemble
from fsgl.runs.network import ModelWithData, build_network
from fsgl.types import Batch, Losses, Mixed

CUDA = torch.device("cuda")
COPY = torch.ops.aten._to_copy.default


class Waits(AssertionError):
    """The host would wait for the device here."""


class FakeCuda(FakeTensorMode):
    """strict: whether copies to the device that are waited for raise.  fetched: tensors that came from the device."""

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self.strict = False
        self.fetched = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "overloadpacket", None) is torch.ops.aten.to:  # in inference mode; its copy then comes here
            with self:
                return func.decompose(*args, **kwargs)
        fakes = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, FakeTensor)]
        target = kwargs.get("device")
        to_cuda = target is not None and torch.device(target).type == "cuda"
        if not fakes and not to_cuda:
            return func(*args, **kwargs)
        if fakes and func is COPY and target is not None and not to_cuda:
            self.fetched += 1
            return torch.zeros(fakes[0].shape, dtype=kwargs.get("dtype") or fakes[0].dtype)
        if not fakes and func is COPY and self.strict and not kwargs.get("non_blocking"):
            raise Waits("a copy to the device, from memory that is not pinned")
        return super().__torch_dispatch__(func, types, args, kwargs)


def reached(loss: Tensor) -> Iterator[Tensor]:
    """The parameters that a loss depends on."""
    todo: list[Any] = [loss.grad_fn]
    seen: set[Any] = set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        todo += [function for function, _ in node.next_functions]


def stand_in_backward(loss: Tensor) -> None:
    for parameter in reached(loss):
        parameter.grad = torch.empty_like(parameter)


def stand_in_sgd(
    weights: Iterable[Tensor], gradients: Iterable[Tensor], momenta: Iterable[Tensor], **others: object
) -> None:
    shared = [value for value in others.values() if isinstance(value, Tensor)]
    assert shared  # found_inf, at least
    for tensor in (*weights, *gradients, *momenta, *shared):
        assert tensor.device.type == "cuda"


@pytest.fixture
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(Tensor, "backward", stand_in_backward)
    monkeypatch.setattr(torch, "_fused_sgd_", stand_in_sgd)
    caches = (_affine_rows, _constants)  # a fake tensor must neither be left there nor be found
    for cache in caches:
        cache.cache_clear()
    with FakeCuda() as mode:
        yield mode
    for cache in caches:
        cache.cache_clear()


@pytest.fixture(scope="module")
def digits() -> LoadedData:
    return load_data(make_experiment("cross-entropy", "digits").data)


def assembled(experiment: Experiment, data: LoadedData, precision: str = "float32") -> tuple[TrainState, TrainingPlan]:
    network = build_network(experiment, data, CUDA)
    state, recipe = assemble(experiment, network, Runtime("cuda"), Placement(CUDA, precision))
    state.model.train()
    return state, recipe


def take_steps(
    mode: FakeCuda, state: TrainState, recipe: TrainingPlan, steps: int = 2, progress: float = 0.9
) -> Losses:
    """The first may fill caches; those after it wait for nothing."""
    batches = chain.from_iterable(recipe.stream.batches(epoch) for epoch in count())
    for step in range(steps):
        mode.strict = step > 0
        losses = training_step(
            recipe.update, recipe.method, next(batches), recipe.num_classes, progress, generator(0, "mix", step)
        )
    mode.strict = False
    return losses


def everything(state: TrainState) -> list[Tensor]:
    tensors = [*state.model.parameters(), *state.model.buffers()]
    return [*tensors, *(weight.grad for weight in state.model.parameters() if weight.grad is not None)]


SAME_CODE = {"fsgl-same", "fsgl-half", "fsgl-inverse"}  # as fsgl's, with other scales
SOME_SAM = ("cross-entropy+sam", "ldam-drw+sam", "crt+sam")


@pytest.mark.parametrize("name", [*sorted(RECIPES.keys() - SAME_CODE), *SOME_SAM])
def test_a_step_of_every_method_stays_on_the_device_and_waits_for_nothing(
    name: str, fake_cuda: FakeCuda, digits: LoadedData
) -> None:
    experiment = make_experiment(name, "digits")
    state, recipe = assembled(experiment, digits)
    losses = take_steps(fake_cuda, state, recipe)
    assert fake_cuda.fetched == 0
    assert losses.total.device.type == "cuda"
    assert losses.total.shape == ()
    assert all(isinstance(tensor, FakeTensor) and tensor.device.type == "cuda" for tensor in everything(state))
    assert all(weight.grad is not None for weight in state.model.get_submodule("backbone").parameters())
    with pytest.raises(DataDependentOutputException):  # reading the tally is what waits
        state.means()
    if recipe.second_stage is not None:
        state.epoch, state.step = recipe.second_stage, 0
        recipe.enter_stage(state)
        take_steps(fake_cuda, state, recipe)
        assert fake_cuda.fetched == 0


def test_bf16_autocast_keeps_heads_and_losses_in_float32(
    fake_cuda: FakeCuda, digits: LoadedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda: True)
    state, recipe = assembled(make_experiment("fsgl", "digits"), digits, "bf16")
    seen: set[torch.dtype] = set()
    convolution = next(module for module in state.model.modules() if isinstance(module, nn.Conv2d))
    convolution.register_forward_hook(lambda module, given, out: seen.add(out.dtype))
    assert take_steps(fake_cuda, state, recipe).total.dtype == torch.float32
    assert seen == {torch.bfloat16}


def test_the_stream_holds_the_images_on_the_device_and_sends_many_steps_at_once(
    fake_cuda: FakeCuda, digits: LoadedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[int, ...]] = []
    pin = Tensor.pin_memory
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: sent.append(tuple(tensor.shape)) or pin(tensor))
    _state, recipe = assembled(make_experiment("fsgl", "digits"), digits)
    fake_cuda.strict = True
    _affine_rows.cache_clear()
    with pytest.raises(Waits):  # mean and deviation, once a run
        next(recipe.stream.batches(0))
    fake_cuda.strict = False
    next(recipe.stream.batches(0))
    sent.clear()
    fake_cuda.strict = True
    batches = list(recipe.stream.batches(1))
    assert len(batches) == recipe.stream.steps_per_epoch
    assert len(sent) == -(-len(batches) // 64)
    for batch in (batches[0], batches[-1]):
        assert batch.rebalanced is not None
        for sample in (batch.original, batch.rebalanced):
            assert {tensor.device.type for tensor in (*sample.views, sample.labels)} == {"cuda"}
            assert sample.views[0].shape == (len(sample.labels), 1, 8, 8)


def test_prediction_fetches_once_whatever_the_size(fake_cuda: FakeCuda, digits: LoadedData) -> None:
    for name in ("fsgl", "ldam-drw"):
        network = build_network(make_experiment(name, "digits"), digits, CUDA)
        fake_cuda.fetched = 0
        logits = network.logits(digits.test, CUDA)
        assert logits.shape == (len(digits.test), 10)
        assert logits.dtype == np.float32
        assert fake_cuda.fetched == 1
        assert network.features(digits.test, CUDA).shape == (len(digits.test), 64)
        assert fake_cuda.fetched == 2
        assert network.measure(digits.test, logits)["n"] == len(digits.test)


def test_metrics_fetch_tensors_from_the_device(fake_cuda: FakeCuda) -> None:
    logits, labels = torch.randn(6, 3, device=CUDA), torch.zeros(6, dtype=torch.int64, device=CUDA)
    assert evaluate_predictions(logits, labels, [5, 3, 1])["top1"] == 100.0  # zeros come: the first class
    assert fake_cuda.fetched == 2


def test_photographs_are_finished_on_the_device(fake_cuda: FakeCuda) -> None:
    crops = torch.zeros(5, 12, 12, 3, dtype=torch.uint8, device=CUDA)
    draws = torch.zeros(5, len(Draw._fields), device=CUDA)
    finish_on_device(crops, draws)
    fake_cuda.strict = True
    views = finish_on_device(crops, draws)
    assert views.shape == (5, 12, 12, 3)
    assert views.device.type == "cuda"
    assert fake_cuda.fetched == 0


class LeftBehind(CrossEntropy):
    """Wrong: its weights stay on the CPU."""

    def objective(self, model: Any, logits_BK: Tensor, target_BK: Tensor, progress: float) -> Tensor:
        return (logits_BK * torch.ones(10)).mean()


class Reads(CrossEntropy):
    """Wrong: it asks what the loss is."""

    def objective(self, model: Any, logits_BK: Tensor, target_BK: Tensor, progress: float) -> Tensor:
        loss = super().objective(model, logits_BK, target_BK, progress)
        return loss if loss > 0 else -loss


class Sends(CrossEntropy):
    """Wrong: every step copies a permutation and waits for it."""

    def mix(self, batch: Batch, num_classes: int, generator: torch.Generator) -> Mixed:
        mixed = super().mix(batch, num_classes, generator)
        order = torch.randperm(batch.images, generator=generator).to(mixed.images[0].device)
        return Mixed((mixed.images[0][order],), (mixed.targets[0][order],))


class Fetches(CrossEntropy):
    """Wrong: it takes the logits to the host."""

    def objective(self, model: Any, logits_BK: Tensor, target_BK: Tensor, progress: float) -> Tensor:
        return super().objective(model, logits_BK, target_BK, progress) * logits_BK.detach().cpu().numpy().mean().item()


@pytest.mark.parametrize(
    ("method", "error", "words"),
    [
        (LeftBehind(), RuntimeError, "on the same device"),
        (Reads(), DataDependentOutputException, "scalar"),
        (Sends(), Waits, "not pinned"),
    ],
)
def test_the_rehearsal_notices_mistakes(
    method: CrossEntropy, error: type[Exception], words: str, fake_cuda: FakeCuda, digits: LoadedData
) -> None:
    state, recipe = assembled(make_experiment("cross-entropy", "digits"), digits)
    recipe = replace(recipe, method=method, update=replace(recipe.update, method=method))  # type: ignore[type-var]
    with pytest.raises(error, match=words):
        take_steps(fake_cuda, state, recipe)


def test_the_rehearsal_counts_what_is_fetched(fake_cuda: FakeCuda, digits: LoadedData) -> None:
    state, recipe = assembled(make_experiment("cross-entropy", "digits"), digits)
    method = Fetches()
    recipe = replace(recipe, method=method, update=replace(recipe.update, method=method))  # type: ignore[type-var]
    take_steps(fake_cuda, state, recipe)
    assert fake_cuda.fetched == 2


def test_nothing_fake_is_left_behind(digits: LoadedData) -> None:
    """After the fixture, the same calls give real tensors again."""
    network: ModelWithData = build_network(make_experiment("fsgl", "digits"), digits, torch.device("cpu"))
    assert not any(isinstance(tensor, FakeTensor) for tensor in network.model.parameters())
    assert np.isfinite(network.logits(digits.test, torch.device("cpu"))).all()
