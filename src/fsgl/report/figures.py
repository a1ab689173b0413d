"""The pictures of a report, from arrays alone; each function returns what draws it (drawing.py).

Colours are Okabe and Ito's, in tones that hold on white and on black; what is in the ink of the page follows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fsgl.evaluation.classes import class_order
from fsgl.evaluation.statistics import mean_interval
from fsgl.report.drawing import GREY, GROUP_COLOURS, GROUP_MARKERS, INK, LINE, OTHER, RUN_COLOURS, RUN_MARKERS, Draw
from fsgl.report.render import clean_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_CLASSES = 60  # more cannot be told apart on a page 50 rem wide: they are drawn in bands of frequency


def class_accuracy(
    accuracy_K: NDArray[np.float64], bounds_K2: NDArray[np.float64], counts_K: NDArray[np.integer],
    groups: Mapping[str, NDArray[np.bool_]], names: Sequence[str],
) -> Draw:  # fmt: skip
    """Accuracy of each class with its interval, most frequent first; above MOST_CLASSES dots, and means of bands with
    t intervals over their classes."""
    order = np.array(class_order(counts_K))

    def drawing(figure: Figure) -> None:
        axes = figure.subplots()
        of = {int(k): group for group, members in groups.items() for k in np.flatnonzero(members)}
        if len(order) <= MOST_CLASSES:
            for group, colour in GROUP_COLOURS.items():
                places = [i for i, k in enumerate(order) if of[int(k)] == group and accuracy_K[k] == accuracy_K[k]]
                values = accuracy_K[order[places]]
                reach = np.abs(bounds_K2[order[places]].T - values)
                label = f"{group} ({int(groups[group].sum())})"
                if places:
                    axes.errorbar(places, values, reach, fmt=GROUP_MARKERS[group], color=colour, label=label, capsize=2)
            untested = np.isnan(accuracy_K)
            shown = [f"{clean_name(names[k])} ({counts_K[k]}{', untested' if untested[k] else ''})" for k in order]
            _name_classes(axes, shown)
        else:
            for group, colour in GROUP_COLOURS.items():
                places = [i for i, k in enumerate(order) if of[int(k)] == group]
                axes.plot(places, accuracy_K[order[places]], ".", color=colour, alpha=0.35, markersize=3, label=group)
            for low, high in _bands(len(order), 20):
                values = accuracy_K[order[low:high]]
                if len(values := values[~np.isnan(values)]) > 0:
                    mean, middle = mean_interval(values.tolist()), (low + high - 1) / 2
                    axes.plot([low, high - 1], [mean.mean] * 2, color=INK, linewidth=2)
                    if mean.half_width is not None:
                        axes.errorbar(middle, mean.mean, mean.half_width, color=INK, capsize=2)
            axes.set_xlabel("rank of the class, the most frequent first")
        axes.set_ylim(-3, 103)
        axes.set_ylabel("accuracy, %")
        axes.grid(axis="y", alpha=0.4)
        figure.legend(loc="outside upper right", ncols=3, fontsize=8)  # above: a class may be anywhere from 0 to 100

    return drawing


def classes_compared(accuracy: Mapping[str, NDArray[np.float64]], counts_K: NDArray[np.integer]) -> Draw:
    """Accuracy by class of several methods. accuracy: ``S x K`` of S seeds, NaN for a class without test images."""
    order = np.array(class_order(counts_K))
    colours = [INK, GROUP_COLOURS["many"], GROUP_COLOURS["few"], OTHER]

    def drawing(figure: Figure) -> None:
        axes = figure.subplots()
        bands = _bands(len(order), min(len(order), MOST_CLASSES))
        places = [(low + high - 1) / 2 for low, high in bands]
        for number, (label, values_SK) in enumerate(accuracy.items()):
            colour = colours[number % len(colours)]
            means = np.array([_means(values_SK[:, order[low:high]]) for low, high in bands])
            axes.plot(
                places,
                means.mean(axis=1),
                color=colour,
                marker=RUN_MARKERS[number % len(RUN_MARKERS)],
                label=label,
                markersize=4,
            )
            axes.fill_between(places, means.min(axis=1), means.max(axis=1), color=colour, alpha=0.15, linewidth=0)
        axes.set_ylim(-3, 103)
        axes.set_ylabel("accuracy, %")
        axes.set_xlabel("class, most frequent first" + (", in bands" if len(bands) < len(order) else ""))
        axes.grid(axis="y", alpha=0.4)
        figure.legend(loc="outside upper right", ncols=3, fontsize=8)

    return drawing


def training_curves(history: Sequence[Mapping[str, Any]]) -> Draw:
    """Loss by epoch, and accuracy on test and validation images."""

    def drawing(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        epochs = [row["epoch"] + 1 for row in history]
        terms = list(dict.fromkeys(name for row in history for name in row["loss"]))
        for term in terms if len(terms) > 2 else ["total"]:  # a single term is the total
            values = [row["loss"].get(term, np.nan) for row in history]
            strong = term == "total"
            left.plot(epochs, values, color=INK if strong else None, linewidth=2 if strong else 1, label=term,
                      marker="." if len(epochs) < 30 else None)  # fmt: skip
        left.set_ylabel("training loss")
        left.legend(fontsize=8)
        for part, colour, style in (("test", GROUP_COLOURS["many"], "-"), ("val", GROUP_COLOURS["few"], "--")):
            points = [(row["epoch"] + 1, row[part]["balanced"]) for row in history if row.get(part)]
            points = [(epoch, value) for epoch, value in points if value is not None]
            if points:
                right.plot(*zip(*points, strict=True), style, color=colour, label={"val": "validation"}.get(part, part),
                           marker="." if len(points) < 30 else None)  # fmt: skip
        right.set_ylabel("accuracy (mean over classes), %")
        right.legend(fontsize=8)
        for axes in (left, right):
            axes.set_xlabel("epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.grid(alpha=0.4)

    return drawing


def confusion(
    predicted_N: NDArray[np.integer],
    labels_N: NDArray[np.integer],
    counts_K: NDArray[np.integer],
    names: Sequence[str],
) -> Draw:
    """Rows: true classes, columns: predicted, most frequent first, in percent of the row; thousands in bands."""
    order = np.array(class_order(counts_K))
    bands = _bands(len(order), len(order) if len(order) <= MOST_CLASSES else 20)
    band_of = np.empty(len(order), dtype=np.int64)
    for number, (low, high) in enumerate(bands):
        band_of[order[low:high]] = number
    # By band from the start: a matrix of thousands of classes is half a gigabyte.
    places = band_of[labels_N] * len(bands) + band_of[predicted_N]
    summed = np.bincount(places, minlength=len(bands) ** 2).reshape(len(bands), len(bands))
    of_row = summed.sum(axis=1, keepdims=True)
    shares = np.where(of_row > 0, 100 * summed / np.maximum(of_row, 1), np.nan)  # untested classes stay blank

    def drawing(figure: Figure) -> None:
        axes = figure.subplots()
        image = axes.imshow(shares, vmin=0, vmax=100, cmap="cividis", aspect="equal", interpolation="nearest")
        banded = len(bands) < len(order)
        labels = [f"ranks {low + 1}-{high}" if banded else clean_name(names[order[low]]) for low, high in bands]
        axes.set_xticks(range(len(bands)), labels, rotation=90, fontsize=7)
        axes.set_yticks(range(len(bands)), labels, fontsize=7)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        if len(bands) <= 20:
            for i, j in np.argwhere(shares >= 0.5):
                axes.text(j, i, f"{shares[i, j]:.0f}", ha="center", va="center", fontsize=6,
                          color="white" if shares[i, j] < 55 else "black")  # fmt: skip
        figure.colorbar(image, ax=axes, label="% of the true class", shrink=0.8)

    return drawing


def reliability(curves: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]]) -> Draw:
    """Confidence against accuracy, overall and for each group. curves: of ``reliability.reliability_curve``."""

    def drawing(figure: Figure) -> None:
        axes_of: Sequence[Axes] = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
        for axes, (name, (confidence, accuracy, count)) in zip(axes_of, curves.items(), strict=True):
            seen = count > 0
            axes.plot([0, 100], [0, 100], color=LINE, linewidth=1)
            sizes = 8 + 90 * count[seen] / max(count.max(), 1)
            axes.plot(confidence[seen], accuracy[seen], color=GROUP_COLOURS.get(name, OTHER), linewidth=1)
            axes.scatter(confidence[seen], accuracy[seen], s=sizes, color=GROUP_COLOURS.get(name, OTHER), clip_on=False)
            axes.set_title(f"{name}, {count.sum():,} images", fontsize=9)
            axes.set_xlabel("confidence, %")
            axes.set_xlim(0, 102)
            axes.set_ylim(-2, 104)
        axes_of[0].set_ylabel("accuracy, %")

    return drawing


def risk_coverage(risk_N: NDArray[np.float64]) -> Draw:
    """Share of mistakes among the images that the network is surest of. risk: of ``reliability.risk_coverage``."""

    def drawing(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot(100 * np.arange(1, len(risk_N) + 1) / len(risk_N), risk_N, color=OTHER)
        axes.set_xlabel("coverage: share of the test images answered, the surest first, %")
        axes.set_ylabel("risk: wrong among them, %")
        axes.set_xlim(0, 101)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.4)

    return drawing


def feature_map(
    features_ND: NDArray[np.floating],
    labels_N: NDArray[np.integer],
    counts_K: NDArray[np.integer],
    names: Sequence[str],
) -> Draw:
    """Two principal components of test features; the three most and the three least frequent classes in colour."""
    centred = features_ND - features_ND.mean(axis=0)
    _, spread, axes_DD = np.linalg.svd(centred, full_matrices=False)
    points = centred @ axes_DD[:2].T
    share = 100 * spread[:2] ** 2 / max(float((spread**2).sum()), 1e-12)
    order = np.array(class_order(counts_K))
    head = order[: min(3, len(order) // 2)]
    tail = order[max(len(order) - 3, len(head)) :]
    blue, vermilion, green, purple, orange, sky, _ = RUN_COLOURS

    def drawing(figure: Figure) -> None:
        axes = figure.subplots()
        others = ~np.isin(labels_N, [*head, *tail])
        rest = points[others]
        axes.scatter(rest[:, 0], rest[:, 1], 6, GREY, alpha=0.5, linewidths=0, label="other classes", rasterized=True)
        for group, classes, colours in (
            ("many", head, (blue, sky, green)), ("few", tail, (vermilion, orange, purple)),
        ):  # fmt: skip
            for k, colour in zip(classes, colours, strict=False):
                of_class, label = points[labels_N == k], f"{clean_name(names[k])} ({counts_K[k]})"
                label = f" {label}" if label.startswith("_") else label  # such labels are left out of legends
                axes.scatter(of_class[:, 0], of_class[:, 1], 14, colour, marker=GROUP_MARKERS[group], alpha=0.8,
                             linewidths=0, label=label, rasterized=True)  # fmt: skip
        axes.set_xlabel(f"first component, {share[0]:.0f} % of the variance")
        axes.set_ylabel(f"second, {share[1]:.0f} %" if len(share) > 1 else "")
        axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))

    return drawing


def feature_norms(
    norms_K: NDArray[np.float64], scales_K: NDArray[np.float64] | None, counts_K: NDArray[np.integer],
    names: Sequence[str],
) -> Draw:  # fmt: skip
    """Mean length of each class's features, most frequent first; and times the FSM's factor, where there is one.

    Above MOST_CLASSES dots for classes, and a line through the means of bands of them.
    """
    order = np.array(class_order(counts_K))
    few = len(order) <= MOST_CLASSES

    def drawing(figure: Figure) -> None:
        axes = figure.subplots()
        series = [("as the backbone gives them", norms_K, GROUP_COLOURS["many"], "o")]
        if scales_K is not None:
            series.append(("scaled by the FSM, as in training", norms_K * scales_K, GROUP_COLOURS["few"], "^"))
        for label, values_K, colour, marker in series:
            values = values_K[order]
            if few:
                axes.plot(np.arange(len(order)), values, color=colour, marker=marker, label=label)
                continue
            axes.plot(np.arange(len(order)), values, ".", color=colour, alpha=0.25, markersize=2, rasterized=True)
            ranges = [(low, high) for low, high in _bands(len(order), 20) if not np.isnan(values[low:high]).all()]
            means = [np.nanmean(values[low:high]) for low, high in ranges]
            axes.plot([(low + high - 1) / 2 for low, high in ranges], means, color=colour, marker=marker, label=label)
        if few:
            _name_classes(axes, [f"{clean_name(names[k])} ({counts_K[k]})" for k in order])
        else:
            axes.set_xlabel("rank of the class, the most frequent first; lines: means of bands")
        axes.set_ylabel("mean length of its test features")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.4)
        axes.legend(fontsize=8)

    return drawing


def _name_classes(axes: Axes, shown: Sequence[str]) -> None:
    slanted = len(shown) > 6
    axes.set_xticks(range(len(shown)), shown, rotation=60 if slanted else 0, ha="right" if slanted else "center",
                    fontsize=8)  # fmt: skip


def forest(rows: Sequence[tuple[str, float, float | None, float | None, int]], zero: str, metric: str) -> Draw:
    """Differences with their intervals, the largest on top.

    rows: label, mean, low, high, and what is held of it: 1 for a gain, -1 for a loss, 0 for neither.  zero: what they
    are from.  metric: of which they are.
    """
    ordered = sorted(rows, key=lambda row: row[1])
    colours = {1: GROUP_COLOURS["many"], -1: GROUP_COLOURS["few"], 0: GREY}

    def drawing(figure: Figure) -> None:
        axes = figure.subplots()
        axes.axvline(0, color=INK, linewidth=1)
        for place, (_, mean, low, high, sign) in enumerate(ordered):
            if low is not None and high is not None:
                axes.plot([low, high], [place, place], color=colours[sign], linewidth=2)
            axes.plot([mean], [place], "o", color=colours[sign])
        axes.set_yticks(range(len(ordered)), [row[0] for row in ordered], fontsize=8)
        axes.set_xlabel(f"{metric}: points from {zero}, 95 % interval over seeds")
        axes.grid(axis="x", alpha=0.4)
        axes.set_ylim(-0.7, len(ordered) - 0.3)

    return drawing


def _bands(length: int, count: int) -> list[tuple[int, int]]:
    edges = [round(band * length / count) for band in range(count + 1)]
    return [(low, high) for low, high in pairwise(edges) if high > low]


def _means(values_SK: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means over the classes with test images; NaN where there is none."""
    known = ~np.isnan(values_SK)
    total = np.where(known, values_SK, 0).sum(axis=1)
    return np.asarray(np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), np.nan))
