from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fsgl.errors import UserError
from fsgl.methods.mixtures import soft_labels
from fsgl.models.feature_scaling import (
    PROFILES,
    FeatureScaling,
    FeatureScalingSpec,
    class_scales,
    frequency_ranks,
)

COUNTS = st.lists(st.integers(1, 40), min_size=1, max_size=25)
GAMMAS = st.floats(-0.9, 3)

EVEN = [30, 5, 100, 5]  # ranks 1, 2, 0, 3: ties go by class index
ODD = [9, 50, 9, 4, 70]  # ranks 2, 1, 3, 4, 0


@pytest.mark.parametrize(
    ("counts", "profile", "rises"),
    [  # by hand: gamma times this is added to 1
        (EVEN, "linear", [0.75, 0.5, 1.0, 0.25]),
        (EVEN, "same", [1, 1, 1, 1]),
        (EVEN, "half", [0.75, 0, 1, 0]),
        (EVEN, "half-release", [0.75, 0, 1, 0.25]),  # every rank but exactly 2
        (EVEN, "inverse", [0.5, 0.75, 0.25, 1.0]),
        (ODD, "linear", [0.6, 0.8, 0.4, 0.2, 1.0]),
        (ODD, "same", [1, 1, 1, 1, 1]),
        (ODD, "half", [0.6, 0.8, 0, 0, 1.0]),  # ranks 0, 1 and the middle one
        (ODD, "half-release", [0.6, 0.8, 0.4, 0.2, 1.0]),  # no rank is exactly 2.5
        (ODD, "inverse", [0.6, 0.4, 0.8, 1.0, 0.2]),
        ([8], "linear", [1.0]),
        ([8], "inverse", [1.0]),
    ],
)
@pytest.mark.parametrize("gamma", [0.5, 1.0, 0.37, -0.5])
def test_omega_by_hand(counts: list[int], profile: str, rises: list[float], gamma: float) -> None:
    omega = class_scales(torch.tensor(counts), gamma, profile)
    assert omega.dtype == torch.float64
    assert omega.tolist() == pytest.approx([1 + gamma * rise for rise in rises], abs=1e-15)


def test_every_profile_has_its_case_by_hand() -> None:
    assert set(PROFILES) == {"linear", "same", "half", "half-release", "inverse"}


@given(COUNTS)
def test_ranks_against_counting(counts: list[int]) -> None:
    expected = [
        sum(other > n or (other == n and j < k) for j, other in enumerate(counts)) for k, n in enumerate(counts)
    ]
    assert frequency_ranks(torch.tensor(counts)).tolist() == expected


@given(COUNTS, GAMMAS)
def test_index_rank_is_the_class_index_whatever_the_counts(counts: list[int], gamma: float) -> None:
    size = len(counts)
    omega = class_scales(torch.tensor(counts), gamma, rank="index").tolist()
    assert omega == pytest.approx([1 + gamma * (1 - k / size) for k in range(size)], abs=1e-14)
    falling = torch.tensor(sorted(counts, reverse=True))
    assert torch.equal(class_scales(falling, gamma), class_scales(falling, gamma, rank="index"))


@pytest.mark.parametrize(("classes", "gamma"), [(10, 0.5), (100, 1.0), (1000, 0.1), (365, 0.37), (7, 1.0)])
def test_two_decimals_as_python_rounds(classes: int, gamma: float) -> None:
    """The release rounds number by number in Python, where a half is one only if it is exactly that in binary."""
    omega = class_scales(torch.arange(classes, 0, -1), gamma, decimals=2)
    expected = [round(1 + gamma * (1 - k / classes), 2) for k in range(classes)]
    assert omega.tolist() == pytest.approx(expected, abs=1e-12)


@given(st.integers(0, 2**32), st.sampled_from(sorted(PROFILES)), GAMMAS, st.sampled_from(["frequency", "index"]))
def test_scaling_against_loops(seed: int, profile: str, gamma: float, rank: str) -> None:
    random = np.random.default_rng(seed)
    features, target = random.normal(size=(6, 3)), random.dirichlet(np.ones(5), size=6)
    fsm = FeatureScaling(ODD, gamma, profile, rank)
    omega = class_scales(torch.tensor(ODD), gamma, profile, rank).tolist()
    assert fsm.omega_PK.tolist() == [pytest.approx(omega, rel=1e-6)]  # kept in the precision of the weights
    fsm.omega_PK = torch.tensor([omega], dtype=torch.float64)
    found = fsm(torch.from_numpy(features), torch.from_numpy(target)).numpy()
    for i in range(6):
        scale = sum(target[i, k] * omega[k] for k in range(5))
        for d in range(3):
            assert found[i, d] == pytest.approx(features[i, d] * scale, rel=1e-12, abs=1e-14)


