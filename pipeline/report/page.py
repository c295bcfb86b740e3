"""The look of a report: one HTML file without external resources, light and dark, wide or narrow.

Every drawing is a tile in a grid of eight columns (four on a narrow screen), so that tiles have
one size throughout a page. Functions here escape the text they are given; markup is passed as
`Markup`, which only they and the SVG renderer make.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import NewType

Markup = NewType("Markup", str)

NUM_COLUMNS = 8

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


def section(title: str, text: str, caption: str, body: Markup, *, style: str = "") -> Markup:
    """A heading, what the section shows, how it was made, and its rows."""
    return Markup(
        f'<section class="{escape(style)}"><h2>{escape(title)}</h2><p>{escape(text)}</p>'
        f'<p class="caption">{escape(caption)}</p>\n{body}</section>\n'
    )


def absent(title: str, reason: str) -> Markup:
    """A section that this run cannot have, and why."""
    return Markup(
        f'<section><h2>{escape(title)}</h2><p class="absent">{escape(reason)}</p></section>\n'
    )


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
