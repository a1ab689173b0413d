"""Every random number comes from a generator whose seed is derived from where it is used.

``generator(seed, "augment", epoch, step)`` is the same stream of numbers whenever and on whatever
process it is asked for, so a run is resumed from (epoch, step) alone: no generator state is saved,
and nothing drawn in one place shifts what is drawn in another.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, *place: str | int) -> int:
    """A 63-bit seed for a place such as ("augment", epoch, step); distinct places differ."""
    digest = hashlib.blake2b(repr((seed, *place)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, *place: str | int) -> torch.Generator:
    """A CPU generator seeded for ``place`` (see ``derive_seed``)."""
    import torch

    return torch.Generator().manual_seed(derive_seed(seed, *place))
