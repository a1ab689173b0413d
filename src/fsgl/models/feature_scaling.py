"""The Feature Scaling Module (FSM) of FSGL: features scaled by the frequency of their label.

Source: Feature Scaling Guided Learning (Wang, You, Zheng, 2024); METHOD section 5.

    omega_k = 1 + gamma (1 - r(k) / K)         r(k): rank of class k, 0 for the most frequent
    h'_i    = h_i * sum_k y_ik omega_k         y: the mixed, soft label

so the most frequent class is scaled by 1 + gamma and the rarest by 1 + gamma / K. It acts in
training only; gamma = 0 is the identity.

Departures: the release takes the class index for the rank (``rank="index"``), which holds for
CIFAR-LT only; rounds omega to two decimals (``decimals=2``); and its "half" is every rank but
exactly K / 2 (``profile="half-release"``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fsgl.settings import check, setting

# Each profile maps ranks (0 .. K-1, float) and K to omega's rise above 1 as a share of gamma.
PROFILES: dict[str, Callable[[Tensor, int], Tensor]] = {
    "linear": lambda ranks, k: 1 - ranks / k,
    "same": lambda ranks, k: torch.ones_like(ranks),
    "half": lambda ranks, k: (1 - ranks / k) * (ranks < k / 2),
    "half-release": lambda ranks, k: (1 - ranks / k) * (ranks != k / 2),
    "inverse": lambda ranks, k: (1 + ranks) / k,  # linear with the ranks read backwards: the tail is scaled up
}
RANKS = ("frequency", "index")


@dataclass(frozen=True)
class FeatureScalingSpec:
    """Settings of the FSM. Scales of several profiles joined by ``*`` multiply, as the release's ablation flags do."""

    gamma: float = setting(0.0, "strength; 0 switches it off", above=-1, reason="so that no feature is scaled to 0")
    profile: str = setting("linear", "how the scales fall with the rank", choices=PROFILES, joined="*")
    rank: str = setting("frequency", "by training counts, or the class index taken for it", choices=RANKS)
    decimals: int | None = setting(None, "round the scales to so many decimals; none keeps them exact", at_least=0)

    def __post_init__(self) -> None:
        check(self, "method.feature_scaling")


def frequency_ranks(counts_K: Tensor) -> Tensor:
    """Rank of each class by training count, 0 the most frequent; ties go by class index.

    >>> import fsgl, torch
    >>> fsgl.frequency_ranks(torch.tensor([5, 100, 20])).tolist()
    [2, 0, 1]
    """
    order = torch.argsort(counts_K, descending=True, stable=True)
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order), device=order.device)
    return ranks


def class_scales(
    class_counts: Tensor,
    gamma: float,
    profile: str = "linear",
    rank: str = "frequency",
    decimals: int | None = None,
) -> Tensor:
    """omega, ``K`` float64: the factor of each class's features (the formula at the head of this file).

    >>> import fsgl, torch
    >>> fsgl.class_scales(torch.tensor([100, 20, 5, 1]), gamma=0.5).tolist()
    [1.5, 1.375, 1.25, 1.125]
    """
    ranks = frequency_ranks(class_counts) if rank == "frequency" else torch.arange(len(class_counts))
    omega = 1 + gamma * PROFILES[profile](ranks.double(), len(class_counts))
    if decimals is None:
        return omega
    # Python's round, as the release calls it: torch's multiplies first, and 1.095 then goes up instead of down.
    return torch.tensor([round(value, decimals) for value in omega.tolist()], dtype=torch.float64)


class FeatureScaling(nn.Module):
    """Scales each feature row by the expectation of omega under its soft label; identity in eval mode.

    class_counts: ``K`` training images a class (any integer sequence or tensor).
    The other arguments are those of ``FeatureScalingSpec``.

    >>> import fsgl, torch
    >>> scaling = fsgl.FeatureScaling([100, 1], gamma=0.5)
    >>> scaling(torch.ones(2, 1), torch.eye(2)).tolist()  # the frequent class is scaled most
    [[1.5], [1.25]]
    >>> scaling.eval()(torch.ones(2, 1), torch.eye(2)).tolist()
    [[1.0], [1.0]]
    """

    omega_PK: Tensor

    def __init__(
        self,
        class_counts: Sequence[int] | Tensor,
        gamma: float,
        profile: str = "linear",
        rank: str = "frequency",
        decimals: int | None = None,
    ) -> None:
        super().__init__()
        self.spec = FeatureScalingSpec(gamma, profile, rank, decimals)
        counts = torch.as_tensor(class_counts)
        omega = torch.stack([class_scales(counts, gamma, name, rank, decimals) for name in profile.split("*")])
        self.register_buffer("omega_PK", omega.to(torch.get_default_dtype()))

    def forward(self, features_BD: Tensor, target_BK: Tensor) -> Tensor:
        """features ``B x D``, soft labels ``B x K`` -> scaled features ``B x D``."""
        if not self.training:
            return features_BD
        # Sums, no matrix product: on a GPU one may round its factors to TF32's 10 bits.
        scale_B = (target_BK[:, None] * self.omega_PK).sum(dim=2).prod(dim=1)
        return features_BD * scale_B[:, None]

    def extra_repr(self) -> str:
        return f"gamma={self.spec.gamma}, profile={self.spec.profile!r}, classes={self.omega_PK.shape[1]}"