def test_profiles_joined_by_a_star_multiply_their_scales() -> None:
    random = torch.Generator().manual_seed(0)
    features, target = torch.randn(4, 3, generator=random), torch.rand(4, 5, generator=random)
    both = FeatureScaling(ODD, 0.5, "linear*same")(features, target)
    one = FeatureScaling(ODD, 0.5, "same")(FeatureScaling(ODD, 0.5, "linear")(features, target), target)
    torch.testing.assert_close(both, one)


@given(st.floats(0, 1), st.integers(0, 2**32), st.sampled_from(sorted(PROFILES)))
def test_gamma_zero_is_the_identity_bit_for_bit(lam: float, seed: int, profile: str) -> None:
    random = torch.Generator().manual_seed(seed)
    first, second = (torch.randint(5, (7,), generator=random) for _ in range(2))
    features = torch.randn(7, 4, generator=random)
    fsm = FeatureScaling(ODD, 0.0, profile)
    assert torch.equal(fsm(features, soft_labels(first, second, lam, 5)), features)


def test_evaluation_is_the_identity_and_needs_no_label() -> None:
    fsm = FeatureScaling(ODD, 1.0).eval()
    features = torch.randn(3, 2)
    assert fsm(features, torch.full((3, 5), math.nan)) is features
    assert fsm.train()(features, torch.eye(5)[:3]) is not features


def test_head_is_scaled_most_and_tail_least() -> None:
    fsm, ones = FeatureScaling(ODD, 0.5), torch.ones(5, 1)
    scales = fsm(ones, torch.eye(5))[:, 0].tolist()
    assert scales[4] == pytest.approx(1.5)  # the most frequent class: 1 + gamma
    assert scales[3] == pytest.approx(1.1)  # the rarest: 1 + gamma / K


def test_permuting_classes_changes_no_feature_unless_the_rank_is_the_index() -> None:
    random = torch.Generator().manual_seed(3)
    features, target = torch.randn(6, 4, generator=random), torch.rand(6, 5, generator=random)
    counts, order = torch.tensor([9, 50, 12, 4, 70]), torch.tensor([3, 0, 4, 2, 1])
    for profile in PROFILES:
        by_rank = FeatureScaling(counts, 0.5, profile)(features, target)
        permuted = FeatureScaling(counts[order], 0.5, profile)(features, target[:, order])
        torch.testing.assert_close(permuted, by_rank)
    by_index = FeatureScaling(counts, 0.5, rank="index")(features, target)
    permuted = FeatureScaling(counts[order], 0.5, rank="index")(features, target[:, order])
    assert not torch.allclose(permuted, by_index, atol=1e-3)


def test_gradient_is_scaled_and_nothing_else_learns() -> None:
    fsm = FeatureScaling(ODD, 0.5)
    assert not list(fsm.parameters())
    features = torch.randn(5, 3, requires_grad=True)
    fsm(features, torch.eye(5)).sum().backward()
    expected = fsm.omega_PK[0][:, None].expand(5, 3)
    assert features.grad is not None
    torch.testing.assert_close(features.grad, expected)


def test_omega_is_saved_and_takes_any_kind_of_counts() -> None:
    fsm = FeatureScaling(ODD, 0.5)
    assert list(fsm.state_dict()) == ["omega_PK"]
    for counts in (tuple(ODD), np.array(ODD), torch.tensor(ODD, dtype=torch.int32)):
        assert torch.equal(FeatureScaling(counts, 0.5).omega_PK, fsm.omega_PK)
    assert "gamma=0.5" in repr(fsm)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"profile": "liner"}, "did you mean 'linear'"),
        ({"profile": "linear*sane"}, "did you mean 'same'"),
        ({"profile": ""}, "unknown method.feature_scaling.profile"),
        ({"rank": "freq"}, "did you mean 'frequency'"),
        ({"gamma": -1.0}, "gamma must be above -1"),
        ({"gamma": math.nan}, "gamma must be above -1"),
        ({"gamma": math.inf}, "gamma must be above -1"),
        ({"decimals": -1, "gamma": 0.5}, "decimals"),
    ],
)
def test_mistakes(wrong: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        FeatureScalingSpec(**wrong)
