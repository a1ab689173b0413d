"""Settings chosen by trials on validation images, with the same budget for every recipe.

A trial is a training with other settings, or one on each of several folds; what it is worth is the mean over classes of
its last epoch on validation images. The test images play no part: nothing here reads their figures. The first trial has
the recipe's own settings, so that tuning never ends below them on what it goes by. The others are proposed by Optuna's
tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011), told of all that is known and of what is running.

All trials stand in ``trials.json``, beside their run folders, of which the weights are removed once they are read. The
same command goes on where it was stopped. Of more trials than the budget has, from a larger one before, the first are
chosen from, so that every recipe has the same.
"""

from __future__ import annotations

import contextlib
import shutil
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fsgl.comparison.grid import Cell, Word
from fsgl.errors import UserError
from fsgl.files import read_json, write_json
from fsgl.methods.search import Search
from fsgl.recipes.experiment import Experiment, override
from fsgl.recipes.tuning import search_space, value_of
from fsgl.runs.saved import read_history

SEED = 1000  # of the trials' trainings: none of the seeds that a comparison has
DIGITS = 3  # of a setting that is proposed
FAILURES = 5  # after so many with no other none is begun: failed trials may take no time that a budget knows


@dataclass(frozen=True)
class Budget:
    """For each recipe: so many trials, or those before which less than so many minutes were trained; one of the two."""

    trials: int | None = None
    minutes: float | None = None

    def __str__(self) -> str:
        if self.minutes is None:
            return f"{self.trials} trials"
        return f"{self.minutes:g} minute{'' if self.minutes == 1 else 's'}"


@dataclass
class Trial:
    """settings: by their dotted names.  cells: one, or one a fold."""

    number: int
    settings: dict[str, Any]
    cells: list[Cell]
    failed: str | None = None
    values: list[float] = field(default_factory=list)

    @property
    def over(self) -> bool:
        return self.failed is not None or bool(self.values)

    @property
    def value(self) -> float | None:
        """The mean over folds, %; None while it runs, and for a failed one."""
        return float(np.mean(self.values)) if self.values else None

    @property
    def seconds(self) -> float:
        """Of training, as the run folders say."""
        return sum(float(row["seconds"]) for cell in self.cells for row in _history(cell))


