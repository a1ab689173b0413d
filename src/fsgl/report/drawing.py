"""How a report's pictures are drawn: once for a page, whose colours they take, and once for files."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsgl.files import write_atomically
from fsgl.report.web import escape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, LINE = "#1c2025", "#9aa0a6"  # of the page: replaced by its own colours
GREY = "#80868c"
# Okabe and Ito (2008, Color Universal Design), without its yellow, which is faint on white; the marker tells
# runs apart where colour does not (print, greyscale), and being seven to six they repeat together only at 42.
RUN_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
RUN_MARKERS = ("o", "s", "^", "D", "v", "P")
GROUP_COLOURS = {"many": RUN_COLOURS[0], "medium": "#CC8400", "few": RUN_COLOURS[1]}  # a darker amber: thin lines
GROUP_MARKERS = dict(zip(GROUP_COLOURS, RUN_MARKERS, strict=False))
OTHER = RUN_COLOURS[2]  # what is of no group
_SETTINGS: dict[Any, Any] = {
    "text.parse_math": False, "svg.fonttype": "none", "svg.hashsalt": "fsgl",
    "font.family": "sans-serif", "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": LINE,
    "xtick.color": INK, "ytick.color": INK, "axes.facecolor": "none", "figure.facecolor": "none",
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "grid.color": LINE,
}  # fmt: skip

Draw = Callable[["Figure"], None]


def draw(drawing: Draw, size: tuple[float, float] = (8.0, 3.4), font_size: float = 10.0) -> Figure:
    """A figure, drawn. size: in inches.  font_size: in points."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**_SETTINGS, "font.size": font_size}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a box is shown
        drawing(figure := Figure(figsize=size, layout="constrained"))
        _write_plain_numbers(figure)
        # Laid out once, and not drawn for that: each file would do so anew, which takes most of the time.
        layout = figure.get_layout_engine()
        assert layout is not None
        layout.execute(figure)
        figure.set_layout_engine(None)
    return figure


def _write_plain_numbers(figure: Figure) -> None:
    """On logarithmic axes, whose ticks would be TeX, which is not set here: class names may have dollar signs."""
    from matplotlib.ticker import FuncFormatter, LogFormatter, LogLocator, MaxNLocator, NullLocator

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if isinstance(axis.get_major_formatter(), LogFormatter):
                low, high = axis.get_view_interval()
                few = MaxNLocator(4, steps=[1, 2, 5, 10])
                axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)) if high > 10 * low else few)
                axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                axis.set_minor_locator(NullLocator())


def as_svg(figure: Figure, alt: str, name: str) -> str:
    """For a page: inline, in its colours; alt: what the picture shows, for those who do not see it.

    name: of letters, different for each figure of a page; what is numbered within is numbered by it.
    """
    text = encoded(figure, "svg").decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\b(id="|url\(#|href="#)', rf"\g<1>{name}-", text)
    text = text.replace(INK, "currentColor").replace(LINE, "var(--line)")
    text = re.sub(r' width="[^"]*pt"| height="[^"]*pt"', "", text, count=2)
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(alt)}" ', 1)


def write_files(figure: Figure, folder: Path, name: str) -> list[Path]:
    """``name``.png and ``name``.svg on white, for papers and slides."""
    figure.set_facecolor("white")
    paths = []
    for form in ("png", "svg"):
        write_atomically(path := folder / f"{name}.{form}", encoded(figure, form))
        paths.append(path)
    figure.set_facecolor("none")
    return paths


def encoded(figure: Figure, form: str) -> bytes:
    """The figure as the bytes of a "png" or "svg" file; equal figures are equal bytes."""
    import matplotlib

    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        metadata = {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
        figure.savefig(out := io.BytesIO(), format=form, metadata=metadata, dpi=150)
    return out.getvalue()
