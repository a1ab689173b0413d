"""How often a comparison has been looked at: who adds seeds until something is found finds too much.

Each time a comparison is told with more seeds of a row than at the last telling, that is a look. ``looks.json`` in its
folder keeps them: the seeds of each row at each look, and how many were planned, if that was said before the first. A
row's difference is tested at the level of its look (evaluation/power.py): the second of unplanned looks at 2.5 %
instead of 5 %, so that all together err in less than 10 %; planned looks share the 5 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fsgl.errors import UserError
from fsgl.evaluation.power import level_of_look
from fsgl.evaluation.statistics import ALPHA
from fsgl.files import read_json, write_json

FILE = "looks.json"


@dataclass
class Looks:
    """planned: the most seeds there will be, where it was said before the first look.  seeds: of each look, by row."""

    planned: int | None = None
    seeds: dict[str, list[int]] = field(default_factory=dict)

    @staticmethod
    def read(folder: Path, planned: int | None = None) -> Looks:
        """Those of a comparison's folder. planned: as it is given now; None is as it was.

        Raises UserError where there has been a look and another plan is given, and for a damaged file.
        """
        path = folder / FILE
        if not path.exists():
            return Looks(planned)
        content = read_json(path)
        try:
            was = content["planned"]
            seeds = {str(label): [int(n) for n in each] for label, each in content["seeds"].items()}
        except (TypeError, KeyError, ValueError, AttributeError):
            raise UserError(f"{path} is damaged; without it nobody knows how often was looked: repair it") from None
        if planned is not None and planned != was:
            said = "none was planned" if was is None else f"{was} seeds were planned"
            raise UserError(f"--planned-seeds {planned}: {said} at the first look; a plan holds from then on")
        return Looks(was, seeds)

    def look(self, seeds: Mapping[str, int]) -> None:
        """Take note of a telling. seeds: of each row that has two or more. Raises UserError beyond the plan."""
        for label, n in seeds.items():
            if self.planned is not None and n > self.planned:
                raise UserError(f"{self.planned} seeds were planned, and {label} has {n}: look at no more than that")
            before = self.seeds.setdefault(label, [])
            if n > max(before, default=1):
                before.append(n)

    def require(self, seeds: int) -> None:
        """Raises UserError where so many seeds are more than were planned: before they are trained."""
        if self.planned is not None and seeds > self.planned:
            raise UserError(f"{self.planned} seeds were planned, and these are {seeds}: train no more than that")

    @property
    def levels(self) -> dict[str, float]:
        """At which each row is to be tested."""
        return {label: level_of_look(looks, self.planned) for label, looks in self.seeds.items() if looks}

    def level_at(self, label: str, seeds: int) -> float:
        """At which a row will be tested when it is told with so many seeds, which are no more than are planned."""
        before = self.seeds.get(label, [])
        return level_of_look(before if seeds <= max(before, default=1) else [*before, seeds], self.planned)

    def note(self, labels: Sequence[str]) -> str:
        """What a table says of these rows' looks; "" where nothing is to be said."""
        of = {label: self.seeds[label] for label in labels if self.seeds.get(label)}
        if self.planned is not None:
            shown = sorted({level for label, level in self.levels.items() if label in of})
            return (
                f"{self.planned} seeds were planned before the first look, and looks before the end share the 5 % "
                f"(Lan and DeMets 1983, Pocock's function): these are tested at {_percent(shown)}."
            ) if shown else ""  # fmt: skip
        again: dict[tuple[int, ...], list[str]] = {}
        for label, looks in of.items():
            if len(looks) > 1:
                again.setdefault(tuple(looks), []).append(label)
        if not again:
            return ""
        which = "; ".join(
            f"{', '.join(rows)} at {', '.join(map(str, looks))} seeds, now tested at "
            f"{_percent([level_of_look(looks)])}"
            for looks, rows in again.items()
        )  # fmt: skip
        return (
            f"Seeds were added after looking: {which}. Each further look has half the level of the one before, so that "
            f"all of them together find a difference that is none in less than {200 * ALPHA:.0f} %; p is multiplied "
            "accordingly before Holm's correction. Who plans the looks keeps 5 % (--planned-seeds)."
        )

    def write(self, folder: Path) -> None:
        content: dict[str, Any] = {"planned": self.planned, "seeds": self.seeds}
        write_json(folder / FILE, content)


def _percent(levels: Sequence[float]) -> str:
    return " and ".join(f"{100 * level:.2g} %" for level in levels)
