"""Before a grid is trained: how large a difference its seeds can find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fsgl.evaluation.power import POWER, detectable_difference
from fsgl.evaluation.statistics import ALPHA, PAIRS_OF_AN_EFFECT


def outlook(
    rows: Sequence[Mapping[int, float]], reference: Mapping[int, float], seeds: int, deviation: float | None,
    of_look: float = ALPHA,
) -> str | None:  # fmt: skip
    """In words; None for fewer than two seeds or no row.

    rows, reference: accuracy by seed, as far as there is any.  seeds: that there will be.  deviation: of the
    differences from the reference between seeds, in points; None is the median of what these say.  of_look: the level
    that this look at them will have.
    """
    if seeds < 2 or not rows:
        return None
    level = of_look / len(rows)  # the first of as many rows that Holm's correction asks about
    others = len(rows) - 1
    of_rows = f" beside {others} other{'s' * (others != 1)}" if others else ""
    at = "" if of_look == ALPHA else f"; this look is tested at {100 * of_look:.2g} %"
    whence = "as given"
    if deviation is None:
        seen = deviation_seen(rows, reference)
        if seen is None:
            times = detectable_difference(1.0, seeds, level)
            return (
                f"{seeds} seeds find, in {POWER:.0%} of cases, a difference{of_rows} of {times:.1f} times its "
                f"deviation between seeds, which nothing here tells yet (--deviation POINTS){at}"
            )
        deviation, whence = seen[0], f"as seen so far in {seen[1]} row{'s' * (seen[1] != 1)}"
    found = detectable_difference(deviation, seeds, level)
    return (
        f"{seeds} seeds find, in {POWER:.0%} of cases, a difference{of_rows} of {found:.1f} points, were its deviation "
        f"between seeds {deviation:.2g}, {whence}{at}"
    )


def deviation_seen(rows: Sequence[Mapping[int, float]], reference: Mapping[int, float]) -> tuple[float, int] | None:
    """Median over the rows of the deviation of their differences between seeds, and of how many rows that is.

    None where no row has three seeds with the reference, or none of them deviates.
    """
    found = []
    for row in rows:
        differences = [row[seed] - reference[seed] for seed in row.keys() & reference.keys()]
        if len(differences) >= PAIRS_OF_AN_EFFECT and (deviation := float(np.std(differences, ddof=1))) > 0:
            found.append(deviation)
    return (float(np.median(found)), len(found)) if found else None
