"""Global and local mixture: MixUp and CutMix of two streams under one shared lambda.

Source: GLMC (Du et al., CVPR 2023), after MixUp (Zhang et al., ICLR 2018) and CutMix (Yun et al.,
ICCV 2019).

    lambda ~ Beta(beta, beta)                       one draw a batch
    global  x_g = lambda x_o + (1 - lambda) x_r
    local   x_l = x_o with a box from x_r pasted in, of side  ceil(side * sqrt(1 - lambda))
    label   y   = lambda y_o + (1 - lambda) y_r

Departure: the box is clipped at the border, so the pasted share is usually smaller than 1 - lambda.
``box_lambda`` gives the share that was kept, for a label that says what the image shows; the
authors' release keeps lambda. (``Glmc.cutmix_label`` chooses.)

All functions are pure. Random ones take an explicit ``torch.Generator`` on the CPU: the draws are a
few numbers a batch, and as Python numbers they cost no device synchronisation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Box(NamedTuple):
    """Rows ``top:bottom`` and columns ``left:right`` of an image, in pixels."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def area(self) -> int:
        return (self.bottom - self.top) * (self.right - self.left)


def draw_lambda(beta: float, generator: torch.Generator) -> float:
    """One draw from Beta(beta, beta), by inverting its distribution function.

    beta: > 0; 1 is uniform, below 1 favours one image over an even blend.
    Raises ValueError for beta <= 0.

    >>> import fsgl, torch
    >>> 0 <= fsgl.draw_lambda(0.5, torch.Generator().manual_seed(0)) <= 1
    True
    """
    if not beta > 0:
        raise ValueError(f"beta must be positive, not {beta}")
    # torch's own Beta takes no generator; one uniform number through the quantile function is exact.
    uniform = torch.rand((), dtype=torch.float64, generator=generator).item()
    from scipy.special import betaincinv  # here, as few methods mix and it loads a good part of SciPy

    return float(betaincinv(beta, beta, uniform))


def cutmix_box(height: int, width: int, lam: float, generator: torch.Generator) -> Box:
    """The box of CutMix for one lambda: uniform integer centre, clipped at the border.

    The side is ``cut = ceil(side * sqrt(1 - lam))`` and the box reaches from centre - cut // 2 to
    centre + cut // 2, so an odd cut pastes one pixel less (as in the release).

    >>> import fsgl, torch
    >>> box = fsgl.cutmix_box(32, 32, lam=0.75, generator=torch.Generator().manual_seed(0))
    >>> box.area <= 16 * 16  # less where it is clipped
    True
    """
    ratio = math.sqrt(1.0 - lam)
    half_height = math.ceil(height * ratio) // 2
    half_width = math.ceil(width * ratio) // 2
    row = int(torch.randint(height, (), generator=generator))
    column = int(torch.randint(width, (), generator=generator))
    return Box(
        max(row - half_height, 0),
        min(row + half_height, height),
        max(column - half_width, 0),
        min(column + half_width, width),
    )


def box_lambda(box: Box, height: int, width: int) -> float:
    """The share of the image that a box leaves as it was, in [0, 1].

    >>> import fsgl
    >>> from fsgl.methods.mixtures import Box
    >>> fsgl.box_lambda(Box(top=0, bottom=16, left=0, right=16), 32, 32)
    0.75
    """
    return 1.0 - box.area / (height * width)


def mixup(images_a: Tensor, images_b: Tensor, lam: float) -> Tensor:
    """``lam * images_a + (1 - lam) * images_b``, both of any one shape.

    >>> import fsgl, torch
    >>> fsgl.mixup(torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2), lam=0.25).unique().tolist()
    [0.25]
    """
    return torch.lerp(images_b, images_a, lam)  # one pass over memory, exact at lam = 0 and 1


def cutmix(images_a: Tensor, images_b: Tensor, box: Box) -> Tensor:
    """``images_a`` with the box cut from ``images_b``; both ``B x C x H x W``, neither is changed.

    >>> import fsgl, torch
    >>> from fsgl.methods.mixtures import Box
    >>> fsgl.cutmix(torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), Box(0, 1, 0, 1)).tolist()
    [[[[0.0, 1.0], [1.0, 1.0]]]]
    """
    mixed = images_a.clone()
    mixed[..., box.top : box.bottom, box.left : box.right] = images_b[..., box.top : box.bottom, box.left : box.right]
    return mixed


