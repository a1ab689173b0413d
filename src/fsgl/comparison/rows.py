"""The rows of a comparison, when they are tuned or trained at equal cost, too, and the experiment of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fsgl.comparison.grid import Word
from fsgl.comparison.settings_file import read_settings, tuned
from fsgl.errors import UserError
from fsgl.recipes.experiment import Experiment, override


class Rows:
    """Words, and the experiments of what they train.

    words: as asked for.  make: the experiment of a recipe, as it comes.  against: the word that the others are held
    against.  settings: a file of ``fsgl tune``, whose settings all rows are then trained with.  untuned_too: as they
    come as well.  equal_cost: rows whose step takes another number of passes than the reference's are trained once
    more, for as many epochs as take its passes. Raises UserError.
    """

    def __init__(
        self, words: Sequence[Word], make: Callable[[str], Experiment], against: str, settings: Path | None = None,
        untuned_too: bool = False, equal_cost: bool = False,
    ) -> None:  # fmt: skip
        if settings is None and (untuned_too or any(word.tuned for word in words)):
            raise UserError("tuned rows need the settings that fsgl tune writes (tuned.json)")
        if any(word.equal_cost for word in words) and not equal_cost:
            raise UserError("rows at equal cost are trained where that is asked for (--equal-cost)")
        self._make, self._path = make, settings
        self._content: Mapping[str, Any] | None = None if settings is None else read_settings(settings)
        self._made: dict[str, Experiment] = {}
        if settings is not None:
            words = [*(words if untuned_too else []), *(word.with_tuning() for word in words)]
        self.words = list(dict.fromkeys(words))
        reference = Word.read(against)
        if settings is not None and not untuned_too:
            reference = reference.with_tuning()
        self._passes = self._total_passes(reference)
        if equal_cost:
            self.words += [word.at_equal_cost() for word in self.words if self._costs_otherwise(word)]

    def experiment(self, trained: str, seed: int) -> Experiment:
        """Of a word's ``trained`` and a seed."""
        if trained not in self._made:
            word = Word.read(trained)
            made = self._make(word.recipe)
            if word.tuned and self._content is not None and self._path is not None:
                made = tuned(made, self._content, self._path)
            if word.equal_cost:
                made = override(made, f"optim.epochs={self._epochs(made)}")
            self._made[trained] = made
        return override(self._made[trained], f"seed={seed}")

    def _total_passes(self, word: Word) -> int:
        found = self.experiment(word.trained, 0)
        return found.optim.epochs * found.passes_per_step

    def _costs_otherwise(self, word: Word) -> bool:
        found = self.experiment(word.trained, 0)
        return found.passes_per_step > 0 and self._passes > 0 and self._epochs(found) != found.optim.epochs

    def _epochs(self, experiment: Experiment) -> int:
        """As many as take the reference's passes, to the nearest epoch."""
        return max(1, round(self._passes / experiment.passes_per_step))