class Study:
    """The trials of one recipe.

    base: its experiment as it comes, with validation images.  folds: 1 is the validation images of ``base``.
    images: which they are, where somebody's own (settings_file.py).
    """

    def __init__(
        self, recipe: str, base: Experiment, folder: Path, budget: Budget, folds: int, images: str | None = None
    ) -> None:
        if base.data.val <= 0:
            raise UserError("nothing is tuned on test images: give --val SHARE, or --folds K")
        self.recipe, self.base, self.folder, self.budget, self.folds = recipe, base, folder, budget, folds
        self.images = images
        self.space: dict[str, Search] = search_space(base)
        self.trials: list[Trial] = []
        path = folder / "trials.json"
        for number, (settings, failed) in enumerate(self._read(path) if path.exists() else []):
            trial = self._trial(number, settings)
            trial.failed = failed
            for cell in trial.cells if trial.failed is None else []:
                cell.look()
            self.trials.append(trial)
            self.see(trial)

    @property
    def wants_more(self) -> bool:
        """Whether another trial is to be begun. What runs, or failed, is reckoned to take as long as the others did."""
        return not self._spent(len(self.trials))

    @property
    def counted(self) -> list[Trial]:
        """The trials that the budget allows, the first by number; of a larger budget before there may be more."""
        return [trial for number, trial in enumerate(self.trials) if not self._spent(number)]

    def _spent(self, number: int) -> bool:
        """Whether the trials before this number have used up the budget."""
        if self.budget.trials is not None:
            return number >= self.budget.trials
        assert self.budget.minutes is not None
        ended = [trial.seconds for trial in self.trials if trial.values]
        each = float(np.mean(ended)) if ended else 0.0
        if not ended and sum(trial.failed is not None for trial in self.trials[:number]) >= FAILURES:
            return True
        # The whole of each trial before, also of those that ran beside it: what counts is the same for any --jobs.
        seconds = (trial.seconds if trial.values else max(trial.seconds, each) for trial in self.trials[:number])
        return sum(seconds) >= 60 * self.budget.minutes

    def ask(self) -> Trial:
        """One more trial, written down before it begins."""
        number = len(self.trials)
        own = {name: value_of(self.base, name) for name in self.space}
        trial = self._trial(number, own if number == 0 else self._proposed(number))
        self.trials.append(trial)
        self.write()
        return trial

    def see(self, trial: Trial) -> None:
        """Take over what a trial's cells came to."""
        if trial.failed is None and any(cell.status == "failed" for cell in trial.cells):
            trial.failed = next(cell.problem for cell in trial.cells if cell.status == "failed") or "failed"
        if trial.failed is None and all(cell.status == "complete" for cell in trial.cells):
            trial.values = [_validated(cell) for cell in trial.cells]
            for cell in trial.cells:
                _forget_weights(cell.folder)

    @property
    def best(self) -> Trial:
        """The highest on validation, the earliest of equals. Raises UserError where no trial came to an end."""
        known = [trial for trial in self.counted if trial.values]
        if not known:
            reason = next((trial.failed for trial in self.counted if trial.failed), "none was trained")
            raise UserError(f"no trial of {self.recipe} came to an end: {reason}")
        return max(known, key=lambda trial: trial.value or 0.0)

    def describe(self, trials: Sequence[Trial]) -> dict[str, Any]:
        """Trials of this study, for a file."""
        return {
            "space": {name: str(search) for name, search in self.space.items()},
            "trials": [
                {"number": trial.number, "settings": trial.settings, "value": trial.value, "values": trial.values,
                 "seconds": trial.seconds, **({} if trial.failed is None else {"failed": trial.failed})}
                for trial in trials
            ],
        }  # fmt: skip

    def write(self) -> None:
        """trials.json, as far as it is."""
        self.folder.mkdir(parents=True, exist_ok=True)
        which = {} if self.images is None else {"images": self.images}
        write_json(self.folder / "trials.json", {**which, **self.describe(self.trials)})

    def _read(self, path: Path) -> list[tuple[dict[str, Any], str | None]]:
        """Settings of each trial, and why it failed if it did. Raises UserError for a file that holds no trials of this
        space."""
        content = read_json(path)
        try:
            found = [(dict(row["settings"]), row.get("failed")) for row in content["trials"]]
            numbers = [row["number"] for row in content["trials"]]
        except (TypeError, KeyError, ValueError, AttributeError):
            raise UserError(f"{path} is damaged: no trials of fsgl tune; name another folder with --runs") from None
        if numbers != list(range(len(found))) or any(type(why) not in (str, type(None)) for _, why in found):
            raise UserError(f"{path} is damaged: trials are missing; name another folder with --runs")
        if self.images is not None and content.get("images", self.images) != self.images:
            raise UserError(
                f"{path} has trials on other images: {content['images']}, and these are {self.images}; name another "
                "folder with --runs"
            )
        for number, (settings, _) in enumerate(found):
            if settings.keys() != self.space.keys() or not all(
                search.holds(settings[name]) for name, search in self.space.items()
            ):
                raise UserError(
                    f"{path}: trial {number} is of another search ({', '.join(settings)}), and {self.recipe} is now "
                    f"tuned within {', '.join(self.space)}; name another folder with --runs"
                )
        return found

    def _trial(self, number: int, settings: Mapping[str, Any]) -> Trial:
        assignments = [f"{name}={value}" for name, value in settings.items()]
        experiment = override(self.base, *assignments, f"evaluation.every={self.base.optim.epochs}")
        cells = []
        for fold in range(self.folds):
            # Another seed for each fold of a trial, the same for all trials: what differs is the settings.
            own = replace(experiment, seed=SEED + fold, data=replace(experiment.data, val_fold=fold))
            name = f"trial{number}" + (f"-fold{fold}" if self.folds > 1 else "")
            cells.append(Cell(Word(self.recipe, self.recipe, None), own.seed, own, self.folder / name))
        return Trial(number, dict(settings), cells)

    def _proposed(self, number: int) -> dict[str, Any]:
        optuna = _optuna()
        spaces = {name: _distribution(optuna, search) for name, search in self.space.items()}
        # A sampler of its own for each proposal: what is proposed follows from the trials before, also after a stop.
        seed = zlib.crc32(f"{self.recipe} {number}".encode())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=5, constant_liar=True)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        states = optuna.trial.TrialState
        for trial in self.trials:
            state = states.COMPLETE if trial.values else states.FAIL if trial.failed else states.RUNNING
            study.add_trial(optuna.trial.create_trial(
                state=state, value=trial.value, params=trial.settings, distributions=spaces
            ))  # fmt: skip
        found = study.ask(fixed_distributions=spaces).params
        return {name: _rounded(found[name], search) for name, search in self.space.items()}


def work(studies: Sequence[Study], cells: list[Cell], at_once: int) -> Callable[[], None]:
    """A function that fills ``cells`` with what is to be trained next, as far as ``at_once`` are not over yet.

    To be called before the grid begins and after each cell ends: the recipes take turns, the least tried first.
    """
    for study in studies:
        for trial in study.counted:
            cells += [cell for cell in trial.cells if not trial.over]

    def fill() -> None:
        for study in studies:
            for trial in study.trials:
                if not trial.over:
                    study.see(trial)
                    if trial.over:
                        study.write()
        while sum(cell.status in ("waiting", "running") for cell in cells) < at_once:
            wanting = [study for study in studies if study.wants_more]
            if not wanting:
                return
            cells.extend(min(wanting, key=lambda study: len(study.trials)).ask().cells)

    return fill


def _validated(cell: Cell) -> float:
    """Mean over classes of the last epoch on validation images."""
    found = _history(cell)[-1]["val"]
    if found is None or found["balanced"] is None:
        raise UserError(f"{cell.folder}: no validation images to tune on; give --val SHARE, or --folds K")
    return float(found["balanced"])


def _history(cell: Cell) -> list[dict[str, Any]]:
    return read_history(cell.folder) if (cell.folder / "metrics.jsonl").exists() else []


def _forget_weights(folder: Path) -> None:
    """What takes space and is never asked for again."""
    for name in ("model.safetensors", "best-val.safetensors", "predictions.npz"):
        with contextlib.suppress(FileNotFoundError):
            (folder / name).unlink()
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UserError("fsgl tune needs Optuna: pip install 'fsgl[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _distribution(optuna: Any, search: Search) -> Any:
    from fsgl.methods.search import Choice

    if isinstance(search, Choice):
        return optuna.distributions.CategoricalDistribution(search.values)
    return optuna.distributions.FloatDistribution(search.low, search.high, log=search.log)


def _rounded(value: Any, search: Search) -> Any:
    """To a few digits, as a person would write it, within the range."""
    from fsgl.methods.search import Range

    if not isinstance(search, Range):
        return value
    return min(max(float(f"{value:.{DIGITS}g}"), search.low), search.high)
