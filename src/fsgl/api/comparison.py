"""``fsgl.compare``: recipes by seeds on the same images, and what can be said of their differences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fsgl.api.given import is_path, split_settings
from fsgl.api.run import Run
from fsgl.api.training import keep_arrays, read_given, share_settings
from fsgl.comparison.all_cells import local_devices, report_on_cells, threads_each, train_all
from fsgl.comparison.grid import Cell, Word, describe, last_line, make_cells
from fsgl.comparison.looks import Looks
from fsgl.comparison.page import ComparisonReport
from fsgl.comparison.rows import Rows
from fsgl.comparison.settings_file import images_of
from fsgl.comparison.warm_start import local_launcher
from fsgl.data.readers.arrays import KEPT
from fsgl.errors import UserError, unknown
from fsgl.recipes.experiment import Experiment
from fsgl.recipes.on_data import experiment_on
from fsgl.report import web
from fsgl.report.render import Table

_PASSED = {"workers": "--workers", "precision": "--precision", "feature_cache": "--feature-cache"}


@dataclass(frozen=True)
class Comparison:
    """What ``fsgl.compare`` found. folder: of the run folders, comparison.html, figures and tables.

    failed: runs that came to no end, with the last line that each said.
    """

    folder: Path
    failed: dict[str, str] = field(default_factory=dict)
    _report: ComparisonReport = field(default_factory=lambda: ComparisonReport(""), repr=False)
    _cells: tuple[Cell, ...] = field(default=(), repr=False)

    def table(self, name: str = "accuracy") -> Table:
        """A table by its name: accuracy, differences, reliability or priors; ``print`` shows it, a notebook draws it.

        Raises UserError for one that there is not, such as the differences of a single recipe.
        """
        if name not in self._report.tables:
            raise unknown("table", name, self._report.tables)
        return self._report.tables[name]

    @property
    def differences(self) -> list[dict[str, Any]]:
        """Each method against the reference: seeds, difference in points, its interval, p-values, and in words."""
        found: list[dict[str, Any]] = self._report.content["comparisons"]
        return found

    @property
    def runs(self) -> dict[tuple[str, int], Run]:
        """The complete runs, by recipe and seed."""
        complete = [cell for cell in self._cells if cell.status == "complete"]
        return {(cell.word.text, cell.seed): Run(cell.folder) for cell in complete}

    def __str__(self) -> str:
        return "\n".join(table.text() for table in self._report.tables.values())

    def _repr_html_(self) -> str:
        below = web.section("", [str(self.folder / "comparison.html")])
        return web.fragment([*map(web.table, self._report.tables.values()), below])


def compare(
    recipes: Sequence[str],
    data: Any,
    test: Any = None,
    val: Any = None,
    *,
    seeds: int = 3,
    epochs: int | None = None,
    runs: Path | str | None = None,
    against: str | None = None,
    tuned: Path | str | None = None,
    untuned_too: bool = False,
    equal_cost: bool = False,
    planned_seeds: int | None = None,
    class_names: Sequence[str] | None = None,
    device: str = "auto",
    jobs: int | None = None,
    threads: int | None = None,
    show: bool = True,
    **settings: Any,
) -> Comparison:
    """Train recipes by seeds on the same images, as ``fsgl compare``, and return what can be said of them.

    recipes: such as "cross-entropy", "fsgl", "cross-entropy+tau-norm" (its run, adjusted) or "cutmix+sam".
    data, test, val, epochs, class_names, settings: as of ``fsgl.train``; they hold for all recipes alike.
    seeds: so many, 0 and on.  runs: the folder of the run folders, by default runs/compare-DATA; the same call with it
    goes on where it was stopped.  against: what the others are held against, by default the first.
    tuned: the file that ``fsgl tune`` writes; all are trained with its settings and, with untuned_too, as they come, in
    a table apart.  equal_cost: also for as many epochs as cost what ``against`` does, in a table apart.
    planned_seeds: that there will be in all; looks at fewer of them then share the 5 % of error, where otherwise each
    look with more seeds than the one before is tested at half its level.
    device: "auto" is all GPUs, or the CPU.  jobs: runs at a time, by default one a GPU, or a core.  threads: of the
    CPU, for each run.

    Each run is a process of its own. A run that fails is in ``failed``; the others go on. Raises UserError, also where
    no run came to its end.

    >>> import fsgl, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = fsgl.compare(["cross-entropy"], "digits", seeds=1, epochs=1, runs=folder, device="cpu",
    ...                          imbalance_factor=50, batch_size=64, show=False)
    ...     found.table().headings[:3]
    ('method', 'mean over classes', 'settings')
    """
    given = [recipes] if isinstance(recipes, str) else recipes
    named: list[Any] = [*given] if isinstance(given, Iterable) else [given]
    if not all(isinstance(text, str) for text in named):
        raise UserError(f"recipes must be names, such as ['cross-entropy', 'fsgl'], not {recipes!r}")
    words = [Word.read(text) for text in dict.fromkeys(named)]
    if not words:
        raise UserError("name the recipes to compare")
    held = against or words[0].text
    if held not in {word.text for word in words}:
        raise UserError(f"against={held!r}: it is none of {', '.join(word.text for word in words)}")
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise UserError(f"seeds is how many there are, 1 or more, not {seeds!r}")
    assignments, runtime = split_settings({**settings, **({} if epochs is None else {"epochs": epochs})})
    if strange := runtime.keys() - _PASSED.keys():
        raise UserError(f"'{min(strange)}' is for fsgl.train; compare takes {', '.join(_PASSED)}")
    assignments += share_settings(test, val)
    source = read_given(data, test, val, class_names)
    name = str(data) if is_path(data) else KEPT
    folder = Path(runs) if runs is not None else Path("runs") / f"compare-{Path(name).stem or 'data'}"
    if planned_seeds is not None and planned_seeds < seeds:
        raise UserError(f"planned_seeds must be {seeds} or more, as many as there are, not {planned_seeds}")

    read = source

    def make(recipe: str) -> Experiment:
        nonlocal read
        made, read = experiment_on(recipe, name, {}, assignments, read)
        if source is not None:
            made = replace(made, data=replace(made.data, root=str((folder / KEPT).absolute())))
        return made

    path = None if tuned is None else Path(tuned)
    rows = Rows(words, make, held, path, untuned_too, equal_cost, lambda: images_of(read))
    words = rows.words
    for note in rows.notes if show else ():
        print(note, flush=True)
    Looks.read(folder, planned_seeds).require(seeds)  # what goes against the plan is refused before anything is trained
    cells = make_cells(words, range(seeds), folder, rows.experiment)
    devices = local_devices(device, jobs)
    if source is not None:
        keep_arrays(source, folder)
    passed = ["--workers", "0"]
    for option, value in runtime.items():
        passed += [_PASSED[option], str(value)]
    with local_launcher(devices) as launch:
        train_all(cells, devices, passed, threads or threads_each(devices), launch, show)
    failed = {cell.folder.name: cell.problem or last_line(cell.log) for cell in cells if cell.status == "failed"}
    asked = {word.text for word in words}
    if not any(cell.status == "complete" and cell.word.text in asked for cell in cells):
        raise UserError(f"no run came to its end; {cells[0].folder.name}: {next(iter(failed.values()), '')}")
    report = report_on_cells(cells, words, held, folder, planned_seeds)
    report.write(folder, {"cells": describe(cells)})
    return Comparison(folder, failed, report, tuple(cell for cell in cells if cell.word.text in asked))
