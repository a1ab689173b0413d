"""The rows of a comparison, when they are tuned or trained at equal cost, too, and the experiment of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fsgl.comparison.cost import pass_cost
from fsgl.comparison.grid import Word
from fsgl.comparison.settings_file import read_settings, tuned
from fsgl.errors import UserError
from fsgl.recipes.experiment import Experiment, override


class Rows:
    """Words, and the experiments of what they train.

    words: as asked for.  make: the experiment of a recipe, as it comes.  against: the word that the others are held
    against.  settings: a file of ``fsgl tune``, whose settings all rows are then trained with.  untuned_too: as they
    come as well.  equal_cost: rows whose step costs something else than the reference's are trained once more, for as
    many epochs as take its multiply-adds of the backbone.  images: which they are (settings_file.py), once an
    experiment was made.  notes: which could not be, and why. Raises UserError.
    """

    def __init__(
        self, words: Sequence[Word], make: Callable[[str], Experiment], against: str, settings: Path | None = None,
        untuned_too: bool = False, equal_cost: bool = False, images: Callable[[], str | None] = lambda: None,
    ) -> None:  # fmt: skip
        if settings is None and (untuned_too or any(word.tuned for word in words)):
            raise UserError("tuned rows need the settings that fsgl tune writes (tuned.json)")
        if any(word.equal_cost for word in words) and not equal_cost:
            raise UserError("rows at equal cost are trained where that is asked for (--equal-cost)")
        self._make, self._path, self._images = make, settings, images
        self._content: Mapping[str, Any] | None = None if settings is None else read_settings(settings)
        self._made: dict[str, Experiment] = {}
        if settings is not None:
            words = [*(words if untuned_too else []), *(word.with_tuning() for word in words)]
        self.words = list(dict.fromkeys(words))
        reference = Word.read(against)
        if settings is not None and not untuned_too:
            reference = reference.with_tuning()
        self.notes: list[str] = []
        if not equal_cost:
            return
        without = [word.text for word in self.words if self.experiment(word.trained, 0).passes_per_step == 0]
        if without:
            raise UserError(
                "rows at equal cost take as many passes of the backbone, and on kept features (transfer.cached_views) "
                f"there are none; leave equal cost off, or train without: {', '.join(without)}"
            )
        found = self.experiment(reference.trained, 0)
        self._work = found.optim.epochs * _epoch_cost(found)
        self.words += [word.at_equal_cost() for word in self.words if self._costs_otherwise(word)]

    def experiment(self, trained: str, seed: int) -> Experiment:
        """Of a word's ``trained`` and a seed."""
        if trained not in self._made:
            word = Word.read(trained)
            made = self._make(word.recipe)
            if word.tuned and self._content is not None and self._path is not None:
                made = tuned(made, self._content, self._path, self._images())
            if word.equal_cost:
                made = override(made, f"optim.epochs={self._epochs(made)}")
            self._made[trained] = made
        return override(self._made[trained], f"seed={seed}")

    def _costs_otherwise(self, word: Word) -> bool:
        """Whether there is to be another row of it; where there should and cannot be, that is noted."""
        found = self.experiment(word.trained, 0)
        try:
            if 2 * self._work < _epoch_cost(found):
                raise UserError("one epoch of it costs more than twice as much")
            if self._epochs(found) == found.optim.epochs:
                return False
            self.experiment(word.at_equal_cost().trained, 0)
        except UserError as error:
            self.notes.append(f"{word.text} has no row at equal cost: {error}")
            return False
        return True

    def _epochs(self, experiment: Experiment) -> int:
        """As many as cost what the reference does, to the nearest epoch."""
        return max(1, round(self._work / _epoch_cost(experiment)))


def _epoch_cost(experiment: Experiment) -> float:
    """Of the plain backbone's passes over the images."""
    return experiment.passes_per_step * pass_cost(experiment)
