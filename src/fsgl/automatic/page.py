"""``auto.html``: what was tried, what it cost, what was chosen and why, how sure that is, and what would help most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from fsgl.automatic.clock import minutes
from fsgl.report import web
from fsgl.report.drawing import as_svg, draw
from fsgl.report.render import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def render_page(found: Mapping[str, Any], title: str) -> str:
    """The whole page. found: of ``findings``."""
    sections = [_head(found, title), web.section("Chosen, and why", reasons(found))]
    if found["path"]:
        picture = as_svg(draw(lambda figure: _progress(figure, found["path"]), (8.0, 2.6)), "The best so far.", "path")
        caption = "The best so far, mean over classes on held-out images, by minutes since the command began."
        sections.append(web.figure(picture, caption, "The search"))
    sections += [web.table(table) for table in (_recipes(found), _listed(found))]
    sections.append(web.section("What would help most", advice(found)))
    if found["wanted"]["classes"]:
        sections.append(web.table(_wanted(found)))
    sections.append(web.table(_classes(found)))
    sections.append(web.table(_cost(found)))
    if found["images"]:
        sections += [web.section("The images", []), web.notes(found["images"])]
    return web.page(title, sections)


def reasons(found: Mapping[str, Any]) -> list[str]:
    """Why this one, and how sure that is, a sentence or two each."""
    chosen, best = found["chosen"], found["best"]
    by = "the validation images" if found["folds"] == 1 else f"{found['folds']} folds of the training images"
    heads = found["heads"]
    judged = "Judged" if chosen["number"] == heads["number"] else "Heads were judged"
    said = [
        f"Chosen: {chosen['name']}. {judged} by {by}, never by test images: {found['judged']:,} images, each by a "
        "training that did not see it; what counts is the mean over classes."
    ]
    it = "It" if chosen["number"] == heads["number"] else f"Of heads alone {heads['name']} was chosen: it"
    if heads["trials"] == 1:
        said.append(f"No other heads were tried ({best['accuracy']:.1f} %).")
    elif heads["number"] == best["number"]:
        said.append(f"{it} is the best of {heads['trials']} ({best['accuracy']:.1f} %), and none that is simpler is "
                    "within one standard error of it.")  # fmt: skip
    else:
        said.append(
            f"The best of {heads['trials']} is {best['name']} ({best['accuracy']:.1f} %). {it} is "
            f"{found['behind']:.1f} points behind, within one standard error of that difference "
            f"({found['error']:.1f}), and simpler: fewer settings away from a recipe's own, or fewer passes a step."
        )
    said += [_fine_tuned(row, chosen["number"]) for row in found["fine_tuned"]]
    if found["fine_tuning"]:
        said.append(found["fine_tuning"])
    if (expected := found["expected"]) is not None:
        said.append(
            f"The best of many is a lucky one; corrected for that, {expected['mean']:.1f} % is to be expected of "
            f"other images ({expected['low']:.1f} to {expected['high']:.1f}; bootstrap, 95 %)."
        )
    interval = found["test_interval"]
    said.append(
        f"On {found['test']['n']:,} test images, scored once, after the choice: {interval['mean']:.1f} % "
        f"({interval['low']:.1f} to {interval['high']:.1f}), mean over classes; top-1 {found['test']['top1']:.1f} %."
    )
    if found["little_tested"]:
        said.append(f"{found['little_tested']} of {len(found['classes'])} classes have fewer than 10 test images, "
                    "so that their own figures say little.")  # fmt: skip
    if found["never_judged"]:
        said.append(f"{found['never_judged']} training images were never held out: the only ones of their class, "
                    "all of it copies of each other, or belonging with test images.")  # fmt: skip
    return said


def _fine_tuned(row: Mapping[str, Any], chosen: int) -> str:
    """What came of training the backbone as well."""
    gain = row["accuracy"] - row["heads"]
    apart = f"{abs(gain):.1f} points {'above' if gain > 0 else 'below'} heads alone ({row['heads']:.1f} %)"
    if not row["better"]:
        why = (
            f"not more than one standard error ({row['error']:.1f}) above them, so heads alone, which are simpler, stay"
        )
    elif row["number"] == chosen:
        why = f"more than one standard error ({row['error']:.1f}), so it is what was trained"
    else:
        why = f"more than one standard error ({row['error']:.1f})"
    return (
        f"Tried as well, the backbone trained for {row['epochs']} epochs: {row['name']}, in {minutes(row['seconds'])} "
        f"minutes. It is right on {row['accuracy']:.1f} % of the {row['judged']:,} images that it was judged on, "
        f"{apart} on the same ones; that is {why}."
    )


def advice(found: Mapping[str, Any]) -> list[str]:
    """What would help most, a sentence each."""
    wanted = found["wanted"]
    if not wanted["rises"]:
        return [
            "Accuracy is not seen to rise with the number of a class's images here, so that more of them cannot be "
            "promised to help; look at the labels and at what is taken for what (fsgl report, fsgl inspect)."
        ]
    said = [
        "More images of the classes below. The table reads off what more would bring from how accuracy rises with "
        f"number over the classes (p = {wanted['p_value']:.2g} for no rise); it has not been tried within one class."
    ]
    first = wanted["classes"][:1]
    for row in first:
        more = (
            "" if row["needed"] is None else f"; {row['needed']:,} in all are expected to do for {wanted['aim']:.0f} %"
        )
        said.append(f"First {row['name']}: {row['train']:,} images now, right in about {row['now']:.0f} %; with twice "
                    f"as many about {row['doubled']:.0f} %{more}.")  # fmt: skip
    return said


def _head(found: Mapping[str, Any], title: str) -> Markup:
    test, interval = found["test"], found["test_interval"]
    cards = {
        "mean over classes, test": f"{interval['mean']:.1f} %",
        "95 % interval": f"{interval['low']:.0f} to {interval['high']:.0f}",
        "top-1": f"{test['top1']:.1f} %",
        **{f"{group}-shot": f"{test[group]:.1f} %" for group in ("many", "medium", "few") if test[group] is not None},
        "tried": f"{found['trials']}",
        "time": minutes(found["seconds"]["all"]),
    }
    return web.heading(title, found["chosen"]["name"], cards)


def _progress(figure: Figure, path: list[list[float]]) -> None:
    axes = figure.subplots()
    seconds, best = np.array(path).T
    axes.step(seconds / 60, best, where="post")
    axes.plot(seconds / 60, best, "o", markersize=3)
    axes.set_xlabel("minutes")
    axes.set_ylabel("%")
    axes.grid(True, alpha=0.4)


def _recipes(found: Mapping[str, Any]) -> Table:
    rows = tuple(
        (row["recipe"], str(row["trials"]), _percent(row["plain"]), _percent(row["best"]), f"{row['seconds']:.0f}")
        for row in found["recipes"]
    )
    headings = ("recipe", "trials", "as it comes", "best", "seconds of a core")
    return Table("What was tried", headings, rows, notes=("Mean over classes on held-out images, in %.",))


def _listed(found: Mapping[str, Any]) -> Table:
    chosen = found["chosen"]["number"]
    rows = tuple(
        (str(row["number"]), f"{row['accuracy']:.1f}", f"{row['seconds']:.1f}", row["name"]) for row in found["listed"]
    )
    strong = frozenset(i for i, row in enumerate(found["listed"]) if row["number"] == chosen)
    return Table("The best of them", ("trial", "%", "seconds", "what"), rows, strong=strong)


def _wanted(found: Mapping[str, Any]) -> Table:
    rows = tuple(
        (row["name"], f"{row['train']:,}", f"{row['now']:.0f}", f"{row['doubled']:.0f}", f"{row['gain']:+.1f}",
         "more than any class has" if row["needed"] is None else f"{row['needed']:,}", row["taken_for"] or "–")
        for row in found["wanted"]["classes"]
    )  # fmt: skip
    headings = ("class", "images", "right, %", "with twice as many", "gain, all classes",
                f"for {found['wanted']['aim']:.0f} %", "taken for")  # fmt: skip
    return Table("", headings, rows)


def _classes(found: Mapping[str, Any]) -> Table:
    rows = tuple(
        (row["name"], f"{row['train']:,}", _of(row["right"], row["judged"]), _of(row["test_right"], row["test"]))
        for row in sorted(found["classes"], key=lambda row: -row["train"])
    )
    return Table("Every class", ("class", "training images", "right when held out", "right at test"), rows)


def _cost(found: Mapping[str, Any]) -> Table:
    rows = tuple((name, f"{seconds:.0f}") for name, seconds in found["seconds"].items())
    return Table("Where the time went", ("what", "seconds"), rows, notes=(
        "The parts are of the last session; \"all\" is of every session, \"of trials\" of all cores together.",
    ))  # fmt: skip


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _of(right: int, total: int) -> str:
    return f"{right} of {total}" if total else "–"
