"""Loss terms of an epoch, summed on the training device, and the first of them that was no number.

A GPU runs far ahead of the program that feeds it; asking it for a number every step would make both wait. So sums and
the check for NaN stay on the device, and ``read`` fetches everything in one transfer, now and then (engine/fit.py).
"""

from __future__ import annotations

import torch
from torch import Tensor

from fsgl.types import Losses


class NonFiniteLoss(ArithmeticError):
    """A loss term became NaN or infinite. terms: which, with their values.  steps: of the epoch that were fine."""

    def __init__(self, terms: dict[str, float], steps: int | None = None) -> None:
        self.terms = terms
        self.steps = steps
        super().__init__(", ".join(f"{name} is {value}" for name, value in terms.items()))


class Tally:
    """Sums over an epoch's images.

    bad: 0, and 1 from the first loss that was NaN or infinite on. A fused optimizer whose ``found_inf`` it is leaves
    the weights alone from that very step on, without anybody waiting for it.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.bad = torch.zeros((), dtype=torch.float32, device=device)  # the type that found_inf must have
        self._names: tuple[str, ...] = ()
        # float64: the sums of floats as Python would add them. MPS has none.
        dtype = torch.float32 if torch.device(device).type == "mps" else torch.float64
        self._steps = torch.zeros((), dtype=dtype, device=device)
        self._sums = torch.zeros(0, dtype=dtype, device=device)
        self._first_bad = torch.zeros(0, dtype=torch.float32, device=device)

    def values(self, losses: Losses) -> Tensor:
        """ "total" and the terms as one vector, detached. A method's terms are the same in every step."""
        if not self._names:
            self._set_names(("total", *losses.terms))
        terms = (losses.terms[name].detach() for name in self._names[1:])
        return torch.stack([losses.total.detach().float(), *(term.float() for term in terms)])

    def check(self, values: Tensor) -> None:
        """Note the values if their total is the first that is no number."""
        good = torch.isfinite(values[0]) | (self.bad > 0)
        self._first_bad.copy_(torch.where(good, self._first_bad, values))
        self.bad.copy_(torch.maximum(self.bad, (~torch.isfinite(values[0])).to(self.bad.dtype)))

    def add(self, values: Tensor, images: int) -> None:
        """Count a step that descended these losses, means over so many images."""
        self._sums += values.to(self._sums.dtype) * images
        self._steps += 1 - self.bad

    def read(self) -> dict[str, float]:
        """The sums so far; waits for the device. Raises NonFiniteLoss."""
        if not self._names:
            return {}
        parts = (self.bad[None], self._steps[None], self._sums, self._first_bad)
        bad, steps, *numbers = torch.cat([part.to(self._sums.dtype) for part in parts]).tolist()
        count = len(self._names)
        if bad:
            named = zip(self._names, numbers[count:], strict=True)
            terms = {name: value for name, value in named if value - value != 0}  # infinity - infinity is NaN, too
            raise NonFiniteLoss({k: v for k, v in terms.items() if k != "total"} or terms, int(steps))
        return dict(zip(self._names, numbers[:count], strict=True))

    def restart(self, sums: dict[str, float] | None = None, steps: int = 0) -> None:
        """Begin an epoch, or go on in one with its sums. Nothing is replaced: a CUDA graph writes to these tensors."""
        if sums:
            if not self._names:
                self._set_names(tuple(sums))
            self._sums.copy_(torch.tensor(list(sums.values()), dtype=self._sums.dtype))
        else:
            self._sums.zero_()
        self._steps.fill_(steps)

    def _set_names(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._sums = self._sums.new_zeros(len(names))
        self._first_bad = self._first_bad.new_zeros(len(names))
