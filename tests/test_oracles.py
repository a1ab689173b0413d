"""Whole FSGL steps against a second implementation, written here from METHOD.md's equations alone.

The second implementation shares nothing with the package but the random draws: labels and omega are built by loops in
NumPy, BatchNorm, SAM and SGD are spelt out on a dictionary of tensors, and autograd is asked for bare gradients.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests import builders
from torch import nn

from fsgl.engine.step import Update, training_step
from fsgl.losses.class_weights import power_class_weights
from fsgl.methods.mixtures import cutmix_box, draw_lambda
from fsgl.models.assemble import FourHeadNet
from fsgl.models.backbone import Backbone
from fsgl.models.feature_scaling import FeatureScaling
from fsgl.models.heads import FourHeads
from fsgl.optim.sam import make_ascent
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import override
from fsgl.types import Batch

# Not sorted: the most frequent class is 2. Frequency ranks and class indices differ.
COUNTS = [20, 3, 100, 3, 45]
CLASSES, SIZE, SIDE, WIDTH, HEADS = 5, 7, 9, 6, 4
EPOCHS, EPOCH, LR, MOMENTUM, DECAY = 10, 4, 0.05, 0.9, 5e-3


class TinyBackbone(Backbone):
    def __init__(self) -> None:
        super().__init__()
        self.feature_dim, self.head_width, self.linear_init = WIDTH, HEADS, "default"
        self.conv1 = nn.Conv2d(3, WIDTH, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTH)
        self.conv2 = nn.Conv2d(WIDTH, WIDTH, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(WIDTH)

    def forward(self, images):
        hidden = F.relu(self.bn1(self.conv1(images)))
        return F.relu(self.bn2(self.conv2(hidden))).mean(dim=(2, 3))


def make_net(method) -> FourHeadNet:
    fsm = method.feature_scaling
    scaling = FeatureScaling(COUNTS, fsm.gamma, fsm.profile, fsm.rank, fsm.decimals)
    weights = power_class_weights(COUNTS, method.label_weighting)
    return FourHeadNet(TinyBackbone(), scaling, FourHeads(WIDTH, CLASSES, HEADS), weights)


def make_batch(seed: int) -> Batch:
    return builders.make_batch(SIZE, (3, SIDE, SIDE), CLASSES, views=2, streams=2, seed=seed)


# ---------------------------------------------------------------- the second implementation


class Second:
    """State as plain tensors; ``step`` follows METHOD.md sections 3 to 7."""

    def __init__(self, net: FourHeadNet, release: bool, rho: float, gamma: float, p: float, c: float, ascend_all: bool):
        self.weights = {name: value.detach().clone() for name, value in net.named_parameters()}
        self.running = {
            f"{layer}.{kind}": getattr(getattr(net.backbone, layer), kind).clone()
            for layer in ("bn1", "bn2")
            for kind in ("running_mean", "running_var")
        }
        self.momentum: dict[str, torch.Tensor] = {}
        self.release, self.rho, self.c, self.ascend_all = release, rho, c, ascend_all
        self.omega = self.omegas(gamma)
        powers = [n**-p for n in COUNTS]
        self.class_weight = np.array([CLASSES * power / sum(powers) for power in powers])

    def omegas(self, gamma: float) -> list[float]:
        omegas = []
        for k in range(CLASSES):
            rank = k if self.release else sum(n > COUNTS[k] or (n == COUNTS[k] and j < k) for j, n in enumerate(COUNTS))
            omega = 1 + gamma * (1 - rank / CLASSES)
            omegas.append(round(omega, 2) if self.release else omega)
        return omegas

    def soft(self, lam: float, first: torch.Tensor, second: torch.Tensor) -> np.ndarray:
        target = np.zeros((SIZE, CLASSES))
        for i in range(SIZE):
            target[i, int(first[i])] += lam
            target[i, int(second[i])] += 1 - lam
        return target

    def batch_norm(self, x, layer: str, weights, update: bool):
        mean = x.mean(dim=(0, 2, 3))
        var = ((x - mean[None, :, None, None]) ** 2).mean(dim=(0, 2, 3))
        if update:
            count = x.numel() / x.shape[1]
            for kind, value in (("running_mean", mean), ("running_var", var * count / (count - 1))):
                name = f"{layer}.{kind}"
                self.running[name] = 0.9 * self.running[name] + 0.1 * value.detach()
        scaled = (x - mean[None, :, None, None]) / torch.sqrt(var + 1e-5)[None, :, None, None]
        gain, shift = weights[f"backbone.{layer}.weight"], weights[f"backbone.{layer}.bias"]
        return scaled * gain[None, :, None, None] + shift[None, :, None, None]

    def forward(self, x, target, weights, update):
        hidden = F.conv2d(x, weights["backbone.conv1.weight"], padding=1)
        hidden = self.batch_norm(hidden, "bn1", weights, update).clamp(min=0)
        hidden = F.conv2d(hidden, weights["backbone.conv2.weight"], stride=2, padding=1)
        feature = self.batch_norm(hidden, "bn2", weights, update).clamp(min=0).mean(dim=(2, 3))
        scales = [sum(target[i, k] * self.omega[k] for k in range(CLASSES)) for i in range(SIZE)]
        feature = torch.stack([row * scale for row, scale in zip(feature, scales, strict=True)])

        def linear(name, value):
            return value @ weights[f"heads.{name}.weight"].T + weights[f"heads.{name}.bias"]

        z = linear("projection_head", feature)
        return linear("fc", feature), linear("fc_cb", feature), z, linear("contrast_head", z)

    @staticmethod
    def cross_entropy(logits, target):
        total = 0.0
        for i in range(SIZE):
            log_sum = torch.logsumexp(logits[i], 0)
            for k in range(CLASSES):
                total = total - target[i, k] * (logits[i, k] - log_sum)
        return total / SIZE

    @staticmethod
    def cosine(p, z):
        z = z.detach()
        return sum((p[i] @ z[i]) / (p[i].norm() * z[i].norm()) for i in range(SIZE)) / SIZE

    def losses(self, views, targets, weights, update):
        (x_g, x_l), (y_g, y_l) = views, targets
        o_g, b_g, z_g, p_g = self.forward(x_g, y_g, weights, update)
        o_l, b_l, z_l, p_l = self.forward(x_l, y_l, weights, update)
        alpha = 1 - (EPOCH / EPOCHS) ** 2
        conventional = self.cross_entropy(o_g, y_g) + self.cross_entropy(o_l, y_l)
        w = self.class_weight[None, :]
        rebalanced = self.cross_entropy(b_g, w * y_g) + self.cross_entropy(b_l, w * y_l)
        classification = alpha * conventional + (1 - alpha) * rebalanced
        return classification, classification + self.c * (-self.cosine(p_g, z_l) - self.cosine(p_l, z_g))

    def gradient(self, loss, weights):
        grads = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
        return dict(zip(weights, grads, strict=True))

    def leaves(self, values):
        return {name: value.detach().clone().requires_grad_() for name, value in values.items()}

    def step(self, batch: Batch, lam: float, box) -> None:
        (x1_o, x2_o), (x1_r, x2_r) = batch.original.views, batch.rebalanced.views
        local = x2_o.numpy().copy()
        pasted = 0
        for row in range(box[0], box[1]):
            for column in range(box[2], box[3]):
                local[:, :, row, column] = x2_r.numpy()[:, :, row, column]
                pasted += 1
        lam_l = lam if self.release else 1 - pasted / SIDE**2
        views = (lam * x1_o + (1 - lam) * x1_r, torch.from_numpy(local))
        first, second = batch.original.labels, batch.rebalanced.labels
        targets = (self.soft(lam, first, second), self.soft(lam_l, first, second))

        here = self.weights
        if self.rho > 0:
            leaves = self.leaves(here)
            ascent, total = self.losses(views, targets, leaves, update=True)
            grads = self.gradient(total if self.ascend_all else ascent, leaves)
            norm = math.sqrt(sum(float((g**2).sum()) for g in grads.values() if g is not None))
            here = {n: w if grads[n] is None else w + self.rho * grads[n] / norm for n, w in here.items()}
        leaves = self.leaves(here)
        _, total = self.losses(views, targets, leaves, update=self.rho <= 0 or self.release)
        for name, grad in self.gradient(total, leaves).items():
            grad = grad + DECAY * self.weights[name]
            self.momentum[name] = grad if name not in self.momentum else MOMENTUM * self.momentum[name] + grad
            self.weights[name] = self.weights[name] - LR * self.momentum[name]


# ---------------------------------------------------------------- the comparison


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


CASES = {
    "fsgl": ("fsgl", ()),
    "release": ("release", ()),
    "glmc": ("glmc", ()),
    "glmc-sam": ("glmc-sam", ()),
    "fsgl-total": ("fsgl", ("method.ascent=total",)),
}


@pytest.mark.parametrize("case", CASES)
def test_three_whole_steps_agree_with_the_equations(case, float64):
    recipe, changes = CASES[case]
    experiment = override(
        make_experiment(recipe, "cifar100"), "method.feature_scaling.gamma=0.37" if "fsgl" in case or case == "release"
        else "method.feature_scaling.gamma=0", *changes
    )  # fmt: skip
    method = experiment.method
    torch.manual_seed(3)
    net = make_net(method).train()
    release = case == "release"
    second = Second(
        net, release, experiment.sam.rho, method.feature_scaling.gamma, method.label_weighting,
        method.contrast_weight, method.ascent == "total",
    )  # fmt: skip
    optimizer = torch.optim.SGD(net.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY, fused=True)
    update = Update(net, method, optimizer, make_ascent(net, experiment.sam))
    for step in range(3):
        batch = make_batch(step)
        random = torch.Generator().manual_seed(100 + step)
        lam = draw_lambda(1.0 if release else 0.5, random)
        box = cutmix_box(SIDE, SIDE, lam, random)
        random.manual_seed(100 + step)
        training_step(update, method, batch, CLASSES, EPOCH / EPOCHS, random)
        second.step(batch, lam, box)
    for name, value in net.named_parameters():
        torch.testing.assert_close(value.detach(), second.weights[name], rtol=1e-10, atol=1e-10, msg=name)
    for name, value in second.running.items():
        torch.testing.assert_close(net.backbone.get_buffer(name), value, rtol=1e-10, atol=1e-10, msg=name)


def test_release_and_fsgl_differ(float64):
    """The comparison above could not tell the recipes apart if these were the same."""
    weights = {}
    for recipe in ("fsgl", "release", "glmc-sam", "glmc"):
        experiment = make_experiment(recipe, "cifar100")
        torch.manual_seed(3)
        net = make_net(experiment.method).train()
        optimizer = torch.optim.SGD(net.parameters(), lr=LR)
        random = torch.Generator().manual_seed(5)
        update = Update(net, experiment.method, optimizer, make_ascent(net, experiment.sam))
        training_step(update, experiment.method, make_batch(0), CLASSES, 0.4, random)
        weights[recipe] = net.heads.fc.weight.detach().clone()
    names = list(weights)
    for i, first in enumerate(names):
        for other in names[i + 1 :]:
            assert not torch.allclose(weights[first], weights[other], atol=1e-6), (first, other)
