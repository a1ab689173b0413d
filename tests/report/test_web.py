from __future__ import annotations

import csv
import html
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fsgl.report.render import Table
from fsgl.report.web import escape, figure, page, table

AWKWARD = Table(
    "A & B", ("name", "100 %"),
    (("<script>", "1.5 ± 0.2"), ('a "b", c_d', "–"), ("x\\y{z}~^#$", "< 0.001")), ("drawn with `ldam` & more",),
    frozenset({0}), frozenset({1}),
)  # fmt: skip


def test_table_is_escaped_and_complete() -> None:
    cells: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag != "script"

        def handle_data(self, data: str) -> None:
            cells.append(data)

    text = table(AWKWARD)
    Reader().feed(text)
    for row in (AWKWARD.headings, *AWKWARD.rows):
        assert all(cell in cells for cell in row)
    assert "<tr class=strong><td>&lt;script&gt;" in text
    assert "<code>ldam</code> &amp; more" in text


def test_page_lets_nothing_in() -> None:
    text = page("<t>", ["<p>hello"])
    assert "<title>&lt;t&gt;</title>" in text
    assert "default-src 'none'" in text
    assert "http" not in text.replace("http-equiv", "")
    assert "<figcaption>a &lt; b</figcaption>" in figure("<svg/>", "a < b")
    assert escape("\udcff") == "?"


def test_csv_is_read_back() -> None:
    assert list(csv.reader(io.StringIO(AWKWARD.csv()))) == [list(row) for row in (AWKWARD.headings, *AWKWARD.rows)]


NAMES = (
    "line\nbreak", " lead", "trail  ", "a,b", 'say "x"', "\U0001f436", "007", "a|b", "--", "&amp;", "\t", "two  in",
    "~^", "% # _", "<b>", "x\\y", "*a*", "[red]", "`c`", "{}", "$x$", "&", "r\r", "\\newline{}", "\u2028",
)  # fmt: skip
NAMED = Table("", ("class", "n"), tuple((name, "1") for name in NAMES), named=True)


def test_names_are_read_back_from_html() -> None:
    found: list[str] = []

    class Reader(HTMLParser):
        inside = False

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.inside = ("class", "name") in attrs
            found.extend([""] * self.inside)

        def handle_data(self, data: str) -> None:
            if self.inside:
                found[-1] += data

        def handle_endtag(self, tag: str) -> None:
            self.inside = False

    Reader().feed(table(NAMED))
    assert tuple(found) == NAMES
    assert [row[0] for row in csv.reader(io.StringIO(NAMED.csv(), newline=""))][1:] == list(NAMES)


def test_names_are_read_back_from_latex_and_markdown() -> None:
    plain = {
        r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"\textless{}": "<",
        r"\textgreater{}": ">", r"\newline{}": "\n", "{[}": "[", "{*}": "*", "-{}-": "--", r"\ ": " ",
        **{f"\\{c}": c for c in "{}&%$#_"}, **{rf"\symbol{{{ord(c)}}}": c for c in "\t\r\u2028"},
    }  # fmt: skip
    any_of = "|".join(re.escape(code) for code in plain)
    rows = [line.removesuffix(r" & 1 \\") for line in NAMED.latex().split("\n") if line.endswith(r" & 1 \\")]
    assert tuple(re.sub(any_of, lambda code: plain[code[0]], row) for row in rows) == NAMES
    rows = [line.removeprefix("| ").removesuffix(" | 1 |") for line in NAMED.markdown().split("\n")[2:-1]]
    assert tuple(html.unescape(re.sub(r"\\(.)", lambda c: f"&#{ord(c[1])};", row)) for row in rows) == NAMES


def test_names_on_a_terminal_are_one_line() -> None:
    assert len(NAMED.text().splitlines()) == len(NAMES) + 2


def test_latex_has_a_row_a_line_and_no_bare_special() -> None:
    lines = AWKWARD.latex().splitlines()
    assert lines[0] == "% A & B"
    body = lines[lines.index(r"\midrule") + 1 : lines.index(r"\bottomrule")]
    assert body == [
        r"\textless{}script\textgreater{} & 1.5 $\pm$ 0.2 \\",
        r'a "b", c\_d & -- \\',
        r"x\textbackslash{}y\{z\}\textasciitilde{}\textasciicircum{}\#\$ & \textless{} 0.001 \\",
    ]
    assert r"name & 100 \% \\" in lines


def test_latex_takes_no_cell_for_the_argument_of_what_is_before_it() -> None:
    """A row's end and a rule look for a star or a bracket behind them, over the end of the line."""
    body = Table("", ("[x]", "n"), (("[red]", "1"), ("*", "2"))).latex()
    assert [line.split(" &")[0] for line in body.splitlines() if "&" in line] == ["{[}x]", "{[}red]", "{*}"]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
def test_latex_compiles(tmp_path: Path) -> None:
    tables = AWKWARD.latex() + Table("", ("class", "n"), (("line\nbreak  two -- ", "1"),), named=True).latex()
    whole = r"\documentclass{article}\usepackage{booktabs}\begin{document}" + tables + r"\end{document}"
    (tmp_path / "t.tex").write_text(whole)
    subprocess.run(["pdflatex", "-interaction=nonstopmode", "t.tex"], cwd=tmp_path, check=True, capture_output=True)