def one_hot(labels: Tensor, num_classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Labels ``B`` as rows ``B x K`` with a single 1.

    >>> import fsgl, torch
    >>> fsgl.one_hot(torch.tensor([2, 0]), 3).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    return soft_labels(labels, labels, 1.0, num_classes, dtype)


def soft_labels(
    labels_a: Tensor, labels_b: Tensor, lam: float, num_classes: int, dtype: torch.dtype = torch.float32
) -> Tensor:
    """``lam * onehot(labels_a) + (1 - lam) * onehot(labels_b)``, ``B x K``; labels ``B`` int64 in [0, K).

    >>> import fsgl, torch
    >>> fsgl.soft_labels(torch.tensor([0]), torch.tensor([2]), lam=0.75, num_classes=3).tolist()
    [[0.75, 0.0, 0.25]]
    """
    target = torch.zeros(len(labels_a), num_classes, dtype=dtype, device=labels_a.device)
    share = torch.full_like(target[:, :1], lam)
    target.scatter_(1, labels_a[:, None], share)
    return target.scatter_add_(1, labels_b[:, None], 1.0 - share)


def global_local_mixture(
    views_o: Sequence[Tensor],
    labels_o: Tensor,
    views_r: Sequence[Tensor],
    labels_r: Tensor,
    num_classes: int,
    beta: float,
    generator: torch.Generator,
    label: str = "area",
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Both mixtures of a batch with their soft labels, under one lambda: (x_g, x_l), (y_g, y_l).

    views_o, views_r: two views ``B x C x H x W`` each of the original and the rebalanced images; labels ``B`` int64.
    label: of the local mixture, "area" for the share of pixels that each image has, "lambda" as the release does.
    Returns images ``B x C x H x W`` and targets ``B x K``.

    Departure: views that are features ``B x D`` (features.py) have no place for a box; both mixtures are then
    MixUp of features (manifold mixup, Verma et al., ICML 2019, at the last layer), each of a view, under the lambda.

    >>> import fsgl, torch
    >>> views = [torch.rand(2, 3, 32, 32) for _ in range(2)]
    >>> draws, labels = torch.Generator().manual_seed(0), torch.tensor([0, 1])
    >>> (x_g, x_l), (y_g, y_l) = fsgl.global_local_mixture(views, labels, views, labels.flip(0), 2, 0.5, draws)
    >>> x_g.shape, y_l.sum(dim=1).tolist()
    (torch.Size([2, 3, 32, 32]), [1.0, 1.0])
    """
    if label not in ("area", "lambda"):
        raise ValueError(f"the label of the local mixture is 'area' or 'lambda', not {label!r}")
    if views_o[0].ndim == 2:
        return _feature_mixtures(views_o, labels_o, views_r, labels_r, num_classes, draw_lambda(beta, generator))
    (first_o, second_o), (first_r, second_r) = views_o, views_r
    height, width = second_o.shape[-2:]
    lam = draw_lambda(beta, generator)
    box = cutmix_box(height, width, lam, generator)
    lam_local = box_lambda(box, height, width) if label == "area" else lam
    images = mixup(first_o, first_r, lam), cutmix(second_o, second_r, box)
    target_g, target_l = (
        soft_labels(labels_o, labels_r, share, num_classes, first_o.dtype) for share in (lam, lam_local)
    )
    return images, (target_g, target_l)


def _feature_mixtures(
    views_o: Sequence[Tensor],
    labels_o: Tensor,
    views_r: Sequence[Tensor],
    labels_r: Tensor,
    num_classes: int,
    lam: float,
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    (first_o, second_o), (first_r, second_r) = views_o, views_r
    target = soft_labels(labels_o, labels_r, lam, num_classes, first_o.dtype)
    return (mixup(first_o, first_r, lam), mixup(second_o, second_r, lam)), (target, target)
