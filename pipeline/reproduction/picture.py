"""The counterpart of the paper's Figure 4: L_R against L_KL, the paper's points beside ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipeline.atomic import replacing_file
from pipeline.reproduction.paper import WEIGHTS, Column, Figures
from pipeline.reproduction.table import Row, Table
from pipeline.search.report.marks import ACCENT, INK, MUTED
from pipeline.search.report.plots import STYLE, to_png

NAME = "figure4.png"
_PANEL_INCHES = (3.9, 3.6)
_MOST_COLUMNS = 5
_OURS: dict[str, Any] = {"color": INK, "linestyle": "-", "marker": "o", "markerfacecolor": INK}
_PAPER: dict[str, Any] = {
    "color": ACCENT,
    "linestyle": "--",
    "marker": "s",
    "markerfacecolor": "none",
}
"""Told apart by line and filling too, for a print without colours."""


def write_picture(table: Table, folder: Path) -> Path:
    """Writes figure4.png, a panel per data set, and returns its path."""
    with replacing_file(folder / NAME) as path:
        path.write_bytes(to_png(draw(table)))
    return folder / NAME


def draw(table: Table) -> Figure:
    """Curves over w_KL, and the decoder alone as a level."""
    groups = table.by_experiment()
    num_columns = min(len(groups), _MOST_COLUMNS)
    num_rows = -(-len(groups) // num_columns)
    width, height = _PANEL_INCHES
    with matplotlib.rc_context(STYLE):
        figure = Figure((width * num_columns, height * num_rows + 1.0), layout="constrained")
        panels = figure.subplots(num_rows, num_columns, squeeze=False)
        for axes, rows in zip(panels.flat, groups, strict=False):
            _draw_panel(axes, rows)
        for axes in panels.flat[len(groups) :]:
            axes.set_visible(False)
        places: dict[str, Any] = {"loc": "outside lower center", "ncols": min(num_columns, 2)}
        figure.legend(handles=_keys(table), fontsize=10, **places)
    return figure


def _draw_panel(axes: Axes, rows: Sequence[Row]) -> None:
    ours = {row.cell.column: row.ours for row in rows}
    paper = {row.cell.column: row.paper for row in rows if row.paper}
    _draw_curve(axes, paper, _PAPER, below=True)
    _draw_curve(axes, ours, _OURS, below=False)
    axes.set_title(rows[0].cell.experiment, fontsize=11, color=MUTED, loc="left")
    axes.set_xlabel("L_KL, nats per latent dimension")
    axes.set_ylabel("L_R, nats per row")
    axes.margins(0.18)


def _draw_curve(
    axes: Axes, figures: dict[Column, Figures], look: dict[str, Any], *, below: bool
) -> None:
    points = [
        (found.L_KL, found.L_R, column)
        for column in WEIGHTS
        if (found := figures.get(column)) and found.L_KL is not None
    ]
    if points:
        axes.plot([x for x, _, _ in points], [y for _, y, _ in points], linewidth=1.3, **look)
    for x, y, column in points:
        place, side = ((-5, -5), "top") if below else ((5, 5), "bottom")
        axes.annotate(
            column,
            (x, y),
            place,
            textcoords="offset points",
            fontsize=9,
            color=look["color"],
            ha="right" if below else "left",
            va=side,
        )
    if alone := figures.get(Column.decoder_only):
        axes.axhline(alone.L_R, color=look["color"], linestyle=":" if below else "-.", linewidth=1)


def _keys(table: Table) -> list[Line2D]:
    keys = [
        Line2D([], [], label="ours, by w_KL", **_OURS),
        Line2D([], [], color=INK, linestyle="-.", label="ours, decoder-only"),
    ]
    if any(row.paper for row in table.rows):
        keys += [
            Line2D([], [], label="Ha & Eck (2017), Table 1", **_PAPER),
            Line2D([], [], color=ACCENT, linestyle=":", label="theirs, decoder-only"),
        ]
    return keys
