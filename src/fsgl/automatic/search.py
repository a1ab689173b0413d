"""The search: which candidates were tried and what they came to, which is tried next, and which is chosen.

Every recipe is tried as it comes, then Optuna's tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011)
proposes recipe and settings, told of all that is known and of what is running. What a candidate is worth is the mean
over classes of images that its training did not see; the test images play no part.

All trials stand in ``trials.jsonl``, a line each as they end, with a bit for each judged image: whether it was right.
That is enough to choose again after a stop.
"""

from __future__ import annotations

import base64
import contextlib
import json
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fsgl.automatic.candidates import HEADS, STARTS, Candidate, differing, simplicity
from fsgl.errors import UserError
from fsgl.evaluation.choice import Choice, bias_corrected, difference_error, macro_accuracies, one_standard_error
from fsgl.evaluation.statistics import Interval
from fsgl.methods.search import Range, Search
from fsgl.recipes.experiment import Experiment
from fsgl.recipes.tuning import value_of

NEARLY_CHEAPEST = 1.5  # times the seconds of the cheapest recipe
DIGITS = 3  # of a setting that is proposed
CONTENDERS = 60  # of the best that choosing is about: the bootstrap's time goes with them


@dataclass
class Trial:
    """right: of each judged image whether it was right, ``J`` booleans; None of a candidate that failed.

    judged: which of the judged images it was judged on; None is all, which is what all but costly ones are.
    seconds: of training and judging.  at: seconds of the whole command when it ended.
    """

    number: int
    candidate: Candidate
    seconds: float
    at: float
    right: np.ndarray | None
    accuracy: float | None = None
    judged: np.ndarray | None = None
    failed: str | None = None

    def line(self) -> str:
        """For ``trials.jsonl``."""
        return json.dumps({
            "number": self.number, "recipe": self.candidate.recipe, "kind": self.candidate.kind,
            "settings": dict(self.candidate.settings), "seconds": self.seconds, "at": self.at,
            "accuracy": self.accuracy, "right": _text(self.right), "judged": _text(self.judged), "failed": self.failed,
        })  # fmt: skip

    @staticmethod
    def of(row: Mapping[str, Any], count: int) -> Trial:
        """As ``line`` wrote it; count: of judged images."""
        candidate = Candidate(row["recipe"], row["settings"], row["kind"])
        right, judged = (_bits(row[name], count) for name in ("right", "judged"))
        return Trial(row["number"], candidate, row["seconds"], row["at"], right, row["accuracy"], judged, row["failed"])


@dataclass(frozen=True)
class Beside:
    """What trains the backbone, held against the choice among heads on those images that it was judged on.

    heads: what these are right on there, mean over classes in percent.  error: one standard error of the difference.
    better: whether it is more than that above them.
    """

    trial: Trial
    heads: float
    error: float
    better: bool


@dataclass(frozen=True)
class Verdict:
    """What was chosen.

    heads: among those that train heads alone; best, choice and compared (how many) are of these, too.  corrected: what
    to expect of the chosen one on images that did not choose it; None of too few images, and of a trained backbone.
    """

    trial: Trial
    heads: Trial
    best: Trial
    choice: Choice
    corrected: Interval | None
    compared: int
    beside: tuple[Beside, ...] = ()


