"""Tables of accuracy for people: one run by the honest protocol, class by class, and runs beside each other.

The functions take what a run folder holds, parsed from JSON: ``metrics`` is what
``fsgl.evaluation.metrics.evaluate_predictions`` returns, ``history`` the rows of metrics.jsonl, one an epoch::

    {"epoch": 0, "lr": 0.1, "loss": {...}, "seconds": 9.5, "val": metrics or None, "test": metrics or None}

They give a ``Table`` (report/render.py), which prints itself as text, in colour and as Markdown.
A figure that does not exist shows as a dash, never as NaN or 0. All accuracies are in percent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from fsgl.errors import unknown
from fsgl.evaluation.classes import class_order, group_of
from fsgl.report.render import WIDTH, Table, cells_wide, clean_name
from fsgl.report.tested import UNTESTED, is_untested, rests_on

EMPTY = "\u2013"  # en dash
HEADLINES = ("last", "validation", "test")
NOT_FAIR = "not a fair figure: the test set chose the epoch"

_FIGURES = {
    "top1": "top-1",
    "top5": "top-5",
    "many": "many",
    "medium": "medium",
    "few": "few",
    "balanced": "balanced",
    "ece": "ECE",
}


def protocol_table(history: Sequence[Mapping[str, Any]], headline: str = "last") -> list[dict[str, Any]]:
    """The three test figures of an honest protocol, one row each, ready for JSON.

    - ``last epoch``: the last epoch scored on the test set (``last scored epoch`` where later ones were not).
    - ``best on validation``: among the epochs scored on both sets, the one of the highest balanced accuracy on
      validation, the earliest of equals; no such row without validation.
    - ``best on test (unfair)``: the epoch of the highest top-1 on the test set, the earliest of equals: what
      papers often report, and not a fair figure, as its ``note`` says.

    headline: the row whose ``headline`` is True: ``"last"``; ``"validation"``, without one the last epoch; or
    ``"test"``, as the authors' release reports, which does not make it fair.
    Row keys: name, epoch (from 1), top1, top5, many, medium, few, balanced, ece (each of the test set; None where
    it does not exist), groups, n, headline, note. No row where no epoch was scored on the test set.
    Raises UserError for another ``headline``.
    """
    return [
        {
            "name": name,
            "epoch": row["epoch"] + 1,
            **{key: row["test"][key] for key in (*_FIGURES, "groups", "n")},
            "headline": is_headline,
            "note": note,
        }
        for name, row, is_headline, note in _protocol(history, headline)
    ]


def render_protocol(rows: Sequence[Mapping[str, Any]], title: str = "") -> Table:
    """The rows of ``protocol_table`` as a table; the headline row is stressed, an unfair one held back."""
    notes = _legend([row["groups"] for row in rows])
    notes += [f"{row['name']}: {row['note']}" for row in rows if row["note"]]
    if not rows:
        notes = ["No epoch has been scored on the test set."]
    headline = [row["name"] for row in rows if row["headline"]]
    return Table(
        title=" ".join([title, *(f"(% of {rows[0]['n']} test images; headline: {name})" for name in headline)]).strip(),
        headings=("test set", "epoch", *_FIGURES.values()),
        rows=tuple((row["name"], str(row["epoch"]), *_cells(row)) for row in rows),
        notes=tuple(notes),
        strong=frozenset(number for number, row in enumerate(rows) if row["headline"]),
        faint=frozenset(number for number, row in enumerate(rows) if row["note"]),
    )


def per_class_table(
    metrics: Mapping[str, Any],
    class_names: Sequence[str] | None,
    class_counts: Sequence[int],
    *,
    title: str = "Accuracy of each class",
    max_classes: int = 100,
    ends: int = 10,
) -> Table:
    """Accuracy of each class, the most frequent in training first.

    class_names: K names, or None for "class 0" and so on.  class_counts: K training counts.
    With more than ``max_classes`` classes: the ``ends`` best and the ``ends`` worst, the rest in one row.
    Raises ValueError where names, counts and metrics are not of one length.
    """
    accuracy, names = metrics["per_class"], _class_names(class_names, len(metrics["per_class"]))
    counts = [int(count) for count in class_counts]
    _same_length(accuracy, names, counts)
    many, few = metrics["groups"]["boundaries"]

    def cells(k: int) -> tuple[str, ...]:
        return names[k], str(counts[k]), group_of(counts[k], many, few), _number(accuracy[k], none=UNTESTED)

    order = class_order(counts)
    headings, notes = ("class", "train images", "group", "accuracy"), _legend([metrics["groups"]], ece=False)
    if len(order) <= max_classes:
        rows = tuple(map(cells, order))
        return Table(f"{title} (%, most frequent first)", headings, rows, tuple(notes), named=True)

    known = sorted((k for k in order if accuracy[k] is not None), key=lambda k: -accuracy[k])
    if len(known) < len(order):
        notes.append(f"{len(order) - len(known)} classes have no test images.")
    chosen = [cells(k) for k in known]
    if middle := known[ends:-ends]:
        mean = _number(_mean(accuracy[k] for k in middle))
        chosen[ends:-ends] = [(f"mean of {len(middle)} others", _span(counts[k] for k in middle), "", mean)]
    return Table(f"{title} (%, best and worst of {len(order)})", headings, tuple(chosen), tuple(notes), named=True)


def comparison_table(
    runs: Mapping[str, Sequence[Mapping[str, Any]] | Mapping[str, Any]],
    class_names: Sequence[str] | None = None,
    class_counts: Sequence[int] | None = None,
    *,
    headline: str = "last",
    width: int = WIDTH,
    max_classes: int = 100,
) -> list[Table]:
    """Runs beside each other: a table of the overall figures, then one class by class.

    runs: name -> history (its headline figure is taken, see ``protocol_table``; never the best on test) or
    metrics of the test set.  Two runs on the same test set and groups get a row with their difference.
    class_counts: K training counts, by which classes are ordered; without them they stand in index order.
    width: where the run names would make the second table wider than this they are lettered, with a key.
    With more than ``max_classes`` classes they are gathered into ten bands by frequency.
    """
    fair = "last" if headline == "test" else headline
    chosen = {name: _measured(run, fair) for name, run in runs.items()}
    measured = {name: metrics for name, (metrics, _) in chosen.items()}
    known = [metrics for metrics in measured.values() if metrics]
    rows = [(clean_name(name), *_cells(metrics or {})) for name, metrics in measured.items()]
    notes = _legend([metrics["groups"] for metrics in known])
    alike = all(_of_test_set(metrics) == _of_test_set(known[0]) for metrics in known)
    if not alike:
        notes.append("These runs were measured on different test sets or groups: do not rank them.")
    elif len(known) == len(rows) == 2:
        rows.append(("difference", *_figures({key: _minus(known[1][key], known[0][key]) for key in _FIGURES}, "+z")))
        notes.append(f"difference: {rows[1][0]} minus {rows[0][0]}, in points; one run each says nothing of chance.")
    ways = {way for _, way in chosen.values()}
    if len(ways) > 1:
        notes += [f"{clean_name(name)}: {way}" for name, (_, way) in chosen.items()]
    way = f" ({', '.join(ways)})" if len(ways) == 1 and ways != {"as given"} else ""
    overall = Table(f"Test set, %{way}", ("method", *_FIGURES.values()), tuple(rows), tuple(notes))
    if not known or len({len(metrics["per_class"]) for metrics in known}) > 1:
        return [overall]
    return [overall, _class_block(measured, class_names, class_counts, width, max_classes)]


def _class_block(
    measured: Mapping[str, Mapping[str, Any] | None],
    class_names: Sequence[str] | None,
    class_counts: Sequence[int] | None,
    width: int,
    max_classes: int,
) -> Table:
    n_classes = next(len(metrics["per_class"]) for metrics in measured.values() if metrics)
    names = _class_names(class_names, n_classes)
    counts = [0] * n_classes if class_counts is None else [int(count) for count in class_counts]
    _same_length(range(n_classes), names, counts)
    per_run = [metrics["per_class"] if metrics else [None] * n_classes for metrics in measured.values()]
    order = class_order(counts)
    if banded := n_classes > max_classes:
        edges = [round(band * n_classes / 10) for band in range(11)]
        bands = {f"ranks {low + 1} to {high}": order[low:high] for low, high in pairwise(edges) if high > low}
    else:
        bands = {f"{rank}": [k] for rank, k in enumerate(order)}
    rows = tuple(
        (
            band if banded else names[members[0]],
            *([_span(counts[k] for k in members)] if class_counts is not None else []),
            *(_number(_mean(accuracy[k] for k in members)) for accuracy in per_run),
        )
        for band, members in bands.items()
    )
    fixed = ("classes" if banded else "class", *(["train images"] if class_counts is not None else []))
    headings = tuple(map(clean_name, measured))
    taken = max(cells_wide(clean_name(row[0])) for row in rows) + sum(2 + len(heading) for heading in fixed[1:])
    untested = any(accuracy is None for metrics in measured.values() if metrics for accuracy in metrics["per_class"])
    notes: tuple[str, ...] = (f"Classes without test images ({EMPTY}) count in no mean.",) if untested else ()
    if taken + sum(2 + max(cells_wide(heading), 5) for heading in headings) > width:
        letters = tuple(_letter(number) for number in range(len(headings)))
        notes += tuple(f"{letter}: {heading}" for letter, heading in zip(letters, headings, strict=True))
        headings = letters
    ordering = "most frequent first" if class_counts is not None else "by class index"
    title = f"Accuracy by class (%, {'mean of each band, ' if banded else ''}{ordering})"
    return Table(title, (*fixed, *headings), rows, notes, named=True)


def _protocol(
    history: Sequence[Mapping[str, Any]], headline: str
) -> list[tuple[str, Mapping[str, Any], bool, str | None]]:
    """The epochs of ``protocol_table``: name, row of the history, whether it is the headline, note."""
    if headline not in HEADLINES:
        raise unknown("headline", headline, HEADLINES)
    scored = [row for row in history if row.get("test")]
    if not scored:
        return []
    chosen = [("last epoch" if scored[-1] is history[-1] else "last scored epoch", scored[-1])]
    validated = [row for row in scored if row.get("val") and row["val"]["balanced"] is not None]
    if validated:  # max takes the first of equals, which is the earliest
        chosen.append(("best on validation", max(validated, key=lambda row: row["val"]["balanced"])))
    stressed = chosen[-1 if headline == "validation" else 0][0]
    unfair = max(scored, key=lambda row: row["test"]["top1"])
    return [
        *((name, row, headline != "test" and name == stressed, None) for name, row in chosen),
        ("best on test (unfair)", unfair, headline == "test", NOT_FAIR),
    ]


def _measured(
    run: Sequence[Mapping[str, Any]] | Mapping[str, Any], headline: str
) -> tuple[Mapping[str, Any] | None, str]:
    """The test metrics that stand for a run, and how their epoch was chosen."""
    if isinstance(run, Mapping):
        return run, "as given"
    for name, row, is_headline, _ in _protocol(run, headline):
        if is_headline:
            return row["test"], name
    return None, "not scored"


def _legend(groups: Sequence[Mapping[str, Any]], *, ece: bool = True) -> list[str]:
    """What the columns mean, said once; of the first of several groupings (others are warned of where compared)."""
    if not groups:
        return []
    (many, few), classes = groups[0]["boundaries"], groups[0]["classes"]
    medium = f"{few + 1} to {many}" if many > few else "none"
    note = (
        f"Classes by training images: many over {many} ({classes['many']}), medium {medium} ({classes['medium']}), "
        f"few up to {few} ({classes['few']})."
    )
    resting = rests_on(groups[0]) if len({str(each.get("tested")) for each in groups}) == 1 else []
    return [note, *resting, *(["ECE: expected calibration error, lower is better."] if ece else [])]


def _of_test_set(metrics: Mapping[str, Any]) -> tuple[Any, ...]:
    """What two runs share that were measured on as many images, in the same groups of classes."""
    return metrics["groups"]["boundaries"], metrics["groups"]["classes"], metrics["n"]


def _cells(metrics: Mapping[str, Any]) -> tuple[str, ...]:
    """The figures, and a word for a group that has classes but no test images."""
    groups = metrics.get("groups")
    return tuple(
        _number(metrics.get(key), none=UNTESTED if is_untested(groups, key) else EMPTY) for key in _FIGURES
    )  # fmt: skip


def _figures(metrics: Mapping[str, Any], sign: str = "") -> tuple[str, ...]:
    return tuple(_number(metrics.get(key), sign) for key in _FIGURES)


def _number(value: float | None, sign: str = "", none: str = EMPTY) -> str:
    return none if value is None or value != value else f"{value:{sign}.1f}"


def _minus(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _span(counts: Iterable[int]) -> str:
    values = list(counts)
    return str(values[0]) if len(set(values)) == 1 else f"{max(values)} to {min(values)}"


def _class_names(names: Sequence[str] | None, n_classes: int) -> list[str]:
    return [f"class {k}" for k in range(n_classes)] if names is None else [str(name) for name in names]


def _same_length(accuracy: Sequence[Any], names: Sequence[str], counts: Sequence[int]) -> None:
    if not len(accuracy) == len(names) == len(counts):
        raise ValueError(f"{len(accuracy)} accuracies, {len(names)} class names and {len(counts)} counts do not match")


def _letter(number: int) -> str:
    return chr(ord("A") + number) if number < 26 else f"R{number + 1}"
