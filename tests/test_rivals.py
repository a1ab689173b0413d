"""Every rival's loss against another way of computing it, on its own network; and the properties that pin it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests import builders
from torch import nn

from fsgl.errors import UserError
from fsgl.methods import (
    BalancedSoftmax,
    ClassBalanced,
    CrossEntropy,
    Crt,
    CutMix,
    Focal,
    LdamDrw,
    LogitAdjustment,
    Lws,
    MaxNorm,
    Method,
    MixUp,
    VectorScaling,
)
from fsgl.methods.max_norm import class_balanced_binary_loss
from fsgl.methods.mixtures import one_hot
from fsgl.models.backbones import build_backbone
from fsgl.types import Batch, Mixed, Sample

COUNTS = torch.tensor([50, 7, 20, 2])
K = len(COUNTS)


def make_batch(images: int = 8, side: int = 8) -> Batch:
    return builders.make_batch(images, (1, side, side), K)


def make_net(method: Method) -> nn.Module:
    torch.manual_seed(0)
    return method.build(build_backbone("resnet8-slim", 1), COUNTS).double().eval()


def shown(method: Method) -> tuple[nn.Module, Mixed, torch.Tensor, torch.Tensor]:
    batch, model = make_batch(), make_net(method)
    images = batch.original.views[0].double()
    mixed = Mixed((images,), (one_hot(batch.original.labels, K, torch.float64),))
    with torch.no_grad():
        return model, mixed, model(images), batch.original.labels


def loss(method: Method, model: nn.Module, mixed: Mixed, progress: float = 0.5) -> float:
    return method.loss(model, mixed, progress).total.item()


PRIOR = np.array([50, 7, 20, 2]) / 79


@pytest.mark.parametrize(
    ("method", "scale", "shift"),
    [
        (CrossEntropy(), np.ones(K), np.zeros(K)),
        (BalancedSoftmax(), np.ones(K), np.log(PRIOR)),
        (LogitAdjustment(0.7), np.ones(K), 0.7 * np.log(PRIOR)),
        (VectorScaling(0.3, 1.1), (PRIOR / PRIOR.max()) ** 0.3, 1.1 * np.log(PRIOR)),
        (MixUp(), np.ones(K), np.zeros(K)),
        (CutMix(), np.ones(K), np.zeros(K)),
        (Crt(), np.ones(K), np.zeros(K)),
        (Lws(), np.ones(K), np.zeros(K)),
        (MaxNorm(), np.ones(K), np.zeros(K)),
    ],
)
def test_softmax_of_changed_logits(method: Method, scale: np.ndarray, shift: np.ndarray) -> None:
    model, mixed, logits, labels = shown(method)
    total = 0.0
    for row, label in zip(logits.numpy(), labels.tolist(), strict=True):
        changed = scale * row + shift
        total += math.log(sum(math.exp(value) for value in changed)) - changed[label]
    assert loss(method, model, mixed) == pytest.approx(total / len(labels), rel=1e-6)
    assert torch.equal(method.predict(model, mixed.images[0]), logits)  # at test nothing is added


def test_balanced_softmax_is_the_papers_quotient() -> None:
    """Ren et al., eq. 4: n_y exp(o_y) / sum_k n_k exp(o_k)."""
    model, mixed, logits, labels = shown(BalancedSoftmax())
    share = COUNTS * logits.exp()
    expected = -(share[torch.arange(len(labels)), labels] / share.sum(1)).log().mean()
    assert loss(BalancedSoftmax(), model, mixed) == pytest.approx(expected.item(), rel=1e-6)
    assert loss(LogitAdjustment(1.0), make_net(LogitAdjustment(1.0)), mixed) == pytest.approx(expected.item(), rel=1e-6)


def test_class_balanced_is_torchs_weighted_loss() -> None:
    model, mixed, logits, labels = shown(ClassBalanced(0.99))
    weights = np.array([(1 - 0.99) / (1 - 0.99**n) for n in COUNTS.tolist()])
    weights = torch.from_numpy(weights * K / weights.sum())
    expected = F.cross_entropy(logits, labels, weights, reduction="none").mean()
    assert loss(ClassBalanced(0.99), model, mixed) == pytest.approx(expected.item(), rel=1e-6)
    assert loss(ClassBalanced(0.0), make_net(ClassBalanced(0.0)), mixed) == pytest.approx(
        F.cross_entropy(logits, labels).item(), rel=1e-6
    )


def test_focal_uses_its_gamma() -> None:
    model, mixed, logits, labels = shown(Focal(2.0))
    p = logits.softmax(1)[torch.arange(len(labels)), labels]
    assert loss(Focal(2.0), model, mixed) == pytest.approx(-((1 - p) ** 2 * p.log()).mean().item(), rel=1e-6)


@pytest.mark.parametrize(("progress", "deferred"), [(0.79, True), (0.8, False), (0.95, False)])
def test_ldam_drw_against_a_loop(progress: float, deferred: bool) -> None:
    method = LdamDrw(beta=0.99)
    model, mixed, _, labels = shown(method)
    features = model.features(mixed.images[0]).detach().numpy()
    rows = model.fc.weight.detach().numpy()
    margins = np.array([n**-0.25 for n in COUNTS.tolist()])
    margins *= 0.5 / margins.max()
    weights = np.array([1 / sum(0.99**i for i in range(n)) for n in COUNTS.tolist()])
    weights *= K / weights.sum()
    total = weighed = 0.0
    for h, label in zip(features, labels.tolist(), strict=True):
        cosines = [h @ w / np.linalg.norm(h) / np.linalg.norm(w) for w in rows]
        cosines[label] -= margins[label]
        scores = [30 * cosine for cosine in cosines]
        own = math.log(sum(math.exp(score) for score in scores)) - scores[label]
        total += own if deferred else weights[label] * own
        weighed += 1 if deferred else weights[label]
    assert loss(method, model, mixed, progress) == pytest.approx(total / weighed, rel=1e-6)


def test_late_ldam_drw_is_torchs_weighted_mean_and_no_smaller_in_a_batch_of_one_class() -> None:
    """Divided by the sum of the batch's weights, as the authors do: equal labels weigh out."""
    method = LdamDrw(beta=0.9999)
    model, mixed, logits, labels = shown(method)
    margins = torch.zeros_like(logits).scatter_(1, labels[:, None], model.margins_K[labels][:, None].to(logits.dtype))
    expected = F.cross_entropy(logits - 30 * margins, labels, model.class_weights_K.to(logits.dtype))
    assert loss(method, model, mixed, 0.9) == pytest.approx(expected.item(), rel=1e-6)
    for label in (0, K - 1):
        alone = Mixed(mixed.images, (F.one_hot(torch.full_like(labels, label), K).to(logits.dtype),))
        assert loss(method, model, alone, 0.9) == pytest.approx(loss(method, model, alone, 0.1), rel=1e-6)


