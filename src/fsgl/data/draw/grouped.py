"""Which images leave a training set where some belong together: whole groups, or none of a group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

import numpy as np

SINGLE = -1  # the group of an image that belongs with no other


class GroupedCarving:
    """A validation or test part from classes of which some have images in groups.

    Each class is gone through in its own random order, a group where its first image stands. A single image is taken
    as long as the class has images to give; a group where every class that it has images of has that many to give, so
    that a group larger than the part stays in training. Who would give none so, and has more than one group, gives the
    smallest that leaves every class of it at least half its images, and ``least`` of them.
    """

    def __init__(self, labels: np.ndarray, groups: np.ndarray, wanted: list[int], least: int) -> None:
        self._labels: list[int] = labels.tolist()
        self._groups: list[int] = groups.tolist()
        self._wanted, self._least = wanted, least
        self._members: dict[int, list[int]] = {}
        for place in np.flatnonzero(groups != SINGLE).tolist():
            self._members.setdefault(self._groups[place], []).append(place)
        self._sizes = Counter(self._labels)
        self._used: set[int] = set()  # first images of what earlier folds took

    def fold(self, orders: dict[int, np.ndarray]) -> set[int]:
        """The places that the next fold takes. orders: of each class, its places in random order."""
        taken: set[int] = set()
        given: Counter[int] = Counter()
        for k, order in orders.items():
            units = list(self._units(order.tolist()))
            new = [unit for unit in units if unit[0] not in self._used]
            self._fill(k, new, taken, given)
            none: Counter[int] = Counter()
            if not any(unit[0] not in taken and self._fits(unit, none) for unit in new):
                self._begin_anew(units, taken)  # all that ever can be taken has been
                self._fill(k, units, taken, given)
            if not given[k] and self._wanted[k] and len(units) > 1:
                self._take_smallest(units, taken, given)
        self._used |= taken
        return taken

    def _units(self, order: list[int]) -> Iterable[list[int]]:
        """The images and groups of a class; a group as all of its places, ascending."""
        seen = set()
        for place in order:
            group = self._groups[place]
            if group == SINGLE:
                yield [place]
            elif group not in seen:
                seen.add(group)
                yield self._members[group]

    def _begin_anew(self, units: list[list[int]], taken: set[int]) -> None:
        self._used -= {unit[0] for unit in units} - taken

    def _fill(self, k: int, units: Iterable[list[int]], taken: set[int], given: Counter[int]) -> None:
        for unit in units:
            if given[k] >= self._wanted[k]:
                return
            if unit[0] not in taken and self._fits(unit, given):
                self._take(unit, taken, given)

    def _fits(self, unit: list[int], given: Counter[int]) -> bool:
        if len(unit) == 1:  # nearly all are
            label = self._labels[unit[0]]
            return given[label] < self._wanted[label]
        return all(given[c] + n <= self._wanted[c] for c, n in self._classes(unit))

    def _take_smallest(self, units: list[list[int]], taken: set[int], given: Counter[int]) -> None:
        def spared(unit: list[int]) -> bool:
            return all(
                given[c] + n <= min(self._sizes[c] // 2, self._sizes[c] - self._least) for c, n in self._classes(unit)
            )

        # Sorting is stable: of equally small ones the first in the random order.
        possible = sorted((unit for unit in units if spared(unit)), key=lambda unit: (unit[0] in self._used, len(unit)))
        if possible:
            if possible[0][0] in self._used:
                self._begin_anew(units, taken)
            self._take(possible[0], taken, given)

    def _classes(self, unit: list[int]) -> Iterable[tuple[int, int]]:
        """Of each class in it, how many images."""
        return Counter([self._labels[place] for place in unit]).items()

    def _take(self, unit: list[int], taken: set[int], given: Counter[int]) -> None:
        taken.update(unit)
        for place in unit:
            given[self._labels[place]] += 1


def group_numbers(names: tuple[str, ...] | None, count: int) -> np.ndarray:
    """``count`` int64: equal for equal names, SINGLE for "" and for a name that one image alone has."""
    if not names:
        return np.full(count, SINGLE, dtype=np.int64)
    number = {name: i for i, (name, size) in enumerate(sorted(Counter(filter(None, names)).items())) if size > 1}
    return np.array([number.get(name, SINGLE) for name in names], dtype=np.int64)


def staying(count: int, stays: Collection[int], groups: np.ndarray | None = None) -> np.ndarray:
    """``count`` booleans: the places in ``stays``, and with each its group of ``groups``."""
    left = np.isin(np.arange(count), list(stays))
    if groups is not None:
        left |= np.isin(groups, np.setdiff1d(groups[left], [SINGLE]))
    return left
