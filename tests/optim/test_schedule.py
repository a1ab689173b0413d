from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fsgl.errors import UserError
from fsgl.optim.schedule import Schedule, cosine, warmup_cosine

RATES = st.floats(1e-6, 10)
EPOCHS = st.integers(1, 250)


@pytest.mark.parametrize(("lr", "epochs"), [(0.01, 200), (0.1, 1), (0.3, 7), (0.02, 135)])
def test_cosine_is_torchs_stepped_once_an_epoch(lr: float, epochs: int) -> None:
    parameter = torch.nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([parameter], lr=lr)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    schedule = Schedule(lr)
    for epoch in range(epochs):
        assert schedule.rate(epoch, epochs) == pytest.approx(theirs.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        theirs.step()


def release_rates(lr: float, epochs: int) -> list[float]:
    """METHOD section 7, as the release runs it: full rate at first, then set at the end of each epoch t."""
    rates, now = [], lr
    for t in range(epochs):
        rates.append(now)
        now = lr * (t + 1) / 10 if t <= 10 else lr * 0.5 * (1 + math.cos(math.pi * (t - 9) / (epochs - 9)))
    return rates


@given(RATES)
def test_warmup_steps_are_the_rates_of_ldam_drws_authors(lr: float) -> None:
    schedule = Schedule(lr, "warmup-steps")
    for epoch in range(200):
        theirs = epoch + 1  # they count from 1
        expected = lr * theirs / 5 if theirs <= 5 else lr * (1 if theirs <= 160 else 0.01 if theirs <= 180 else 0.0001)
        assert schedule.rate(epoch, 200) == pytest.approx(expected, rel=1e-12)
    paco = Schedule(lr, "warmup-steps", warmup=10, drop=0.1)
    assert [paco.rate(epoch, 400) / lr for epoch in (0, 9, 10, 319, 320, 360)] == pytest.approx(
        [0.1, 1, 1, 1, 0.1, 0.01]
    )
    for wrong in ({"warmup": -1}, {"drop": 0.0}, {"kind": "cosine", "warmup": 3}):
        with pytest.raises(UserError, match="schedule"):
            Schedule(lr, **{"kind": "warmup-steps", **wrong})


@given(RATES, EPOCHS)
def test_full_first_epoch_is_the_release(lr: float, epochs: int) -> None:
    schedule = Schedule(lr, "warmup-cosine", "full")
    found = [schedule.rate(epoch, epochs) for epoch in range(epochs)]
    assert found == pytest.approx(release_rates(lr, epochs), rel=1e-12)


@given(RATES, st.integers(20, 250))
def test_warmup_is_the_same_rates_one_epoch_earlier(lr: float, epochs: int) -> None:
    schedule = Schedule(lr, "warmup-cosine")
    found = [schedule.rate(epoch, epochs) for epoch in range(epochs)]
    assert found[:-1] == pytest.approx(release_rates(lr, epochs)[1:], rel=1e-12)
    assert found[0] == pytest.approx(lr / 10)
    assert all(0 < rate <= 1.1 * lr * (1 + 1e-12) for rate in found)


@pytest.mark.parametrize("epochs", range(2, 20))
def test_a_warmup_ends_in_a_short_run_too(epochs: int) -> None:
    rates = [Schedule(1.0, "warmup-cosine").rate(epoch, epochs) for epoch in range(epochs)]
    top = rates.index(max(rates))
    assert top == max(1, epochs // 2)
    assert rates[:top] == pytest.approx([(t + 1) / top for t in range(top)])
    assert all(later < earlier for earlier, later in pairwise(rates[top:]))


@given(RATES, st.integers(1, 30), st.integers(1, 40), st.floats(0, 0.95))
def test_step_cosine_is_a_ramp_and_then_torchs_cosine(lr: float, epochs: int, steps: int, share: float) -> None:
    schedule = Schedule(lr, "step-cosine", warmup_share=share)
    found = [schedule.rate(step / steps + 0.5 / steps, epochs) for step in range(epochs * steps)]
    rise, total = share * epochs * steps, epochs * steps  # in steps
    for step, rate in enumerate(found):
        place = step + 0.5
        if place < rise:
            assert rate == pytest.approx(lr * place / rise)
        else:  # torch's closed form, from lr to 0 over what is left
            left = torch.tensor((place - rise) / (total - rise), dtype=torch.float64)
            assert rate == pytest.approx(lr * torch.cos(left * math.pi / 2).square().item(), rel=1e-6, abs=1e-9 * lr)
    assert 0 < max(found) <= lr * (1 + 1e-12)
    assert schedule.by_step
    assert not Schedule(lr).by_step


def test_some_rates_of_imagenet_lt_by_hand() -> None:
    rates = [warmup_cosine(0.1, epoch, 135) for epoch in (0, 4, 9, 10, 11, 72, 134)]
    middle = 0.05  # epoch 72 is half way between 9 and 135
    assert rates == pytest.approx(
        [0.01, 0.05, 0.1, 0.11, 0.05 * (1 + math.cos(2 * math.pi / 126)), middle, 0.05 * (1 - math.cos(math.pi / 126))]
    )


@given(RATES, EPOCHS)
def test_cosine_starts_full_falls_and_stays_positive(lr: float, epochs: int) -> None:
    rates = [cosine(lr, epoch, epochs) for epoch in range(epochs)]
    assert rates[0] == lr
    assert all(later < earlier for earlier, later in pairwise(rates))
    assert rates[-1] > 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kind": "cosin"}, "did you mean 'cosine'"),
        ({"kind": "warmup_cosine"}, "did you mean 'warmup-cosine'"),
        ({"first_epoch": "ful"}, "did you mean 'full'"),
        ({"lr": 0.0}, "must be positive"),
        ({"lr": -0.1}, "must be positive"),
        ({"warmup_share": 0.2}, "belongs to the kind step-cosine"),
        ({"lr": math.nan}, "must be positive"),
        ({"lr": math.inf}, "must be positive"),
    ],
)
def test_mistakes(wrong: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Schedule(**wrong)
