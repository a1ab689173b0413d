from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import scipy.special
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests import builders
from torch import nn

import fsgl.methods.mixtures
from fsgl.errors import UserError
from fsgl.losses.class_weights import power_class_weights
from fsgl.methods.glmc import Glmc
from fsgl.methods.mixtures import cutmix_box, draw_lambda
from fsgl.models.assemble import FourHeadNet
from fsgl.models.backbones import build_backbone
from fsgl.models.feature_scaling import FeatureScaling, FeatureScalingSpec
from fsgl.models.heads import FourHeads, HeadOutputs
from fsgl.types import Batch, Mixed, Sample

COUNTS = torch.tensor([9, 50, 12, 4])
K, B, SIDE = 4, 5, 6


def make_batch(seed: int = 0) -> Batch:
    return builders.make_batch(B, (3, SIDE, SIDE), K, views=2, streams=2, seed=seed)


def make_net(method: Glmc, counts: torch.Tensor = COUNTS) -> FourHeadNet:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 7), nn.BatchNorm1d(7), nn.ReLU())
    fsm = FeatureScaling(counts, method.feature_scaling.gamma, rank=method.feature_scaling.rank)
    return FourHeadNet(backbone, fsm, FourHeads(7, K, 3), power_class_weights(counts, method.label_weighting))


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("cutmix_label", ["area", "lambda"])
@given(seed=st.integers(0, 2**32), beta=st.sampled_from([0.2, 0.5, 1.0, 5.0]))
def test_mix_by_pixel_loops(cutmix_label: str, seed: int, beta: float) -> None:
    batch = make_batch()
    mixed = Glmc(beta=beta, cutmix_label=cutmix_label).mix(batch, K, torch.Generator().manual_seed(seed))
    random = torch.Generator().manual_seed(seed)
    lam = draw_lambda(beta, random)
    box = cutmix_box(SIDE, SIDE, lam, random)

    (x1_o, x2_o), (x1_r, x2_r) = (tuple(view.numpy() for view in s.views) for s in (batch.original, batch.rebalanced))
    pasted, local = 0, np.empty_like(x2_o)
    for i in range(SIDE):
        for j in range(SIDE):
            inside = box.top <= i < box.bottom and box.left <= j < box.right
            local[:, :, i, j] = (x2_r if inside else x2_o)[:, :, i, j]
            pasted += inside
    np.testing.assert_allclose(mixed.images[0].numpy(), lam * x1_o + (1 - lam) * x1_r, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(mixed.images[1].numpy(), local)

    lam_l = 1 - pasted / SIDE**2 if cutmix_label == "area" else lam
    for target, share in zip(mixed.targets, (lam, lam_l), strict=True):
        by_hand = np.zeros((B, K))
        for i in range(B):
            by_hand[i, batch.original.labels[i]] += share
            by_hand[i, batch.rebalanced.labels[i]] += 1 - share
        np.testing.assert_allclose(target.numpy(), by_hand, rtol=0, atol=1e-15)


@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_lambda_zero_and_one_show_one_stream(lam: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fsgl.methods.mixtures, "draw_lambda", lambda beta, generator: lam)
    batch = make_batch()
    shown = batch.original if lam == 1 else batch.rebalanced
    mixed = Glmc(cutmix_label="lambda").mix(batch, K, torch.Generator().manual_seed(0))
    assert torch.equal(mixed.images[0], shown.views[0])
    assert all(torch.equal(target, torch.eye(K)[shown.labels]) for target in mixed.targets)
    if lam == 1:  # with 0 the box may be clipped; then the local view keeps something of the original
        assert torch.equal(mixed.images[1], batch.original.views[1])


def test_mix_needs_two_streams() -> None:
    with pytest.raises(ValueError, match="two streams"):
        Glmc().mix(Batch(make_batch().original), K, torch.Generator())


class Given(nn.Module):
    """A network that says what it was told to, and remembers the targets it was shown."""

    def __init__(self, answers: list[HeadOutputs], class_weights: torch.Tensor) -> None:
        super().__init__()
        self.answers, self.class_weights_K, self.seen = list(answers), class_weights, []

    def forward(self, images: torch.Tensor, target: torch.Tensor) -> HeadOutputs:
        self.seen.append((images, target))
        return self.answers[len(self.seen) - 1]


@given(st.integers(0, 2**32), st.floats(0, 0.999), st.floats(0, 10), st.sampled_from(["classification", "total"]))
def test_loss_by_loops(seed: int, progress: float, c: float, ascent: str) -> None:
    random = np.random.default_rng(seed)
    answers = [[random.normal(size=(B, width)) for width in (K, K, 3, 3)] for _ in range(2)]
    targets = [random.dirichlet(np.ones(K), size=B) for _ in range(2)]
    w = random.uniform(0.2, 3, size=K)

    def ce(logits: np.ndarray, target: np.ndarray) -> float:
        total = 0.0
        for i in range(B):
            for k in range(K):
                total -= target[i, k] * scipy.special.log_softmax(logits[i])[k]
        return total / B

    def cos(p: np.ndarray, z: np.ndarray) -> float:
        return sum(p[i] @ z[i] / math.sqrt((p[i] @ p[i]) * (z[i] @ z[i])) for i in range(B)) / B

    (o_g, b_g, z_g, p_g), (o_l, b_l, z_l, p_l) = answers
    terms = {
        "conventional": ce(o_g, targets[0]) + ce(o_l, targets[1]),
        "rebalanced": ce(b_g, w * targets[0]) + ce(b_l, w * targets[1]),
        "consistency": -cos(p_g, z_l) - cos(p_l, z_g),
    }
    alpha = 1 - progress * progress
    classification = alpha * terms["conventional"] + (1 - alpha) * terms["rebalanced"]

    net = Given([HeadOutputs(*map(torch.from_numpy, answer)) for answer in answers], torch.from_numpy(w))
    mixed = Mixed((torch.zeros(1), torch.ones(1)), tuple(torch.from_numpy(target) for target in targets))
    losses = Glmc(contrast_weight=c, ascent=ascent).loss(net, mixed, progress)
    total = classification + c * terms["consistency"]
    assert losses.total.item() == pytest.approx(total, rel=1e-12, abs=1e-11)
    assert losses.ascended.item() == pytest.approx(total if ascent == "total" else classification, rel=1e-12, abs=1e-11)
    assert {name: term.item() for name, term in losses.terms.items()} == pytest.approx(terms, rel=1e-12, abs=1e-12)
    assert [image.item() for image, _ in net.seen] == [0, 1]
    assert all(shown is target for (_, shown), target in zip(net.seen, mixed.targets, strict=True))


def test_alpha_moves_from_the_conventional_to_the_rebalanced_loss() -> None:
    method = Glmc(contrast_weight=0.0)
    net, mixed = make_net(method), method.mix(make_batch(), K, torch.Generator().manual_seed(0))
    start, end = method.loss(net, mixed, 0.0), method.loss(net, mixed, 1.0)
    assert start.total.item() == pytest.approx(start.terms["conventional"].item())
    assert end.total.item() == pytest.approx(end.terms["rebalanced"].item())


def test_only_total_sends_an_ascent_gradient_to_the_consistency_heads() -> None:
    for ascent, reached in (("classification", False), ("total", True)):
        method = Glmc(ascent=ascent)
        net = make_net(method)
        losses = method.loss(net, method.mix(make_batch(), K, torch.Generator().manual_seed(0)), 0.5)
        losses.ascended.backward()
        heads = (net.heads.projection_head, net.heads.contrast_head)
        assert all((head.weight.grad is not None) is reached for head in heads)
        assert net.heads.fc.weight.grad is not None


@pytest.mark.parametrize("rank", ["frequency", "index"])
def test_permuting_class_indices_changes_nothing_unless_the_rank_is_the_index(rank: str) -> None:
    method = Glmc(feature_scaling=FeatureScalingSpec(0.8, rank=rank))
    batch, new_index = make_batch(), torch.tensor([2, 0, 3, 1])  # class k is now called new_index[k]
    old_index = torch.argsort(new_index)

    def renamed(sample: Sample) -> Sample:
        return Sample(sample.views, new_index[sample.labels])

    net, other = make_net(method), make_net(method, COUNTS[old_index])
    for head in (other.heads.fc, other.heads.fc_cb):
        head.weight.data, head.bias.data = head.weight.data[old_index], head.bias.data[old_index]
    mixed = method.mix(batch, K, torch.Generator().manual_seed(4))
    mixed_other = method.mix(
        Batch(renamed(batch.original), renamed(batch.rebalanced)), K, torch.Generator().manual_seed(4)
    )
    loss, other_loss = method.loss(net, mixed, 0.6).total, method.loss(other, mixed_other, 0.6).total
    h, h_other = (
        n.feature_scaling(n.backbone(m.images[1]), m.targets[1]) for n, m in ((net, mixed), (other, mixed_other))
    )
    if rank == "frequency":
        torch.testing.assert_close(other_loss, loss, rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(h_other, h, rtol=1e-13, atol=1e-13)
    else:
        assert not torch.allclose(other_loss, loss, rtol=1e-4)
        assert not torch.allclose(h_other, h, rtol=1e-4)


def test_build_gives_the_method_its_weights_and_scaling() -> None:
    method = Glmc(label_weighting=0.7, feature_scaling=FeatureScalingSpec(0.3, "inverse"))
    net = method.build(build_backbone("resnet8-slim", 1), COUNTS)
    assert net.class_weights_K.tolist() == pytest.approx(power_class_weights(COUNTS, 0.7).tolist(), rel=1e-6)
    assert net.feature_scaling.omega_PK[0].tolist() == pytest.approx([1.225, 1.075, 1.15, 1.3])
    images = torch.randn(2, 1, 8, 8)
    assert torch.equal(method.predict(net.eval(), images), net.heads.fc_cb(net.backbone(images)))
    assert (method.views, method.needs_two_streams, method.passes) == (2, True, 2)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"beta": 0.0}, "beta must be positive"),
        ({"beta": math.nan}, "beta must be positive"),
        ({"beta": math.inf}, "beta must be positive"),
        ({"cutmix_label": "aera"}, "did you mean 'area'"),
        ({"ascent": "totl"}, "did you mean 'total'"),
    ],
)
def test_mistakes(wrong: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Glmc(**wrong)


def test_balanced_softmax_in_the_rebalanced_loss() -> None:
    """Weights of 1 and the log prior on fc_cb, by torch's cross-entropy on soft labels."""
    method, counts = Glmc(rebalancing="balanced-softmax"), torch.tensor([30, 5, 2])
    model = method.build(build_backbone("resnet8-slim", 1), counts).double()
    random = torch.Generator().manual_seed(0)
    images = tuple(torch.randn(4, 1, 8, 8, generator=random, dtype=torch.float64) for _ in range(2))
    targets = tuple(torch.rand(4, 3, generator=random, dtype=torch.float64).softmax(1) for _ in range(2))
    model.eval()
    terms = method.loss(model, Mixed(images, targets), 0.5).terms
    log_prior = (counts / counts.sum()).double().log()
    expected = sum(
        torch.nn.functional.cross_entropy(model(image, target).rebalanced_BK + log_prior, target)
        for image, target in zip(images, targets, strict=True)
    )
    torch.testing.assert_close(terms["rebalanced"], expected, rtol=1e-6, atol=0)
    with pytest.raises(UserError, match="rebalancing"):
        Glmc(rebalancing="none")
