"""The findings as one self-contained HTML page: no other file, no network, nothing in it that a file name could run."""

from __future__ import annotations

import math
from typing import Any

from fsgl.data.images.image_files import BadImage
from fsgl.data.images.thumbnails import thumbnail
from fsgl.inspection.findings import Inspected
from fsgl.inspection.tail import FEW, MANY
from fsgl.report import web

THUMBNAILS = 120  # in all; each some 2 kB
A_GROUP = 3  # of a group of the same or alike images
SUSPECTS = 60  # labels that may be wrong, that are shown
GROUPS = {"many": f"more than {MANY} images", "medium": f"{FEW + 1} to {MANY}", "few": f"{FEW} or fewer"}


def render_page(found: dict[str, Any], inspected: Inspected) -> str:
    """The page."""
    tail, sides, advice = found["tail"], found["sizes"]["shorter_side"], found["recommendation"]
    cards = {
        "training images": f"{tail['images']:,}",
        "classes": tail["classes"],
        "largest class": f"{tail['largest']:,}",
        "smallest class": f"{tail['smallest']:,}",
        "imbalance factor": "–" if tail["imbalance_factor"] is None else f"{tail['imbalance_factor']:.4g}",
        "Gini": f"{tail['gini']:.2f}",
        "shorter side, median": f"{sides['median']:.0f} px",
        "unreadable": found["unreadable"]["count"],
    }
    exact, near, errors = found["duplicates"]["exact"], found["duplicates"]["near"], found["label_errors"]
    wanted = [_wanted(exact), _wanted(near), min(SUSPECTS, errors["count"]) if errors else 0]
    same, alike, suspects = (_Thumbnails(inspected, share) for share in fair_shares(wanted, THUMBNAILS))
    sizes = sorted(found["counts"].values(), reverse=True)
    return web.render(
        "inspect.html",
        title=f"fsgl inspect: {found['name']}",
        found=found,
        cards=cards,
        command=" ".join(["fsgl", advice["command"], "PATH", *advice["options"]]),
        bars=_bars(sizes),
        sizes_said=f"class sizes from {sizes[0]:,} to {sizes[-1]:,}, largest first, on a logarithmic scale",
        groups=GROUPS,
        missing=[
            f"{part}: {len(names)} ({', '.join(names[:30])})" for part, names in found["missing"].items() if names
        ],
        sizes=_sizes(found),
        same=same,
        alike=alike,
        suspects=suspects,
        a_group=A_GROUP,
        most_suspects=SUSPECTS,
    )


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


def _bars(sizes: list[int]) -> list[dict[str, float]]:
    """Rectangles on 1000 x 200 for class sizes in falling order, the height by the logarithm."""
    top, width = math.log10(max(sizes) + 1) or 1.0, 1000 / len(sizes)
    heights = [180 * math.log10(n + 1) / top for n in sizes]
    return [
        {"x": i * width, "y": 190 - height, "width": max(0.5, 0.85 * width), "height": height}
        for i, height in enumerate(heights)
    ]


def _missing(part: str, names: list[str]) -> str:
    return f"{part}: {len(names)} ({', '.join(names[:30])})"


def _sizes(found: dict[str, Any]) -> list[str]:
    sizes = found["sizes"]
    common = ", ".join(f"{width} x {height} ({count:,})" for width, height, count in sizes["common"])
    modes = ", ".join(f"{mode} ({count:,})" for mode, count in found["modes"].items())
    side = sizes["shorter_side"]
    lines = [
        f"shorter side from {side['least']} to {side['most']} pixels, median {side['median']:.0f}",
        f"{sizes['different']:,} sizes, most often {common}",
    ]
    return [*lines, f"stored as {modes}"] if modes else lines


class _Thumbnails:
    def __init__(self, inspected: Inspected, most: int) -> None:
        self._inspected, self._left = inspected, most

    def source(self, place: int) -> str:
        """The picture as a data URI, or nothing once there are enough of them."""
        if self._left == 0:
            return ""
        part, position = self._inspected.places[place]
        try:
            image = self._inspected.images[part].open(position)
        except BadImage:
            return ""
        self._left -= 1
        return thumbnail(image, 128)
