"""Whether features, and one trial on them, fit into what is left of the minutes: foretold while they are computed."""

from __future__ import annotations

import shlex

from fsgl.automatic.clock import Clock
from fsgl.errors import UserError
from fsgl.recipes.experiment import Experiment
from fsgl.runs.budget import said

STEADY, FEWEST = 2.0, 32  # seconds and images after the first ones, which warm up, before anything is foretold
# So many times too long is clearly too long: images of a folder differ, so more is wanted of the first tenth.
EARLY, LATER, TENTH = 1.5, 1.1, 0.1
A_STEP, A_LOGIT = 1e-3, 2e-7  # seconds of a step of training a head on one core, and what a class and image add to it
SHORTEST = 30.0  # seconds that a trial is given where minutes are named, as processes begin in them, too


class Foretelling:
    """Called with how many images' features are done, of how many: ends what is clearly too long for the minutes.

    trial: seconds that one will take at least.  side: of an image as the network is shown it.  ways: see ``ways``.
    """

    def __init__(self, clock: Clock, trial: float, side: int, ways: str) -> None:
        self._clock, self._trial, self._side, self._ways = clock, trial, side, ways
        self.began, self._room = clock.spent, clock.to_try
        self._first: tuple[float, int] | None = None

    @property
    def called(self) -> bool:
        """Whether anything was computed."""
        return self._first is not None

    def __call__(self, done: int, count: int) -> None:
        """Raises UserError where they are clearly too long."""
        now = self._clock.spent
        if self._first is None:  # until here processes began, and the network warmed up
            self._first = now, done
            return
        since, before = self._first
        if now - since < STEADY or done - before < FEWEST:
            return
        # What is decoded ahead makes this less than it will be, never more.
        takes = since - self.began + (now - since) / (done - before) * (count - before)
        clearly = EARLY if done < TENTH * count else LATER
        if done < count and takes + self._trial > clearly * max(0.0, self._room):
            enough = self._clock.enough(self.began + LATER * takes + generous(self._trial))
            raise UserError(
                f"{count:,} images at {self._side} pixels need about {_minutes(takes)} for their features alone, and "
                f"{said(max(0.0, self._room))} were left for them; give --minutes {enough} or more in all, or what is "
                f"quicker: {self._ways}"
            )


def least_of_trial(experiment: Experiment, images: int, classes: int, folds: int) -> float:
    """Seconds that a trial of heads will take at least, roughly, before any has been timed."""
    optim = experiment.optim
    steps = optim.epochs * max(1, folds - 1) * images / optim.batch_size
    return steps * (A_STEP + A_LOGIT * optim.batch_size * classes)


def generous(trial: float) -> float:
    """Seconds in which a trial that takes at least so many will surely end."""
    return max(SHORTEST, 2 * trial)


def too_few_for_a_trial(clock: Clock, minutes: float, again: float, trial: float, data: str) -> UserError:
    """The error where not one trial came to its end.

    again: seconds that a next session takes until it can try anything.  trial: that one takes at least.
    """
    enough = clock.enough(clock.spent + again + generous(trial))
    return UserError(
        f"--minutes {minutes:g} is too few for one trial: {said(clock.spent)} are spent, by all sessions of this run; "
        f"features are kept, and the same command with --minutes {enough} or more, which is for all of them, goes on; "
        f"without a search: {trained_alone(data)}"
    )


def trained_alone(data: str) -> str:
    """The command that trains one recipe."""
    return f"fsgl train balanced-softmax --data {shlex.quote(data)}"


def ways(data: str, halves: bool) -> str:
    """What is quicker, in words. halves: whether each image is shown twice."""
    shown_once = "data.view=middle (half of it), " if halves else ""
    return f"a smaller --image-size, {shown_once}or {trained_alone(data)}, which searches nothing"


def _minutes(seconds: float) -> str:
    whole = max(1, round(seconds / 60))
    return f"{whole:,} minute{'s'[: whole > 1]}"
