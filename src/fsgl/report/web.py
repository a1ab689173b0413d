"""Self-contained HTML pages: no other file, no network, no script, light and dark, on a phone and on paper.

They are made by the templates beside this file, which escape every value; the one stylesheet is style.css.
"""

from __future__ import annotations

import functools
import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from fsgl.report.render import Table

if TYPE_CHECKING:
    from jinja2 import Environment

LONG = 30  # characters: longer cells are sentences


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("fsgl.report", "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=escape,
    )  # fmt: skip
    made.filters["code"] = _with_code
    return made


def render(template: str, **values: object) -> str:
    """A document of its own template, by the name of its file."""
    return _environment().get_template(template).render(values) + "\n"


def page(title: str, sections: Iterable[Markup]) -> str:
    """A whole document. sections: of the functions below; a plain text among them would be shown as it is."""
    return render("page.html", title=title, sections=list(sections))


def fragment(sections: Iterable[Markup]) -> Markup:
    """Sections without a document around them, as a notebook shows them."""
    return Markup("").join(sections)


def _part(name: str, *values: object) -> Markup:
    return Markup(getattr(_environment().get_template("parts.html").module, name)(*values))


def escape(value: object) -> Markup:
    """As text of a page. Surrogates, which stand for bytes of a file name that are no UTF-8, become question marks."""
    if isinstance(value, Markup):
        return value
    return Markup(html.escape(str(value).encode("utf-8", "replace").decode()).replace("\r", "&#13;"))


def heading(title: str, about: str = "", cards: Mapping[str, object] | None = None) -> Markup:
    """What a page begins with. about: a sentence below.  cards: single figures by their names."""
    return _part("heading", title, about, cards or {})


def section(title: str, paragraphs: Sequence[str], kind: str = "") -> Markup:
    """Paragraphs below a heading, which may be "". kind: "soft" or "warn"."""
    return _part("section", title, paragraphs, kind)


def notes(lines: Sequence[str], summary: str = "") -> Markup:
    """A list of what was noted of the images; a leak stands out. summary: what it can be folded into."""
    return _part("notes", lines, summary)


def mistakes(title: str, about: str, found: Sequence[object], names: Sequence[str]) -> Markup:
    """Cards of ``examination.worst_mistakes``. names: of the classes."""
    return _part("mistakes", title, about, found, names)


def table(content: Table) -> Markup:
    """A table with its title as a heading and its notes below; wide ones scroll by themselves.

    Where the last column holds sentences a phone shows each row as a block, the sentence first. A first column of
    names keeps spaces and lines.
    """
    return _part("table", content, LONG)


def figure(svg: str, caption: str, title: str = "") -> Markup:
    """A picture with what it shows in words; svg: of ``drawing.as_svg``, which carries its own text for readers."""
    return _part("figure", Markup(svg), caption, title)


def _with_code(note: str) -> Markup:
    """What stands in backticks, as Markdown has it, is code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(note))))