@dataclass
class Study:
    """bases: the recipes as they come, by name.  spaces: what may be tried of each.  labels: of the judged images."""

    folder: Path
    bases: Mapping[str, Experiment]
    spaces: Mapping[str, Mapping[str, Search]]
    labels: np.ndarray
    trials: list[Trial] = field(default_factory=list)
    running: dict[int, Candidate] = field(default_factory=dict)

    def read(self) -> None:
        """Take over what an earlier session tried. A torn last line, left by a kill, is passed over."""
        path = self.folder / "trials.jsonl"
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                trial = Trial.of(json.loads(line), len(self.labels))
            except (ValueError, KeyError, TypeError):
                continue
            if trial.candidate.recipe in self.bases:
                self.trials.append(trial)

    def next(self, may_cost: float, left: float | None = None) -> tuple[int, Candidate] | None:
        """What to try next, with its number, from now on among ``running``; None where nothing is cheap enough.

        may_cost: seconds of a trial, as far as is known of its recipe.  left: seconds that there are for trials, by
        default as much; where no recipe is so cheap, the cheapest ones may cost these, or the time would go unused.
        """
        number = self.new_number
        tried = {(each.recipe, *sorted(each.settings.items())) for each in self._all()}
        first = [*((recipe, {}) for recipe in self.bases), *(each for each in STARTS if each[0] in self.bases)]
        fresh = [Candidate(recipe, own) for recipe, own in first if (recipe, *sorted(own.items())) not in tried]
        if fresh:
            candidate = fresh[0]
        else:
            costs = {recipe: self.seconds_of(recipe) for recipe in self.bases}
            allowed = max(may_cost, min(left or may_cost, NEARLY_CHEAPEST * min(costs.values())))
            cheap = [recipe for recipe, cost in costs.items() if cost <= allowed]
            if not cheap:
                return None
            candidate = self._proposed(number, cheap)
        self.running[number] = candidate
        return number, candidate

    def ended(self, trial: Trial) -> None:
        """Write down what a candidate came to."""
        self.running.pop(trial.number, None)
        if trial.right is not None:
            rows = slice(None) if trial.judged is None else trial.judged
            trial.accuracy = float(macro_accuracies(trial.right[None, rows], self.labels[rows])[0])
        self.trials.append(trial)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / "trials.jsonl").open("a") as file:
                file.write(trial.line() + "\n")
        except OSError as error:
            raise UserError(f"{self.folder / 'trials.jsonl'}: cannot be written ({error.strerror})") from None

    def seconds_of(self, recipe: str) -> float:
        """Of its latest trial of heads; 0 where none has ended."""
        known = [t.seconds for t in self.trials if t.candidate.recipe == recipe and t.candidate.kind == "heads"]
        return known[-1] if known else 0.0

    @property
    def new_number(self) -> int:
        """Of a trial that begins."""
        return 1 + max([trial.number for trial in self.trials] + list(self.running), default=-1)

    @property
    def whole(self) -> list[Trial]:
        """Those that train the backbone and came to their end."""
        return [trial for trial in self.trials if trial.right is not None and trial.candidate.kind != "heads"]

    @property
    def best(self) -> Trial | None:
        """The highest of those that train heads alone."""
        known = [trial for trial in self.trials if trial.right is not None and trial.candidate.kind == "heads"]
        return max(known, key=lambda trial: trial.accuracy or 0.0) if known else None

    @property
    def since_best(self) -> int:
        """Trials since the best one ended."""
        best = self.best
        return 0 if best is None else len(self.trials) - 1 - self.trials.index(best)

    def verdict(self, correct: bool = True, heads_alone: bool = False) -> Verdict:
        """The choice among all trials by the rule of one standard error. Raises UserError where none came to an end.

        Of heads first; then what trains the backbone, which is the less simple, against these, on the images that it
        was judged on. correct: False leaves ``corrected`` out, which takes seconds.  heads_alone: choose among these.
        """
        trials = [trial for trial in self.trials if trial.right is not None and trial.candidate.kind == "heads"]
        if not trials:
            reason = next((trial.failed for trial in self.trials if trial.failed), "none came to its end")
            raise UserError(f"nothing was trained to the end: {reason}")
        trials = sorted(trials, key=lambda trial: -(trial.accuracy or 0.0))[:CONTENDERS]
        rights = np.stack([trial.right for trial in trials if trial.right is not None])
        choice = one_standard_error(rights, self.labels, self._order(trials))
        heads = trials[choice.chosen]
        beside = tuple(self._beside(trial, heads) for trial in self.whole)
        better = [] if heads_alone else [each for each in beside if each.better]
        chosen = max(better, key=lambda each: (each.trial.accuracy or 0.0) - each.heads).trial if better else heads
        corrected = None
        if correct and chosen is heads:
            with contextlib.suppress(ValueError):
                corrected = bias_corrected(rights, self.labels, self._order(trials))
        return Verdict(chosen, heads, trials[choice.best], choice, corrected, len(trials), beside)

    def _beside(self, trial: Trial, heads: Trial) -> Beside:
        rows = slice(None) if trial.judged is None else trial.judged
        assert trial.right is not None
        assert heads.right is not None
        right, known, labels = trial.right[rows], heads.right[rows], self.labels[rows]
        accuracy, of_heads = macro_accuracies([right, known], labels)
        error = difference_error(right, known, labels)
        return Beside(trial, float(of_heads), error, bool(accuracy - of_heads > error + 1e-9))

    def _order(self, trials: Sequence[Trial]) -> list[int]:
        """Ranks by simplicity; equal where it is."""
        keys = [simplicity(trial.candidate, self.bases) for trial in trials]
        ranks = {key: rank for rank, key in enumerate(sorted(set(keys)))}
        return [ranks[key] for key in keys]

    def _all(self) -> list[Candidate]:
        heads = [trial.candidate for trial in self.trials if trial.candidate.kind == "heads"]
        return [*heads, *self.running.values()]

    def _proposed(self, number: int, recipes: Sequence[str]) -> Candidate:
        optuna = _optuna()
        spaces = {f"{recipe}:{name}": _distribution(optuna, search)
                  for recipe in recipes for name, search in self.spaces[recipe].items()}  # fmt: skip
        # A sampler of its own for each proposal: what is proposed follows from what is known, also after a stop.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                seed=zlib.crc32(f"auto {number}".encode()), n_startup_trials=len(HEADS) + len(STARTS),
                constant_liar=True,
                multivariate=True, group=True,
            )  # fmt: skip
        study = optuna.create_study(direction="maximize", sampler=sampler)
        choice = optuna.distributions.CategoricalDistribution(list(recipes))
        states = optuna.trial.TrialState
        known = [(t.candidate, t.accuracy, t.failed) for t in self.trials if t.candidate.kind == "heads"]
        for candidate, value, failed in [*known, *((each, None, None) for each in self.running.values())]:
            if candidate.recipe not in recipes:
                continue
            names = [f"{candidate.recipe}:{name}" for name in self.spaces[candidate.recipe]]
            own = {name: self._value(candidate, name.partition(":")[2]) for name in names}
            state = states.COMPLETE if value is not None else states.FAIL if failed else states.RUNNING
            study.add_trial(optuna.trial.create_trial(
                state=state, value=value, params={"recipe": candidate.recipe, **own},
                distributions={"recipe": choice, **{name: spaces[name] for name in names}},
            ))  # fmt: skip
        trial = study.ask()
        recipe = trial.suggest_categorical("recipe", list(recipes))
        found = {name: _suggested(trial, f"{recipe}:{name}", search) for name, search in self.spaces[recipe].items()}
        return Candidate(recipe, differing(self.bases[recipe], found))

    def _value(self, candidate: Candidate, name: str) -> Any:
        return candidate.settings.get(name, value_of(self.bases[candidate.recipe], name))


def recipes_for(views: int, bases: Mapping[str, Experiment]) -> dict[str, Experiment]:
    """Those that so many kept views of an image are enough for, in the order of trying."""
    return {name: bases[name] for name in HEADS if name in bases and bases[name].method.views <= views}


def _suggested(trial: Any, name: str, search: Search) -> Any:
    if not isinstance(search, Range):
        return trial.suggest_categorical(name, list(search.values))
    value = float(f"{trial.suggest_float(name, search.low, search.high, log=search.log):.{DIGITS}g}")
    return min(max(value, search.low), search.high)


def _distribution(optuna: Any, search: Search) -> Any:
    if isinstance(search, Range):
        return optuna.distributions.FloatDistribution(search.low, search.high, log=search.log)
    return optuna.distributions.CategoricalDistribution(search.values)


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError:
        raise UserError("fsgl auto needs Optuna: pip install 'fsgl[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _text(bits: np.ndarray | None) -> str | None:
    return None if bits is None else base64.b64encode(np.packbits(bits).tobytes()).decode()


def _bits(text: str | None, count: int) -> np.ndarray | None:
    if text is None:
        return None
    return np.unpackbits(np.frombuffer(base64.b64decode(text), dtype=np.uint8), count=count).astype(bool)
