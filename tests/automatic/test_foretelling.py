"""Features that cannot fit into the minutes are refused early, and others never."""

from __future__ import annotations

import math

import pytest

from fsgl.automatic import clock as of_clock
from fsgl.automatic.clock import Clock
from fsgl.automatic.foretelling import Foretelling, generous, least_of_trial, too_few_for_a_trial, ways
from fsgl.errors import UserError
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import override


class Time:
    """A clock that goes on when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(of_clock, "time", time)
    return time


def shown(time: Time, clock: Clock, seconds: list[float], portion: int = 5, warm: float = 0.0) -> int:
    """How many images were through when it ended, or all. seconds: of each image.  warm: before the first."""
    told, done = Foretelling(clock, 1.0, 224, ways("my photos", halves=True)), 0
    time.now += warm
    while done < len(seconds):
        time.now += sum(seconds[done : done + portion])
        done = min(done + portion, len(seconds))
        try:
            told(done, len(seconds))
        except UserError:
            return done
    return done


def test_what_cannot_fit_ends_early_and_says_what_would(time: Time) -> None:
    clock = Clock(2, 30.0, time.now)  # of which an earlier session spent half a minute
    time.now += 10
    told = Foretelling(clock, 1.0, 224, ways("my photos", halves=True))
    for done in range(5, 36, 5):  # the first portion warms up, and 32 images after it tell
        time.now += 5 * 0.36
        told(done, 2318)
    time.now += 5 * 0.36
    with pytest.raises(UserError) as refused:
        told(40, 2318)
    said = str(refused.value)
    assert "2,318 images at 224 pixels need about 14 minutes for their features alone" in said
    given = int(said.split("--minutes ")[1].split()[0])
    assert given == math.ceil((40 + 1.1 * 2318 * 0.36 + generous(1.0)) / 0.96 / 60)
    assert "--image-size" in said
    assert "data.view=middle" in said
    assert "fsgl train balanced-softmax --data 'my photos'" in said
    assert "\n" not in said

    # In as many minutes as it names they fit.
    assert shown(time, Clock(given, 40.0, time.now), [0.36] * 2318) == 2318


@pytest.mark.parametrize(
    ("seconds", "warm", "through"),
    [
        ([0.1] * 1000, 8.0, True),  # 100 s of 111, after a slow start
        ([1.0] * 5 + [0.1] * 995, 0.0, True),  # the network warms up
        ([0.108] * 1000, 0.0, True),  # close to what there is, so not clear
        ([0.16] * 60 + [0.02] * 940, 0.0, True),  # the first ones, larger than the rest, are not believed at once
        ([0.05] * 300 + [0.5] * 700, 0.0, False),  # slow later on
        ([0.001] * 1000, 0.0, True),
        ([9.0] * 30, 0.0, True),  # too few to foretell anything
    ],
)
def test_only_what_is_clearly_too_long_is_refused(time: Time, seconds: list[float], warm: float, through: bool) -> None:
    done = shown(time, Clock(2, 0.0, time.now), seconds, warm=warm)
    assert (done == len(seconds)) == through


def test_the_last_image_refuses_nothing(time: Time) -> None:
    told = Foretelling(Clock(1, 0.0, time.now), 1.0, 32, "")
    told(1, 101)
    time.now += 1000
    told(101, 101)


@pytest.mark.parametrize("spent", [0.0, 55.0, 299.0, 100000.0])
def test_minutes_that_are_named_are_enough(time: Time, spent: float) -> None:
    error = too_few_for_a_trial(clock := Clock(1, spent, time.now), 1.0, 4.0, 45.0, "photos")
    named = int(str(error).split("--minutes ")[2].split()[0])
    assert named == Clock.enough(spent + 4 + 90)
    assert "--minutes 1 is too few for one trial" in str(error)
    assert str(error).endswith("fsgl train balanced-softmax --data photos")
    left = Clock(named, clock.spent, time.now - 4.0).to_try
    assert 90 <= left < 90 + 61


def test_a_trial_takes_longer_with_more_images_and_classes() -> None:
    experiment = override(make_experiment("cross-entropy", "digits"), "optim.epochs=40", "optim.batch_size=64")
    few, many = (least_of_trial(experiment, images, 10, 5) for images in (640, 6400))
    assert many == pytest.approx(10 * few)
    assert few == pytest.approx(40 * 4 * 10 * (1e-3 + 2e-7 * 640))
    assert least_of_trial(experiment, 640, 1000, 5) > few
    assert least_of_trial(experiment, 640, 10, 1) == pytest.approx(few / 4)  # validation images of one's own
    assert generous(0.1) == 30
    assert generous(100.0) == 200
