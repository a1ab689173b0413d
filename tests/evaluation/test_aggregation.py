"""SADE's aggregation against a search of the whole simplex, and what pins it."""

from __future__ import annotations

import torch

from fsgl.evaluation.aggregation import learn_aggregation, stability

random = torch.Generator().manual_seed(0)
SURE = 4 * torch.randn(300, 5, generator=random)


def view(noise: tuple[float, ...]) -> torch.Tensor:
    """Experts that see the same, blurred by as much as each is unsure."""
    parts = [SURE + amount * torch.randn(300, 5, generator=random) for amount in noise]
    return torch.stack(parts, dim=1)


def test_climbs_to_the_best_weights_there_are() -> None:
    first, second = view((3.0, 1.0, 1.5)), view((3.0, 1.0, 1.5))
    grid = torch.linspace(0, 1, 21)
    simplex = [torch.stack([a, b, 1 - a - b]) for a in grid for b in grid if a + b <= 1 + 1e-6]
    best = max(simplex, key=lambda weights: stability(weights, first, second).item())
    found = learn_aggregation([[(first, second)]] * 3000, 3, weight_decay=0.0)
    assert stability(found, first, second) >= stability(best, first, second) - 1e-3
    assert found.argmax() == best.argmax() == 1
    torch.testing.assert_close(found, best, atol=0.06, rtol=0)


def test_equal_experts_keep_equal_weights_and_order_does_not_matter() -> None:
    same = view((1.0,)).expand(300, 3, 5)
    other = view((1.0,)).expand(300, 3, 5)
    torch.testing.assert_close(learn_aggregation([[(same, other)]] * 20, 3), torch.full((3,), 1 / 3))
    first, second = view((3.0, 1.0, 1.5)), view((3.0, 1.0, 1.5))
    swap = torch.tensor([2, 0, 1])
    torch.testing.assert_close(
        learn_aggregation([[(first[:, swap], second[:, swap])]] * 20, 3),
        learn_aggregation([[(first, second)]] * 20, 3)[swap],
    )


def test_ends_once_an_expert_has_next_to_no_say() -> None:
    first, second = view((50.0, 0.1)), view((50.0, 0.1))
    steps = 0

    def epochs():
        nonlocal steps
        for _ in range(10000):
            steps += 1
            yield [(first, second)]

    weights = learn_aggregation(epochs(), 2)
    assert weights[0] < 0.05
    assert steps < 5000
