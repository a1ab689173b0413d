"""Self-contained HTML pages: no other file, no network, no script, light and dark, on a phone and on paper."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

from fsgl.report.render import Table

LONG = 30  # characters: longer cells are sentences
STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #5f6872; --line: #dfe3e8; --paper: #fff; --bar: #3a6ea5;
  --warn: #a1440b; --more: #0004; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --soft: #9aa4ae; --line: #343a41; --paper: #16191c;
  --bar: #79aee0; --warn: #f0a06a; --more: #fff5; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  padding: 1.5rem; max-width: 70rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p, li { max-width: 46rem; } .soft { color: var(--soft); } .warn { color: var(--warn); }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .75rem; margin: 1rem 0; }
dt { color: var(--soft); font-size: .85rem; } dd { margin: 0; font-size: 1.25rem; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .3rem .6rem .3rem 0;
  border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: break-word; }
td.path { overflow-wrap: anywhere; min-width: 11rem; }
th { font-weight: 600; color: var(--soft); } td.n { font-variant-numeric: tabular-nums; white-space: nowrap; }
img { height: 64px; max-width: 96px; object-fit: contain; border-radius: 4px; margin-right: .4rem;
  vertical-align: middle; }
svg { width: 100%; height: 200px; display: block; } code { overflow-wrap: anywhere; }
.scroll { max-height: 26rem; overflow: auto; } .wide { overflow-x: auto; }
.wide td { white-space: nowrap; } .wide th { vertical-align: bottom; overflow-wrap: normal; }
.wide { position: relative; left: 50%; transform: translateX(-50%); width: max-content; min-width: 100%;
  max-width: calc(100vw - 3rem); }
.wide td:not(:first-child), .wide th:not(:first-child) { text-align: right; font-variant-numeric: tabular-nums; }
.wide td.name { white-space: pre-wrap; min-width: 6rem; }
.wide td.long { white-space: normal; min-width: 15rem; text-align: left; }
.told tr.head th:last-child { text-align: left; }
tr.strong td { font-weight: 600; } tr.faint td { color: var(--soft); }
figure { margin: 1rem 0; break-inside: avoid; } figcaption { color: var(--soft); max-width: 46rem; }
figure div { overflow-x: auto; }
/* A shadow at the edge behind which there is more; covers of the page's colour, which move with what is scrolled, hide
   it where the end is reached. */
.scroll, .wide, figure div { scrollbar-width: thin; background:
  linear-gradient(90deg, var(--paper) 40%, transparent) left / 2.5rem 100% no-repeat local,
  linear-gradient(270deg, var(--paper) 40%, transparent) right / 2.5rem 100% no-repeat local,
  linear-gradient(90deg, var(--more), transparent) left / .8rem 100% no-repeat scroll,
  linear-gradient(270deg, var(--more), transparent) right / .8rem 100% no-repeat scroll; }
figure svg { height: auto; min-width: 34rem; max-width: 52rem; color: var(--ink); }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: .75rem; padding: 0; }
.cards li { list-style: none; font-size: .85rem; overflow-wrap: anywhere; break-inside: avoid; }
.cards img { display: block; width: 96px; height: 96px; object-fit: contain; image-rendering: pixelated; margin: 0; }
@media (max-width: 40rem) { .told tr { display: block; padding: .5rem 0; border-bottom: 1px solid var(--line); }
  .told tr.head { display: none; } .told td, .told td:not(:first-child) { display: block; border: 0; padding: 0;
    text-align: left; white-space: normal; min-width: 0; }
  .told tr { display: flex; flex-direction: column; } .told td:first-child { order: -2; font-weight: 600; }
  .told td.long { order: -1; margin-bottom: .3rem; }
  .told td:not(:first-child):not(.long)::before { content: attr(data-of) ": "; color: var(--soft); } }
@media print { body { max-width: none; padding: 0; } .scroll { max-height: none; overflow: visible; }
  .wide { overflow: visible; font-size: .7rem; left: 0; transform: none; width: auto; max-width: none; }
  .wide td, .wide th { white-space: normal; overflow-wrap: anywhere; padding-right: .35rem; }
  .wide td.long { min-width: 0; }
  figure svg { min-width: 0; } }
"""


def page(title: str, sections: Iterable[str]) -> str:
    """A whole document. sections: HTML."""
    head = f"<meta charset=utf-8><meta name=viewport content='width=device-width'><title>{escape(title)}</title>"
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    head += f'<meta http-equiv=Content-Security-Policy content="{policy}"><style>{STYLE}</style>'
    body = "\n".join(sections)
    return f"<!doctype html>\n<html lang=en><head>{head}</head>\n<body>{body}</body></html>\n"


def escape(value: object) -> str:
    """As text of a page. Surrogates, which stand for bytes of a file name that are no UTF-8, become question marks."""
    return html.escape(str(value).encode("utf-8", "replace").decode()).replace("\r", "&#13;")


def table(content: Table) -> str:
    """A table with its title as a heading and its notes below; wide ones scroll by themselves.

    Where the last column holds sentences a phone shows each row as a block, the sentence first.
    """
    heading = f"<h2>{escape(content.title)}</h2>" if content.title else ""
    titles = "".join(f"<th scope=col>{escape(name)}</th>" for name in content.headings)
    told = any(len(row[-1]) > LONG for row in content.rows)
    rows = []
    for number, row in enumerate(content.rows):
        kind = " class=strong" if number in content.strong else " class=faint" if number in content.faint else ""
        cells = (
            _cell(
                text, content.headings[column] if told else None, content.named and not column,
                told and column == len(row) - 1,
            )
            for column, text in enumerate(row)
        )  # fmt: skip
        rows.append(f"<tr{kind}>" + "".join(cells) + "</tr>")
    notes = "".join(f"<p class=soft>{with_code(note)}</p>" for note in content.notes)
    kind = '"wide told"' if told else "wide"
    body = f"<table><tr class=head>{titles}</tr>{''.join(rows)}</table>"
    return f"{heading}<div class={kind} tabindex=0>{body}</div>{notes}"


def _cell(text: str, heading: str | None, name: bool, sentence: bool) -> str:
    """heading: of its column, where the table may be shown without its first row.  name: spaces and lines stay.
    sentence: of a column of sentences, however short."""
    if name:
        return f"<td class=name>{escape(text)}</td>"
    of = f' data-of="{escape(heading)}"' if heading else ""
    return f"<td{' class=long' if sentence or len(text) > LONG else ''}{of}>{escape(text)}</td>"


def with_code(note: str) -> str:
    """What stands in backticks, as Markdown has it, is code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(note))


def figure(svg: str, caption: str) -> str:
    """A picture with what it shows in words; svg: of ``figures.as_svg``, which carries its own text for readers."""
    return f"<figure><div tabindex=0>{svg}</div><figcaption>{escape(caption)}</figcaption></figure>"