def test_mixup_blends_images_and_labels_alike() -> None:
    """Label fractions tell which images were blended, and by how much; so blended, the images must be those shown."""
    batch = make_batch(6)
    batch = Batch(Sample(batch.original.views, torch.arange(6)))  # every label names its image
    mixed = MixUp(0.8).mix(batch, 6, torch.Generator().manual_seed(3))
    (images,), (target,) = mixed.images, mixed.targets
    expected = torch.einsum("ij,jchw->ichw", target, batch.original.views[0])
    torch.testing.assert_close(images, expected)
    torch.testing.assert_close(target.sum(1), torch.ones(6))
    assert len({round(value, 5) for value in target.flatten().tolist()} - {0.0, 1.0}) == 2  # lambda and 1 - lambda
    again = MixUp(0.8).mix(batch, 6, torch.Generator().manual_seed(3))
    assert torch.equal(again.images[0], images)


def test_cutmix_labels_by_the_pixels_shown() -> None:
    batch = make_batch(6, side=9)
    marked = torch.arange(6.0).reshape(6, 1, 1, 1).expand(6, 1, 9, 9).clone()  # every pixel names its image
    batch = Batch(Sample((marked,), torch.arange(6)))
    seen_mixed = seen_plain = False
    for seed in range(20):
        mixed = CutMix(1.0, 0.5).mix(batch, 6, torch.Generator().manual_seed(seed))
        shares = torch.stack([(mixed.images[0] == k).float().mean(dim=(1, 2, 3)) for k in range(6)], dim=1)
        torch.testing.assert_close(mixed.targets[0], shares)
        is_plain = torch.equal(mixed.targets[0], torch.eye(6))
        seen_plain, seen_mixed = seen_plain or is_plain, seen_mixed or not is_plain
    assert seen_plain
    assert seen_mixed


def test_second_stage_begins_where_it_should() -> None:
    assert [Crt(0.1).second_stage(epochs) for epochs in (2, 9, 10, 40, 200)] == [1, 8, 9, 36, 180]
    assert Crt(0.9).second_stage(2) == 1
    assert CrossEntropy().second_stage(1) is None
    with pytest.raises(UserError, match="2 epochs or more"):
        Lws().second_stage(1)
    with pytest.raises(UserError, match="second must be"):
        MaxNorm(second=1.0).second_stage(10)


def trained(model: nn.Module) -> set[str]:
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


