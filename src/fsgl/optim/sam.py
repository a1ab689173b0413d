"""Sharpness-aware minimisation (Foret et al., ICLR 2021, eq. 2 and algorithm 1).

    e = rho g / ||g||             g: gradient of the ascent loss at w, one norm over all parameters
    w <- w - lr * step(grad L(w + e))

In anyone's own loop::

    sam = Sam(model.parameters(), rho=0.05)
    loss(model, batch).backward()          # the ascent gradient
    with sam.ascend():                     # w + e; gradients cleared
        loss(model, batch).backward()      # the descent gradient
    optimizer.step()                       # from w again, bit for bit

A parameter without an ascent gradient stays where it is. (In the authors' release those are the two
consistency heads, and on one device its step stops there with a KeyError.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fsgl.settings import check, setting

STATISTICS = ("first", "both")
ASCENTS = ("global", "local")


@dataclass(frozen=True)
class SamSpec:
    """Settings of SAM."""

    rho: float = setting(0.0, "radius of the ascent; 0 or less is plain descent")
    batch_norm: str = setting(
        "first",
        "pass that updates BatchNorm's running statistics: the first, at the weights that are kept, or both (the "
        "release)",
        choices=STATISTICS,
    )
    ascent: str = setting(
        "global",
        "with several processes: along the gradient over the images of all of them, as in one process, or each along "
        "that of its own, which saves an exchange of gradients",
        choices=ASCENTS,
        formerly="climb",
    )

    def __post_init__(self) -> None:
        check(self, "sam")


class Sam:
    """The ascent to w + rho g / ||g|| and the exact return.

    parameters: those to move.  rho: >= 0; 0 leaves the weights where they are.
    Raises ValueError for a negative rho.

    >>> import fsgl, torch
    >>> w = torch.tensor([3.0, 4.0], requires_grad=True)
    >>> (w**2).sum().backward()
    >>> with fsgl.Sam([w], rho=1.0).ascend():
    ...     [round(value, 3) for value in w.tolist()]
    [3.6, 4.8]
    >>> w.tolist()  # back, bit for bit
    [3.0, 4.0]
    """

    def __init__(self, parameters: Iterable[Tensor], rho: float) -> None:
        if not 0 <= rho < float("inf"):
            raise ValueError(f"rho must be finite and not negative, not {rho}")
        self.parameters = list(parameters)
        self.rho = rho
        self._perturbed: dict[Tensor, Tensor] = {}  # allocated once: fresh pages cost more than the arithmetic

    @contextmanager
    def ascend(self) -> Iterator[None]:
        """Move along the present gradients and clear them; on leaving, also by an exception, return.

        Raises RuntimeError where the weights were changed within, as by an ``optimizer.step()``: it would be lost.
        (A fused optimizer leaves no trace by which to tell.)
        """
        moved = [parameter for parameter in self.parameters if parameter.grad is not None]
        gradients = [parameter.grad for parameter in moved if parameter.grad is not None]
        stayed = [parameter.data for parameter in moved]
        with torch.no_grad():
            if moved:
                norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
                scale = self.rho / (norm + 1e-12)  # all gradients zero: no ascent, no NaN
                # w + e is written beside w and the two change places, so the return is exact and costs nothing;
                # (w + e) - e is not w in floating point, and a copy of w is one more pass over memory.
                for parameter, perturbed in zip(moved, self._perturbed_weights(moved, gradients, scale), strict=True):
                    parameter.data = perturbed
        for parameter in moved:
            parameter.grad = None
        gradients.clear()
        before = [parameter._version for parameter in moved]
        try:
            yield
            if before != [parameter._version for parameter in moved]:
                raise RuntimeError("the weights were changed inside ascend(); call optimizer.step() after it")
        finally:
            for parameter, weights in zip(moved, stayed, strict=True):
                parameter.data = weights

    climb = ascend  # its first name

    def _perturbed_weights(self, weights: list[Tensor], gradients: list[Tensor], scale: Tensor) -> list[Tensor]:
        if weights[0].device.type != "cpu":
            return perturbed_as_list(weights, gradients, scale)
        # On a CPU a list operation is a loop, and its passes over memory are what costs: here it is one.
        pairs = zip(weights, gradients, strict=True)
        return [torch.addcmul(weight, gradient, scale, out=self._beside(weight)) for weight, gradient in pairs]

    def _beside(self, parameter: Tensor) -> Tensor:
        perturbed = self._perturbed.get(parameter)
        like = (parameter.dtype, parameter.device, parameter.shape)
        if perturbed is None or (perturbed.dtype, perturbed.device, perturbed.shape) != like:  # new, or converted since
            perturbed = self._perturbed[parameter] = torch.empty_like(parameter, requires_grad=False)
        return perturbed


def perturbed_as_list(weights: list[Tensor], gradients: list[Tensor], scale: Tensor) -> list[Tensor]:
    """w + scale g for whole lists in a few kernels, as a GPU wants it; memory is from torch's caching allocator."""
    perturbed = list(torch._foreach_mul(gradients, scale))
    torch._foreach_add_(perturbed, weights)
    return perturbed


@contextmanager
def frozen_batch_norm_statistics(model: nn.Module) -> Iterator[None]:
    """Within: BatchNorm normalises by the batch as in training, but leaves its running statistics alone.

    >>> import fsgl, torch
    >>> layer = torch.nn.BatchNorm1d(2)
    >>> with fsgl.frozen_batch_norm_statistics(layer):
    ...     _ = layer(torch.rand(4, 2))
    >>> layer.running_mean.tolist()
    [0.0, 0.0]
    """
    layers = [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats
    ]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True


# Given a function that leaves the ascent gradient in the parameters, the place where the descent gradient is taken.
Ascent = Callable[[Callable[[], object]], AbstractContextManager[object]]


def make_ascent(model: nn.Module, spec: SamSpec) -> Ascent:
    """The ascent of a training step: SAM's for rho > 0, nothing otherwise."""
    if spec.rho <= 0:
        return lambda ascent_gradient: nullcontext()
    sam = Sam(model.parameters(), spec.rho)

    @contextmanager
    def ascend(ascent_gradient: Callable[[], object]) -> Iterator[None]:
        ascent_gradient()
        with ExitStack() as stack:
            stack.enter_context(sam.ascend())
            if spec.batch_norm == "first":
                stack.enter_context(frozen_batch_norm_statistics(model))
            yield

    return ascend
