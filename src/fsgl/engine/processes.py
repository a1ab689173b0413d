"""Several processes that train one network together, on one machine or many.

Every process holds the whole network and takes its rows of every step (streams.py). After a backward pass the
gradients are summed over all of them, in one exchange of one flat buffer, with the losses in it, so that all see the
same numbers. Nothing wraps the network: no hooks, no other names of its weights, and a SAM step is the same code with
one process or sixteen. The price is that the exchange does not overlap with the backward pass.

engine/launch.py starts them or finds them started, and connects them over torch.distributed (NCCL on GPUs, gloo on
CPUs). One process needs neither.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from fsgl.errors import PeerLost, first_line
from fsgl.types import Share

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """This process among ``count``. The methods of this class are those of a process alone."""

    index: int = 0
    count: int = 1

    @property
    def leader(self) -> bool:
        """Whether this is the one process that writes and prints."""
        return self.index == 0

    def exchange(self, parameters: Iterable[nn.Parameter], values: Tensor, weight: float) -> Tensor:
        """Sum the parameters' gradients over all processes, in place; weight: this process's share of the images.

        values: a vector of means over this process's images; returned as means over all.
        """
        return values

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether it is set in any process."""
        return flags

    def agree(self, value: T) -> T:
        """The leader's value."""
        return value

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """The rows of all processes, one after another. rows: float32 ``n x K``."""
        return rows

    def join(self, rows: Tensor, share: Share) -> Tensor:
        """The rows of a step that all processes hold together, in the order of the step. share: this one's of them."""
        return rows

    def rows(self, total: int) -> slice:
        """This process's part of ``total`` rows, for ``gather`` to join again."""
        return slice(total * self.index // self.count, total * (self.index + 1) // self.count)

    def average_statistics(self, model: nn.Module) -> None:
        """Replace BatchNorm's running statistics, of which each process has its own, by their mean."""

    def begin_alike(self, model: nn.Module) -> None:
        """Give all processes the leader's weights and buffers."""


ALONE = Processes()


@dataclass(frozen=True)
class ConnectedProcesses(Processes):
    """Of a group that torch.distributed connects.

    device: where the exchanged tensors must be.  patient: the same processes on gloo, with a longer timeout, or None.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    patient: Any = None

    def exchange(self, parameters: Iterable[nn.Parameter], values: Tensor, weight: float) -> Tensor:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        averaged, *summed = self._summed([values, *gradients], weight)
        if gradients:
            torch._foreach_copy_(gradients, summed)
        return averaged

    def any(self, *flags: bool) -> tuple[bool, ...]:
        counts = torch.tensor([int(flag) for flag in flags], device=self.device)
        self._sum(counts)
        with self._watching_peers():  # on a GPU it is here that the exchange is waited for
            return tuple(count > 0 for count in counts.tolist())

    def agree(self, value: T) -> T:
        box = [value]
        with self._watching_peers():
            torch.distributed.broadcast_object_list(box, src=0, group=self.patient)
        return box[0]

    def gather(self, rows: np.ndarray) -> np.ndarray:
        with self._watching_peers():
            parts: list[Any] = [None] * self.count
            torch.distributed.all_gather_object(parts, rows)
        return np.concatenate(parts)

    def join(self, rows: Tensor, share: Share) -> Tensor:
        # Everybody's rows in their place and zeros elsewhere: the sum is exact, and works on GPUs and whole numbers.
        whole = rows.new_zeros((share.total, *rows.shape[1:]))
        start = share.total * self.index // self.count
        whole[start : start + share.own] = rows[: share.own]
        self._sum(whole)
        return whole

    def average_statistics(self, model: nn.Module) -> None:
        layers = [
            module
            for module in model.modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm)
            and all(weight.requires_grad for weight in module.parameters())  # a frozen one's must not be rounded
        ]
        buffers = [buffer for layer in layers for buffer in (layer.running_mean, layer.running_var)]
        statistics = [buffer for buffer in buffers if buffer is not None]
        if statistics:
            torch._foreach_copy_(statistics, self._summed(statistics, 1 / self.count))

    def begin_alike(self, model: nn.Module) -> None:
        with self._watching_peers():
            for value in model.state_dict().values():
                whole = value.contiguous()  # which a channels-last weight is not, and gloo wants
                torch.distributed.broadcast(whole, src=0)
                value.copy_(whole)

    def _summed(self, tensors: list[Tensor], weight: float) -> list[Tensor]:
        """Copies of the tensors, weighted and summed over all processes in one exchange."""
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors]).mul_(weight)
        self._sum(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]

    @contextlib.contextmanager
    def _watching_peers(self) -> Iterator[None]:
        """Within: the error that torch raises for a peer that is gone becomes PeerLost."""
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise PeerLost(first_line(error), self.leader) from None

    def _sum(self, tensor: Tensor) -> None:
        with self._watching_peers():
            torch.distributed.all_reduce(tensor)
