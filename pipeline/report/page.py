"""The look of a report: one HTML file without external resources, light and dark, wide or narrow.

Every drawing is a tile in a grid of eight columns (four on a narrow screen), so that tiles have
one size throughout a page. Functions here escape the text they are given; markup is passed as
`Markup`, which only they and the SVG renderer make.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import NewType

from sketch_model.config import DataSpec

Markup = NewType("Markup", str)
Cell = str | int | float | None
"""Of a table; None is what is not there."""

NUM_COLUMNS = 8

_LONG_TEXT = 40
_MAX_CATEGORIES_NAMED = 8
_SOURCES = {
    "doodles": "generated doodles",
    "local": "local drawings",
    "quickdraw": "Quick, Draw! drawings",
}

_STYLE = """
:root{color-scheme:light dark;--paper:#f6f4ef;--tile:#fffefb;--ink:#1f1e1c;--muted:#6a665e;
--rule:#dfdbd2;--given:#cf5a22;--serif:"Iowan Old Style","Palatino Nova",Palatino,"Book Antiqua",
Georgia,serif;--sans:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif}
@media(prefers-color-scheme:dark){:root{--paper:#141416;--tile:#1d1d20;--ink:#ece9e2;
--muted:#a09b91;--rule:#33322f;--given:#ff9a5e}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:17px/1.55 var(--serif)}
main{max-width:1180px;margin:0 auto;padding:72px 32px 56px}
.eyebrow,dt,figcaption,.label,.caption,footer{font-family:var(--sans);color:var(--muted)}
.eyebrow{font-size:13px;letter-spacing:.09em;text-transform:uppercase;margin:0 0 10px}
h1{font-size:52px;line-height:1.08;font-weight:500;letter-spacing:-.015em;margin:0 0 18px;
overflow-wrap:anywhere}
.lede{font-size:21px;line-height:1.5;max-width:38em;margin:0}
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(220px,1fr));gap:26px 36px;
margin:40px 0 0;padding:26px 0;border:solid var(--rule);border-width:1px 0}
dt{font-size:13px;margin-bottom:4px}
dd{margin:0;font-size:16px;line-height:1.5;overflow-wrap:anywhere}
section{margin-top:68px}
h2{font-size:29px;line-height:1.2;font-weight:500;letter-spacing:-.01em;margin:0 0 8px}
section>p{max-width:42em;margin:0 0 10px;text-wrap:pretty}
section>p.caption{font-size:14px;line-height:1.5;max-width:60em}
.row{display:grid;grid-template-columns:repeat(8,minmax(0,1fr));gap:12px;margin-top:12px}
.label{font-size:14px;margin:24px 0 -4px;font-variant-numeric:tabular-nums}
figure{margin:0;display:flex;flex-direction:column}
figcaption{font-size:13px;line-height:1.3;padding:12px 2px 6px;font-variant-numeric:tabular-nums}
.tile{aspect-ratio:1;background:var(--tile);border-radius:8px}
.original .tile{background:none;box-shadow:inset 0 0 0 1px var(--rule)}
.tile svg{display:block;width:100%;height:100%}
.given{stroke:var(--given)}
.aside .original+figure{grid-column-start:3}
section>p.absent{padding:20px 24px;border:1px dashed var(--rule);border-radius:8px;
color:var(--muted)}
.scroll{overflow-x:auto;margin-top:18px}
.picture svg{display:block;width:100%;height:auto;min-width:330px}
.pictures{display:grid;gap:18px 36px;
grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr))}
.picture{max-width:600px}
table{border-collapse:collapse;font:14px/1.45 var(--sans);font-variant-numeric:tabular-nums}
th,td{padding:6px 18px 6px 0;text-align:left;vertical-align:baseline;white-space:nowrap}
th{font-weight:400;color:var(--muted);border-bottom:1px solid var(--rule)}
td.number,th.number{text-align:right}
tbody.noted tr:nth-child(odd) td{padding-bottom:0}
tbody.noted tr:nth-child(even) td{padding-bottom:12px}
tr.marked td{font-weight:600}
td.text{white-space:normal;min-width:16em;overflow-wrap:anywhere}
code{font:12.5px/1.5 ui-monospace,Menlo,Consolas,monospace;color:var(--muted);user-select:all;
white-space:normal;overflow-wrap:anywhere}
footer{margin-top:72px;padding-top:20px;border-top:1px solid var(--rule);font-size:13px}
footer p{margin:0 0 6px;max-width:60em}
@media(min-width:721px){.row+.row figcaption{display:none}}
@media(max-width:720px){
body{font-size:16px}main{padding:40px 18px 40px}h1{font-size:37px}.lede{font-size:18px}
dl{grid-template-columns:1fr;gap:16px;margin-top:28px;padding:20px 0}
section{margin-top:52px}h2{font-size:25px}
.row{grid-template-columns:repeat(4,minmax(0,1fr));gap:8px}
.row+.row{margin-top:22px;padding-top:14px;border-top:1px solid var(--rule)}
.samples .row+.row{border-top:0}
figcaption{padding:2px 0 4px;font-size:12px}
.aside .original+figure{grid-column-start:auto}
.aside .original+figure~figure:nth-child(5){grid-column-start:2}
}
@media print{body{background:#fff}section{break-inside:avoid}}
"""


def page(title: str, *, eyebrow: str, lede: str, facts: Mapping[str, str], body: Markup) -> str:
    """A whole document: heading, a table of facts, then `body`."""
    terms = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in facts.items()
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)} · {escape(eyebrow)}</title><style>{_STYLE}</style></head>\n"
        f'<body><main><header><p class="eyebrow">{escape(eyebrow)}</p><h1>{escape(title)}</h1>'
        f'<p class="lede">{escape(lede)}</p><dl>{terms}</dl></header>\n'
        f"{body}</main></body></html>\n"
    )


def section(title: str, text: str, caption: str, *body: Markup, style: str = "") -> Markup:
    """A heading, what the section shows, how it was made, and its rows."""
    return Markup(
        f'<section class="{escape(style)}"><h2>{escape(title)}</h2><p>{escape(text)}</p>'
        f'<p class="caption">{escape(caption)}</p>\n{"".join(body)}</section>\n'
    )


def absent(title: str, reason: str) -> Markup:
    """A section that this run cannot have, and why."""
    return Markup(f"<section><h2>{escape(title)}</h2>{missing(reason)}</section>\n")


def missing(reason: str) -> Markup:
    """In a section, in the place of something that cannot be shown."""
    return Markup(f'<p class="absent">{escape(reason)}</p>')


def prose(title: str, paragraphs: Iterable[str]) -> Markup:
    """A heading and text."""
    text = "".join(f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs)
    return Markup(f"<section><h2>{escape(title)}</h2>{text}</section>\n")


def picture(svg: str, description: str) -> Markup:
    """A drawing by a program, at its own proportions; the description is for screen readers."""
    return Markup(
        f'<div class="picture scroll" role="img" aria-label="{escape(description)}">{svg}</div>'
    )


def pictures(all_of_them: Iterable[Markup]) -> Markup:
    """Side by side where there is room."""
    return Markup(f'<div class="pictures">{"".join(all_of_them)}</div>\n')


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    notes: Sequence[str] = (),
    marked: int | None = None,
) -> Markup:
    """Rows of texts and numbers, in a box that scrolls if they are wider than the page.

    Args:
        header: of the columns.
        rows: a column with a number in it is aligned to the right; a long text wraps.
        notes: a line of code below each row, or none.
        marked: index of a row that stands out.
    """
    is_number = [any(isinstance(r[column], (int, float)) for r in rows)
                 for column in range(len(header))]  # fmt: skip
    heads = "".join(
        f"<th{_class(number)}>{escape(name)}</th>"
        for name, number in zip(header, is_number, strict=True)
    )
    body = ""
    for index, cells in enumerate(rows):
        kind = ' class="marked"' if index == marked else ""
        columns = "".join(
            f"<td{_class(number, cell)}>{escape(show(cell))}</td>"
            for cell, number in zip(cells, is_number, strict=True)
        )
        body += f"<tr{kind}>{columns}</tr>"
        if notes:
            code = f"<code>{escape(notes[index])}</code>"
            body += f'<tr><td class="text" colspan="{len(header)}">{code}</td></tr>'
    kind = ' class="noted"' if notes else ""
    return Markup(
        f'<div class="scroll"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody{kind}>{body}</tbody></table></div>\n"
    )


def _class(is_number: bool, cell: Cell = None) -> str:
    if is_number:
        return ' class="number"'
    return ' class="text"' if isinstance(cell, str) and len(cell) > _LONG_TEXT else ""


def show(cell: Cell) -> str:
    """A value as text; a fraction has four digits."""
    match cell:
        case None:
            return "\N{EN DASH}"
        case bool():
            return "yes" if cell else "no"
        case float():
            return f"{cell:.4g}".replace("-", "\N{MINUS SIGN}")
        case int():
            return f"{cell:,}".replace("-", "\N{MINUS SIGN}")
    return cell


def row(tiles: Iterable[Markup], label: str = "") -> Markup:
    """Up to eight tiles side by side, with a line of text above."""
    above = f'<p class="label">{escape(label)}</p>' if label else ""
    return Markup(f'{above}<div class="row">{"".join(tiles)}</div>\n')


def tile(svg: str, caption: str = "", *, original: bool = False) -> Markup:
    """One drawing; `original` sets what a person drew apart from what a model drew."""
    text = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    kind = ' class="original"' if original else ""
    return Markup(f'<figure{kind}>{text}<div class="tile">{svg}</div></figure>')


def footer(lines: Iterable[str]) -> Markup:
    """Small print."""
    return Markup(f"<footer>{''.join(f'<p>{escape(line)}</p>' for line in lines)}</footer>")


def source_of(data: DataSpec) -> str:
    """What kind of drawings they are."""
    return _SOURCES.get(data.source, data.source)


def categories_of(data: DataSpec) -> str:
    """Names of the categories, the first few if there are many."""
    names = list(data.categories)
    if len(names) > _MAX_CATEGORIES_NAMED:
        hidden = len(names) - _MAX_CATEGORIES_NAMED
        names = [*names[:_MAX_CATEGORIES_NAMED], f"{hidden} more"]
    return enumerate_names(names)


def enumerate_names(names: Sequence[str]) -> str:
    """As one says them: a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def credits_of(data: DataSpec, what: str) -> list[str]:
    """Small print on who drew the drawings; `what` names those on the page."""
    if data.source == "doodles":
        return [f"{what} were generated by a program; no person drew them."]
    if data.source == "quickdraw":
        return [f"{what}: Quick, Draw! data by Google, licensed under CC BY 4.0."]
    return []
