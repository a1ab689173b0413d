"""Weights of several experts for test images of unknown class frequencies (SADE, Zhang et al., NeurIPS 2022).

    max_w  mean_i cos(softmax(sum_e w_e o_e(x_i)), softmax(sum_e w_e o_e(x'_i)))          w = softmax(v)

x and x' are two augmented views of a test image. An expert that knows an image's class well says the same of both, so
the experts that suit the images at hand gain weight; labels are not used.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

LOWEST = 0.05  # a weight below it ends the search, as in the authors' code


def stability(weights_E: Tensor, first_BEK: Tensor, second_BEK: Tensor) -> Tensor:
    """Mean cosine between the aggregated probabilities of both views, in (0, 1]. first, second: experts' logits.

    >>> import fsgl, torch
    >>> logits = torch.zeros(1, 2, 3)
    >>> round(fsgl.stability(torch.tensor([0.5, 0.5]), logits, logits).item(), 3)
    1.0
    """
    first, second = (torch.einsum("e,bek->bk", weights_E, each).softmax(dim=1) for each in (first_BEK, second_BEK))
    return cosine_similarity(first, second, dim=1, eps=1e-6).mean()


def learn_aggregation(
    epochs: Iterable[Iterable[tuple[Tensor, Tensor]]], experts: int, lr: float = 0.1, weight_decay: float = 5e-4
) -> Tensor:
    """Weights ``E``, summing to 1, of gradient ascent from uniform ones; SGD's settings are the authors'.

    epochs: of each, batches of the experts' logits of two views, ``B x E x K``.

    >>> import fsgl, torch
    >>> random = torch.Generator().manual_seed(0)
    >>> steady, wild = torch.eye(3) * 9, torch.randn(2, 3, 3, generator=random) * 9
    >>> first, second = (torch.stack([steady, each], dim=1) for each in wild)
    >>> steady_share, _ = fsgl.learn_aggregation([[(first, second)]] * 5, experts=2).tolist()
    >>> steady_share > 0.5
    True
    """
    free = torch.zeros(experts, requires_grad=True)
    sgd = torch.optim.SGD([free], lr=lr, momentum=0.9, weight_decay=weight_decay, nesterov=True)
    for batches in epochs:
        for first, second in batches:
            sgd.zero_grad()
            (-stability(free.softmax(dim=0).to(first), first, second)).backward()
            sgd.step()
        if float(free.detach().softmax(dim=0).min()) < LOWEST:
            break
    return free.detach().softmax(dim=0)