def test_max_norm_trains_the_authors_loss_in_its_second_stage_and_only_there() -> None:
    """Torch's binary cross-entropy of softmax probabilities, weighted by class, a mean over images and classes."""
    method = MaxNorm(beta=0.99)
    model, mixed, logits, labels = shown(method)
    assert loss(method, model, mixed) == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-6)
    method.enter_second_stage(model, fresh=True)
    weights = np.array([(1 - 0.99) / (1 - 0.99**n) for n in COUNTS.tolist()])
    weights = torch.from_numpy(weights * K / weights.sum())[labels][:, None].expand_as(logits)
    expected = F.binary_cross_entropy(logits.softmax(1), F.one_hot(labels, K).double(), weights)
    assert loss(method, model, mixed) == pytest.approx(expected.item(), rel=1e-6)
    certain = torch.full((1, K), -300.0).index_fill_(1, torch.tensor([1]), 300.0).requires_grad_()
    class_balanced_binary_loss(certain, F.one_hot(torch.tensor([0]), K).float(), torch.ones(K)).backward()
    assert torch.isfinite(certain.grad).all()


def test_crt_with_batch_norm_of_the_second_stages_batches() -> None:
    for choice, follows in (("frozen", False), ("batch", True)):
        method = Crt(batch_norm=choice)
        model = make_net(method)
        method.enter_second_stage(model, fresh=True)
        model.train()
        before = model.backbone.stem[1].running_mean.clone()
        model(make_batch().original.views[0].double())
        assert trained(model) == {"fc.weight", "fc.bias"}
        assert torch.equal(model.backbone.stem[1].running_mean, before) != follows


def test_crt_begins_a_new_classifier_and_freezes_the_rest() -> None:
    model = make_net(Crt())
    before = model.fc.weight.clone()
    Crt().enter_second_stage(model, fresh=True)
    assert trained(model) == {"fc.weight", "fc.bias"}
    assert not torch.equal(model.fc.weight, before)
    kept = model.fc.weight.clone()
    Crt().enter_second_stage(model, fresh=False)  # a resumption
    assert torch.equal(model.fc.weight, kept)


@pytest.mark.parametrize("bias", ["scaled", "kept"])
def test_lws_learns_factors_only_and_only_then(bias: str) -> None:
    method, model = Lws(bias=bias), make_net(Lws(bias=bias))
    with torch.no_grad():
        model.fc.bias.copy_(torch.tensor([3.0, -1, 0, 2]))
    _, mixed, _, _ = shown(method)
    method.loss(model, mixed, 0.0).total.backward()
    assert model.fc.factors_K.grad is None  # so that no optimizer touches it
    assert model.fc.weight.grad is not None
    with torch.no_grad():
        plain = model(mixed.images[0])
    method.enter_second_stage(model, fresh=True)
    assert trained(model) == {"fc.factors_K"}
    with torch.no_grad():
        assert torch.equal(model(mixed.images[0]), plain)
        model.fc.factors_K.copy_(torch.tensor([2.0, 1, 1, 1]))
        expected = 2 * plain[:, 0] if bias == "scaled" else 2 * (plain[:, 0] - 3) + 3
        torch.testing.assert_close(model(mixed.images[0])[:, 0], expected)
    method.loss(model, mixed, 0.9).total.backward()
    assert model.fc.factors_K.grad.abs().min() > 0


def test_max_norm_shortens_long_rows_and_no_others() -> None:
    method, model = MaxNorm(), make_net(MaxNorm())
    with torch.no_grad():
        model.fc.weight.copy_(F.normalize(model.fc.weight, dim=1) * torch.tensor([[3.0], [1.2], [0.9], [0.2]]))
    before = model.fc.weight.clone()
    method.constrain(model)
    assert torch.equal(model.fc.weight, before)  # the first stage is as it was
    method.enter_second_stage(model, fresh=True)
    assert torch.equal(model.fc.weight, before)
    method.constrain(model)
    lengths = torch.linalg.vector_norm(model.fc.weight, dim=1)
    radius = 0.2 + 0.1 * (3.0 - 0.2)  # relative to the rows found
    torch.testing.assert_close(lengths, torch.tensor([radius, radius, radius, 0.2]).double())
    again = make_net(method)
    again.load_state_dict(model.state_dict())
    method.enter_second_stage(again, fresh=False)  # a resumption finds the radius of the beginning
    assert again.radius == model.radius
    torch.testing.assert_close(F.cosine_similarity(model.fc.weight, before), torch.ones(K).double())


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: MixUp(0.0), lambda: CutMix(probability=1.1), lambda: CutMix(beta=-1.0), lambda: Focal(-0.1),
        lambda: ClassBalanced(1.0), lambda: LogitAdjustment(float("nan")), lambda: VectorScaling(gamma=float("inf")),
        lambda: LdamDrw(largest_margin=-0.1), lambda: LdamDrw(scale=0.0), lambda: LdamDrw(beta=1.0),
        lambda: LdamDrw(deferred=1.5), lambda: MaxNorm(threshold=1.1),
        lambda: MaxNorm(weight_decay=-1.0), lambda: Crt(batch_norm="x"), lambda: Lws(bias="x"),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong) -> None:
    with pytest.raises(UserError, match=r"must be|unknown"):
        wrong()
