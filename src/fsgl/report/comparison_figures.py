"""The pictures of a comparison beyond one table: accuracy against cost, and ranks over data sets."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from fsgl.report.drawing import GREY, GROUP_COLOURS, INK, LINE, Draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Label, cost, accuracy, and whether it is on the Pareto front.
Points = Sequence[tuple[str, float, float, bool]]


def cost_fronts(panels: Sequence[tuple[str, Points]], metric: str) -> Draw:
    """Accuracy against each cost, the Pareto front in colour and named, what lies behind it grey."""

    def drawing(figure: Figure) -> None:
        for axes, (name, points) in zip(
            figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True
        ):
            front = sorted(((cost, value, label) for label, cost, value, on in points if on))
            behind = [(cost, value) for _, cost, value, on in points if not on]
            if behind:
                axes.plot(*zip(*behind, strict=True), "o", color=GREY, markersize=4)
            axes.step(*zip(*((c, v) for c, v, _ in front), strict=True), where="post", color=GROUP_COLOURS["many"])
            axes.plot(*zip(*((c, v) for c, v, _ in front), strict=True), "o", color=GROUP_COLOURS["many"], markersize=5)
            # Methods that are the same at these settings lie on one point, and their names would on each other.
            named = [(*at, ", ".join(label for *_, label in some)) for at, some in groupby(front, itemgetter(0, 1))]
            for number, (cost, value, label) in enumerate(named):
                right = cost > 0.7 * max(point[1] for point in points) and number > 0
                axes.annotate(label, (cost, value), xytext=(-4 if right else 4, 4), textcoords="offset points",
                              fontsize=7, color=INK, ha="right" if right else "left")  # fmt: skip
            axes.set_xscale("log")
            axes.set_xlabel(name)
            axes.margins(y=0.12)  # for the names above the points
            axes.grid(alpha=0.4)
            if axes.get_subplotspec().is_first_col():
                axes.set_ylabel(f"{metric}, %")

    return drawing


def critical_difference(
    labels: Sequence[str], mean_ranks: Sequence[float], alike: Sequence[Sequence[int]], critical: float
) -> Draw:
    """Methods at their mean ranks, the best on the left; a bar joins those that are not told apart (Demsar 2006).

    alike: sets of places in ``labels``.
    """
    order = sorted(range(len(labels)), key=lambda method: mean_ranks[method])
    half = (len(order) + 1) // 2

    def drawing(figure: Figure) -> None:
        axes = figure.subplots()
        first, last = 1, max(len(labels), 2)
        for number, group in enumerate(alike):
            ends = [mean_ranks[method] for method in group]
            height = 0.35 + 0.22 * number
            axes.plot([min(ends) - 0.04, max(ends) + 0.04], [-height] * 2, color=INK, linewidth=3.5,
                      solid_capstyle="butt")  # fmt: skip
        below = 0.7 + 0.22 * len(alike)
        for place, method in enumerate(order):
            left = place < half
            row = place if left else len(order) - 1 - place
            height, edge = below + 0.5 * row, (first - 0.3 if left else last + 0.3)
            axes.plot([mean_ranks[method]] * 2 + [edge], [0, -height, -height], color=LINE, linewidth=1)
            axes.plot(mean_ranks[method], 0, "o", color=GROUP_COLOURS["many"], clip_on=False)
            axes.text(edge, -height, f" {labels[method]} {mean_ranks[method]:.1f} ", fontsize=8, va="center",
                      ha="right" if left else "left", color=INK)  # fmt: skip
        axes.plot([first, min(first + critical, last + 1)], [0.55, 0.55], color=GROUP_COLOURS["few"], linewidth=2)
        axes.text(first, 0.75, f"critical difference {critical:.2f}", fontsize=8, color=INK)
        axes.set_xlim(first - 0.4 - 0.28 * last, last + 0.4 + 0.28 * last)
        axes.set_ylim(-below - 0.5 * half, 1.2)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.set_yticks([])
        axes.plot([first, last], [0, 0], color=INK, linewidth=1)
        axes.set_xticks(range(first, last + 1))
        axes.tick_params(axis="x", top=True, labeltop=True, bottom=False, labelbottom=False)
        axes.set_title("mean rank, 1 is the best", fontsize=9)

    return drawing
