"""One picture of one run or several: training loss, test accuracy, and accuracy by class from head to tail."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsgl.errors import UserError
from fsgl.evaluation.classes import class_order
from fsgl.files import write_atomically
from fsgl.report.drawing import GREY, RUN_COLOURS, RUN_MARKERS, draw, encoded

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

History = Sequence[Mapping[str, Any]]

_NAMED_CLASSES = 40  # more names than this cannot be read below an axis 6 inches wide
_SINGLE_CLASSES = 20  # of more the dots are small, and a running mean is drawn
_DOTTED_CLASSES = 100  # beyond it the dots hide each other, and a running mean is drawn over faint ones


def draw_curves(
    histories: Mapping[str, History],
    path: Path,
    title: str = "",
    *,
    class_counts: Sequence[int] | None = None,
    class_names: Sequence[str] | None = None,
) -> Path:
    """Draw runs beside each other into a PNG or SVG, and return its path.

    histories: run name -> rows of its metrics.jsonl (``fsgl.report.table``). Left: the training loss
    (``row["loss"]["total"]``, each method's own, so levels of different methods do not compare). Middle: top-1 on
    the test set, on validation dashed. Right: test accuracy of each class at the last epoch scored.
    path: the suffix, .png or .svg, decides the format. The file appears whole or not at all; missing folders
    are made.
    class_counts: K training images a class: orders the classes of the right panel, most frequent first, and is
    drawn as a grey line on a logarithmic axis. Without it, classes stand in index order.
    class_names: K names for the right panel; drawn up to 40 classes.

    Raises UserError for another suffix or where the file cannot be written, ValueError where counts or names are
    not one a class.
    """
    form = Path(path).suffix.lower().removeprefix(".")
    if form not in ("png", "svg"):
        raise UserError(f"cannot draw curves into '{path}': name a file that ends in .png or .svg")
    write_atomically(Path(path), encoded(_figure(histories, title, class_counts, class_names), form))
    return Path(path)


def _figure(
    histories: Mapping[str, History],
    title: str,
    class_counts: Sequence[int] | None,
    class_names: Sequence[str] | None,
) -> Figure:
    def drawing(figure: Figure) -> None:
        _fill(figure, histories, title, class_counts, class_names)

    figure = draw(drawing, (15 if _has_many_names(class_names) else 13, 4.4), font_size=9.0)
    figure.set_facecolor("white")
    return figure


def _has_many_names(class_names: Sequence[str] | None) -> bool:
    return class_names is not None and _SINGLE_CLASSES < len(class_names) <= _NAMED_CLASSES


def _fill(
    figure: Figure,
    histories: Mapping[str, History],
    title: str,
    class_counts: Sequence[int] | None,
    class_names: Sequence[str] | None,
) -> None:
    from matplotlib.lines import Line2D

    loss, accuracy, classes = figure.subplots(1, 3, width_ratios=(1, 1, 1.75 if _has_many_names(class_names) else 1.25))
    styles: dict[str, dict[str, Any]] = {
        name: {"color": RUN_COLOURS[i % len(RUN_COLOURS)], "marker": RUN_MARKERS[i % len(RUN_MARKERS)]}
        for i, name in enumerate(histories)
    }
    _draw_loss(loss, histories, styles)
    validated = _draw_accuracy(accuracy, histories, styles)
    _draw_classes(classes, histories, styles, class_counts, class_names)
    for axes in (loss, accuracy, classes):
        axes.set_axisbelow(True)
    if title:
        figure.suptitle(title, fontsize=12, fontweight="bold")
    if histories:
        lines = [Line2D([], [], markersize=5, **style) for style in styles.values()]
        # matplotlib leaves labels with a leading underscore out of legends
        labels = [f" {name}" if name.startswith("_") else name for name in styles]
        if validated:  # below, where no curve can be behind it
            lines.append(Line2D([], [], color=GREY, marker="o", markersize=5))
            lines.append(Line2D([], [], color=GREY, marker="o", markersize=5, linestyle="--", markerfacecolor="white"))
            labels += ["test", "validation"]
        figure.legend(lines, labels, loc="outside lower center", ncols=min(len(labels), 6), frameon=False)


def _draw_loss(axes: Axes, histories: Mapping[str, History], styles: Mapping[str, dict[str, Any]]) -> None:
    for name, history in histories.items():
        epochs, values = _series((row, (row.get("loss") or {}).get("total")) for row in history)
        axes.plot(epochs, values, **_line(styles[name], len(epochs)))
    axes.set(title="training loss (each method's own)", xlabel="epoch")
    _frame_epochs(axes, histories)


def _draw_accuracy(axes: Axes, histories: Mapping[str, History], styles: Mapping[str, dict[str, Any]]) -> bool:
    """Draw both curves of each run; True where there was a validation set."""
    validated = False
    for name, history in histories.items():
        for split, dash in (("test", "-"), ("val", "--")):
            epochs, values = _series((row, (row.get(split) or {}).get("top1")) for row in history)
            style = _line(styles[name], len(epochs))
            if split == "val":
                validated |= bool(epochs)
                style |= {"alpha": 0.75, "markerfacecolor": "white", "linewidth": 1.1}
            axes.plot(epochs, values, linestyle=dash, **style)
    axes.set(title="top-1 accuracy, %", xlabel="epoch")
    _frame_epochs(axes, histories)
    return validated


def _draw_classes(
    axes: Axes,
    histories: Mapping[str, History],
    styles: Mapping[str, dict[str, Any]],
    class_counts: Sequence[int] | None,
    class_names: Sequence[str] | None,
) -> None:
    axes.set(title="test accuracy by class, last epoch, %", ylim=(-3, 111), yticks=range(0, 101, 20))
    last = {name: metrics for name, history in histories.items() if (metrics := _last_test(history))}
    if not last:
        axes.text(0.5, 0.5, "no epoch scored on the test set", ha="center", va="center", transform=axes.transAxes)
        axes.set(xticks=[], yticks=[])
        return
    n_classes = len(next(iter(last.values()))["per_class"])
    counts = None if class_counts is None else [int(count) for count in class_counts]
    sizes = {
        "class counts": counts,
        "class names": class_names,
        **{f"accuracies of '{name}'": metrics["per_class"] for name, metrics in last.items()},
    }
    for what, values in sizes.items():
        if values is not None and len(values) != n_classes:
            raise ValueError(f"{len(values)} {what} for {n_classes} classes")
    order = class_order(counts) if counts else list(range(n_classes))
    window = max(5, n_classes // 20 | 1)  # odd, so that it has a middle

    for i, (name, metrics) in enumerate(last.items()):
        accuracy = [metrics["per_class"][k] for k in order]
        # side by side within the class, so that equal accuracies do not hide each other
        shift = 0.5 * ((i + 0.5) / len(last) - 0.5) if n_classes <= _SINGLE_CLASSES else 0.0
        at = [rank + shift for rank, value in enumerate(accuracy) if value is not None]
        known = [value for value in accuracy if value is not None]
        many = n_classes > _DOTTED_CLASSES
        size, alpha = (2.0, 0.22) if many else (5.5 if n_classes <= _SINGLE_CLASSES else 3.5, 0.9)
        axes.plot(at, known, linestyle="none", markersize=size, alpha=alpha, markeredgewidth=0, **styles[name])
        if n_classes > _SINGLE_CLASSES:
            axes.plot(at, _running_mean(known, window), color=styles[name]["color"], linewidth=1.8)

    axes.set_xlim(-0.7, n_classes - 0.3)
    axes.grid(axis="y", alpha=0.25)
    if class_names is not None and n_classes <= _NAMED_CLASSES:
        labels = [name if len(name) <= 14 else name[:13] + "\u2026" for name in (str(class_names[k]) for k in order)]
        how = {"rotation": 90, "va": "center", "fontsize": 7} if n_classes > _SINGLE_CLASSES else {"rotation": 45}
        axes.set_xticks(range(n_classes), labels, ha="right", rotation_mode="anchor", **how)
    elif n_classes <= _NAMED_CLASSES:
        axes.set_xticks(range(n_classes), [str(k) for k in order])
    by = ", most frequent first" if counts else ", by index"
    smoothed = f"; lines: running mean of {window}" if n_classes > _SINGLE_CLASSES else ""
    axes.set_xlabel(f"class{by}{smoothed}")
    if counts:
        _draw_counts(axes, [counts[k] for k in order], next(iter(last.values()))["groups"]["boundaries"])


def _draw_counts(axes: Axes, counts: Sequence[int], boundaries: Sequence[int]) -> None:
    """The training counts behind the accuracies, and where many ends and few begins."""
    from matplotlib.ticker import FuncFormatter
    from matplotlib.transforms import blended_transform_factory

    many, few = boundaries
    n_many = sum(count > many for count in counts)
    n_up_to_medium = sum(count > few for count in counts)
    spans = {"many": (0, n_many), "medium": (n_many, n_up_to_medium), "few": (n_up_to_medium, len(counts))}
    above = blended_transform_factory(axes.transData, axes.transAxes)
    for i, (group, (low, high)) in enumerate(spans.items()):
        if high > low:
            axes.axvspan(low - 0.5, high - 0.5, color=GREY, alpha=(0.0, 0.07, 0.14)[i], linewidth=0, zorder=0)
            if (high - low) / len(counts) > 0.07:  # narrower than its word
                axes.text(
                    (low + high - 1) / 2, 0.985, group, transform=above, ha="center", va="top", color=GREY, fontsize=8
                )
    scale = axes.twinx()
    # a class without training images has no place on a logarithmic axis: the line breaks there
    scale.plot([count if count > 0 else math.nan for count in counts], color=GREY, linewidth=1, drawstyle="steps-mid")
    scale.set_yscale("log")
    scale.yaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:g}"))
    scale.set_ylim(0.7, 2.5 * max(*counts, 2))  # below the names of the groups
    scale.set_ylabel("training images (grey line)", color=GREY)
    scale.tick_params(axis="y", colors=GREY)
    scale.spines["right"].set_visible(True)
    scale.spines["right"].set_color(GREY)
    axes.set_zorder(scale.get_zorder() + 1)  # the accuracies in front of the counts
    axes.patch.set_visible(False)


def _series(points: Any) -> tuple[list[int], list[float]]:
    """Epochs counted from 1, and the values there are."""
    known = [(row["epoch"] + 1, value) for row, value in points if value is not None and math.isfinite(value)]
    return [epoch for epoch, _ in known], [value for _, value in known]


def _line(style: Mapping[str, Any], points: int) -> dict[str, Any]:
    """About ten markers a line, however long; one epoch shows as a marker alone."""
    return {**style, "markersize": 4.5, "markevery": max(1, points // 10), "linewidth": 1.6}


def _frame_epochs(axes: Axes, histories: Mapping[str, History]) -> None:
    from matplotlib.ticker import MaxNLocator

    last = max((row["epoch"] + 1 for history in histories.values() for row in history), default=1)
    margin = max(0.5, 0.03 * last)
    axes.set_xlim(1 - margin, last + margin)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    axes.grid(alpha=0.25)


def _last_test(history: History) -> Mapping[str, Any] | None:
    return next((row["test"] for row in reversed(history) if row.get("test")), None)


def _running_mean(values: Sequence[float], window: int) -> list[float]:
    half = window // 2
    near = (values[max(0, i - half) : i + half + 1] for i in range(len(values)))
    return [sum(some) / len(some) for some in near]
