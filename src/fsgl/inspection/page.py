"""The findings as one self-contained HTML page: no other file, no network, nothing in it that a file name could run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fsgl.data.images.image_files import BadImage
from fsgl.data.images.thumbnails import open_image, thumbnail
from fsgl.inspection.findings import Inspected
from fsgl.report.web import escape as _e
from fsgl.report.web import page

THUMBNAILS = 120  # in all; each some 2 kB
PATHS = ("file", "image", "files")  # columns of what breaks anywhere
A_GROUP = 3  # of a group of the same or alike images
SUSPECTS = 60  # labels that may be wrong, that are shown


def render_page(found: dict[str, Any], inspected: Inspected) -> str:
    """The page."""
    wanted = [_wanted(found["duplicates"]["exact"]), _wanted(found["duplicates"]["near"])]
    wanted.append(min(SUSPECTS, found["label_errors"]["count"]) if found["label_errors"] else 0)
    same, alike, suspects = (_Thumbnails(inspected, share) for share in fair_shares(wanted, THUMBNAILS))
    tail, sides = found["tail"], found["sizes"]["shorter_side"]
    figures = {
        "training images": f"{tail['images']:,}",
        "classes": tail["classes"],
        "largest class": f"{tail['largest']:,}",
        "smallest class": f"{tail['smallest']:,}",
        "imbalance factor": "–" if tail["imbalance_factor"] is None else f"{tail['imbalance_factor']:.4g}",
        "Gini": f"{tail['gini']:.2f}",
        "shorter side, median": f"{sides['median']:.0f} px",
        "unreadable": found["unreadable"]["count"],
    }
    sections = [
        f"<h1>{_e(found['name'])}</h1><p class=soft>{_e(found['found'])}</p>" + _list(found["notes"], "soft"),
        "<dl>" + "".join(f"<div><dt>{_e(k)}</dt><dd>{_e(v)}</dd></div>" for k, v in figures.items()) + "</dl>",
        "<h2>What to do</h2>" + _recommendation(found["recommendation"]),
        "<h2>The tail</h2>" + _bars(found["counts"]) + _groups_table(tail) + _counts_table(found["counts"]),
        "<h2>How train splits them</h2>" + (_list(found["split"]) or "<p>As the set was published.</p>"),
        "<h2>Missing classes</h2>" + _missing(found["missing"]),
        "<h2>Unreadable files</h2>" + _unreadable(found["unreadable"]),
        "<h2>The same image twice</h2>" + _duplicates(found["duplicates"]["exact"], same, len(found["parts"])),
        "<h2>Images that look alike</h2>" + _duplicates(found["duplicates"]["near"], alike, len(found["parts"])),
        "<h2>Labels that may be wrong</h2>" + _errors(found["label_errors"], suspects),
        "<h2>Sizes and modes</h2>" + _sizes(found),
    ]
    return page(f"fsgl inspect: {found['name']}", sections)


def _wanted(duplicates: dict[str, Any]) -> int:
    return sum(len(group["places"][:A_GROUP]) for group in duplicates["listed"])


def fair_shares(wanted: list[int], total: int) -> list[int]:
    """What each gets of ``total``: an equal part, and of what others do not want an equal part again.

    >>> fair_shares([500, 10, 60], 120)
    [55, 10, 55]
    """
    shares, left = [0] * len(wanted), total
    for done, place in enumerate(sorted(range(len(wanted)), key=wanted.__getitem__)):
        shares[place] = min(wanted[place], left // (len(wanted) - done))
        left -= shares[place]
    return shares


def _list(items: Iterable[str], kind: str = "") -> str:
    lines = "".join(f"<li>{_e(item)}</li>" for item in items)
    return f"<ul class='{kind}'>{lines}</ul>" if lines else ""


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """rows: cells that are HTML already."""
    head = tuple(head)
    titles = "".join(f"<th>{_e(title)}</th>" for title in head)
    kinds = [" class=path" if title in PATHS else "" for title in head]
    lines = "".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f"<div class=scroll><table><tr>{titles}</tr>{lines}</table></div>"


def _recommendation(advice: dict[str, Any]) -> str:
    command = " ".join(["fsgl", advice["command"], "PATH", *advice["options"]])
    return f"<p><code>{_e(command)}</code></p>" + _list(advice["reasons"])


def _bars(counts: dict[str, int]) -> str:
    """Class sizes in falling order, the height by the logarithm, as an SVG picture."""
    import math

    sizes = sorted(counts.values(), reverse=True)
    top = math.log10(max(sizes) + 1) or 1.0
    width = 1000 / len(sizes)
    bars = "".join(
        f"<rect x={i * width:.2f} y={190 - 180 * math.log10(n + 1) / top:.1f} width={max(0.5, 0.85 * width):.2f} "
        f"height={180 * math.log10(n + 1) / top:.1f} fill='var(--bar)'/>"
        for i, n in enumerate(sizes)
    )
    label = f"class sizes from {sizes[0]:,} to {sizes[-1]:,}, largest first, on a logarithmic scale"
    picture = f"<svg viewBox='0 0 1000 200' preserveAspectRatio=none role=img aria-label='{label}'>{bars}</svg>"
    return picture + f"<p class=soft>{_e(label)}</p>"


def _groups_table(tail: dict[str, Any]) -> str:
    notes = {"many": "more than 100 images", "medium": "21 to 100", "few": "20 or fewer"}
    rows = [
        (
            name, f"{tail['fixed'][name]['classes']:,} ({notes[name]})", f"{tail['fixed'][name]['images']:,}",
            f"{tail['thirds'][name]['classes']:,} (from {tail['thirds'][name]['smallest']:,})",
            f"{tail['thirds'][name]['images']:,}",
        )
        for name in ("many", "medium", "few")
    ]  # fmt: skip
    return _table(("group", "classes, by number", "images", "classes, by thirds", "images"), rows)


def _counts_table(counts: dict[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    rows = ((_e(name), f"{count:,}") for name, count in ordered)
    table = _table(("class", "training images"), rows)
    return f"<details><summary>all {len(counts):,} classes</summary>{table}</details>"


def _missing(missing: dict[str, list[str]]) -> str:
    lines = [f"{part}: {len(names)} ({', '.join(names[:30])})" for part, names in missing.items() if names]
    return _list(lines, "warn") or "<p>Every class is in every part.</p>"


def _unreadable(found: dict[str, Any]) -> str:
    if not found["count"]:
        return "<p>None.</p>"
    rows = ((_e(each["image"]), _e(each["reason"])) for each in found["listed"])
    return f"<p class=warn>{found['count']:,}</p>" + _table(("file", "why"), rows)


def _duplicates(found: dict[str, Any], thumbnails: _Thumbnails, parts: int) -> str:
    if not found["count"]:
        return "<p>None.</p>"
    across = f"{found['across_parts']:,} across parts (leaks), " if parts > 1 else ""
    said = f"{found['count']:,} groups; {across}{found['across_classes']:,} labelled in two ways"
    rows = (
        (
            "".join(thumbnails.show(place) for place in group["places"][:A_GROUP]),
            _e(", ".join(group["classes"])), _e(", ".join(group["parts"])),
            "<br>".join(_e(image) for image in group["images"]) + _more(group["count"] - len(group["images"])),
        )
        for group in found["listed"]
    )  # fmt: skip
    return f"<p class=warn>{said}</p>" + _table(("", "classes", "parts", "files"), rows)


def _more(count: int) -> str:
    return f"<br>and {count:,} more" if count > 0 else ""


def _errors(found: dict[str, Any] | None, thumbnails: _Thumbnails) -> str:
    if found is None:
        return "<p>Not looked for.</p>"
    if found["model_accuracy"] is None:
        return f"<p>Not enough images: two classes of {found['least']} are needed.</p>"
    model = f"a logistic regression on {found['features']}, which is right {found['model_accuracy']} % of the time"
    model += " (mean over classes, of images that it did not see)"
    why = f"<p>{_e(_why_pixels(found))}</p>" if found["why_pixels"] else ""
    if not found["trusted"]:
        weak = f"below {found['trust_from']:.0f} % most of what it listed would be its own mistakes"
        return f"<p>{_e(f'Not judged: {model}; {weak}.')}</p>{why}"
    said = f"{found['count']:,} of {_judged_of(found)}, by {model}. The surest come first."
    rows = (
        (
            thumbnails.show(each["place"]), _e(each["label"]), _e(each["likelier"]), f"{each['probability']:.0%}",
            _e(each["image"]),
        )
        for each in found["listed"][:SUSPECTS]
    )  # fmt: skip
    if not found["count"]:
        return f"<p>{_e(said)}</p>{why}"
    return f"<p>{_e(said)}</p>{why}" + _table(("", "labelled", "likelier", "sure", "image"), rows)


def _judged_of(errors: dict[str, Any]) -> str:
    """How many training images were judged, of how many."""
    some = f" (of {errors['of']:,})" if errors["judged"] < errors["of"] else ""
    return f"{errors['judged']:,} training images{some}"


def _why_pixels(found: dict[str, Any]) -> str:
    return f"Not by features of a network trained on ImageNet, which find more: {found['why_pixels']}."


def _sizes(found: dict[str, Any]) -> str:
    sizes = found["sizes"]
    common = ", ".join(f"{width} x {height} ({count:,})" for width, height, count in sizes["common"])
    modes = ", ".join(f"{mode} ({count:,})" for mode, count in found["modes"].items())
    side = sizes["shorter_side"]
    lines = [
        f"shorter side from {side['least']} to {side['most']} pixels, median {side['median']:.0f}",
        f"{sizes['different']:,} sizes, most often {common}",
    ]
    return _list([*lines, f"stored as {modes}"] if modes else lines)


class _Thumbnails:
    def __init__(self, inspected: Inspected, most: int) -> None:
        self._inspected, self._left = inspected, most

    def show(self, place: int) -> str:
        """An image element, or nothing once there are enough of them."""
        if self._left == 0:
            return ""
        part, position = self._inspected.places[place]
        try:
            image = open_image(self._inspected.images[part], position)
        except BadImage:
            return ""
        self._left -= 1
        return f"<img alt='' src='{thumbnail(image, 128)}'>"
