"""A table for people, in three forms: aligned text, a coloured terminal, Markdown."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fsgl.files import csv_text

if TYPE_CHECKING:
    import rich.table

WIDTH = 100
_NAME_WIDTH = 28


@dataclass(frozen=True)
class Table:
    """Cells ready to print; the first column is text, the others are numbers or one word, set to the right.

    strong, faint: numbers of the rows to stress, and to hold back.  notes: sentences below the table.
    named: the first column holds names that others gave. On a terminal they are shortened to one line; CSV, Markdown,
    HTML and LaTeX have them whole, each so that the name can be read back.
    """

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    strong: frozenset[int] = frozenset()
    faint: frozenset[int] = frozenset()
    named: bool = False

    def shown(self) -> tuple[tuple[str, ...], ...]:
        """The rows as a terminal has them."""
        return tuple((clean_name(row[0]), *row[1:]) for row in self.rows) if self.named else self.rows

    def text(self, width: int = WIDTH) -> str:
        """Plain aligned lines for a log or a pipe; ``width`` wraps the notes only."""
        rows = self.shown()
        widths = [max(map(cells_wide, column)) for column in zip(self.headings, *rows, strict=True)]
        lines = [self.title, ""] if self.title else []
        rule = tuple("-" * width for width in widths)
        for row in (self.headings, rule, *rows):
            first, *others = (
                " " * (wide - cells_wide(cell)) + cell if column else cell + " " * (wide - cells_wide(cell))
                for column, (cell, wide) in enumerate(zip(row, widths, strict=True))
            )
            lines.append("  ".join([first, *others]).rstrip())
        if self.notes:
            lines.append("")
        for note in self.notes:
            lines += textwrap.wrap(note, width)
        return "\n".join(lines) + "\n"

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        """For notebooks."""
        from fsgl.report.web import table  # which knows this module

        return table(self)

    def markdown(self) -> str:
        """A GitHub table, the title in bold above, the notes as a list below."""
        lines = [f"**{_escaped(self.title)}**", ""] if self.title else []
        lines.append(_pipes(map(_escaped, self.headings)))
        lines.append(_pipes([":--", *["--:"] * (len(self.headings) - 1)]))
        for number, row in enumerate(self.rows):
            mark = "**" if number in self.strong else "_" if number in self.faint else ""
            lines.append(_pipes(f"{mark}{_escaped(cell)}{mark}" if cell else "" for cell in row))
        if self.notes:
            lines += ["", *(f"- {_escaped(note)}" for note in self.notes)]
        return "\n".join(lines) + "\n"

    def csv(self) -> str:
        """Headings and rows, without title and notes (RFC 4180)."""
        return csv_text([self.headings, *self.rows])

    def latex(self) -> str:
        """A ``tabular`` with booktabs' rules; title and notes as comments."""
        columns = "l" + "r" * (len(self.headings) - 1)
        comments = [f"% {line}" for text in (self.title, *self.notes) for line in textwrap.wrap(text, WIDTH)]
        rows = [" & ".join(map(_tex, row)) + r" \\" for row in (self.headings, *self.rows)]
        lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", rows[0], r"\midrule", *rows[1:], r"\bottomrule"]
        return "\n".join([*comments, *lines, r"\end{tabular}"]) + "\n"

    def rich(self) -> rich.table.Table:
        """The same for ``rich.console.Console.print``."""
        from rich import box
        from rich.table import Table as RichTable
        from rich.text import Text

        # Text everywhere: a class called "[red]" is a name, not markup
        table = RichTable(
            title=Text(self.title, style="bold") if self.title else None,
            caption=Text("\n".join(self.notes), style="dim") if self.notes else None,
            title_justify="left",
            caption_justify="left",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
        )
        for column, heading in enumerate(self.headings):
            table.add_column(Text(heading), justify="right" if column else "left", no_wrap=column > 0)
        for number, row in enumerate(self.shown()):
            style = "bold" if number in self.strong else "dim" if number in self.faint else None
            table.add_row(*map(Text, row), style=style)
        return table


def clean_name(name: str) -> str:
    """A name fit for one cell: one line, no control characters, not too wide."""
    name = "".join(c if c.isprintable() else " " for c in str(name)).strip() or "(no name)"
    if cells_wide(name) <= _NAME_WIDTH:
        return name
    while cells_wide(name) >= _NAME_WIDTH:
        name = name[:-1]
    return name + "\u2026"


def cells_wide(text: str) -> int:
    """Columns of a terminal that ``text`` takes."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def _escaped(cell: str) -> str:
    """For Markdown. Spaces at the ends, which a table would lose, and what breaks a line are entities."""
    cell = re.sub(r"&(?=#?\w+;)", "&amp;", cell)
    text = "".join(f"\\{c}" if c in "\\|*_`<[" else f"&#{ord(c)};" if _breaks(c) else c for c in cell)
    return re.sub(r"^ +| +$", lambda spaces: "&#32;" * len(spaces[0]), text)


def _breaks(c: str) -> bool:
    return unicodedata.category(c) in ("Cc", "Zl", "Zp")


_TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--",
    "<": r"\textless{}", ">": r"\textgreater{}",
    "\n": r"\newline{}", "\0": "{}",
    "[": "{[}", "*": "{*}",  # after the end of a row, or a rule, they would be taken for its argument
}  # fmt: skip


def _tex(cell: str) -> str:
    """For LaTeX. No space at the ends or beside another is lost; a newline is ``\\newline{}``."""
    cell = cell.replace("--", "-\0-")  # which would be printed as one dash
    text = "".join(_TEX.get(c) or (f"\\symbol{{{ord(c)}}}" if _breaks(c) else c) for c in cell)
    return re.sub(r"^ +| {2,}| +$", lambda spaces: "\\ " * len(spaces[0]), text)


def _pipes(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
