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
Point = tuple[float, float, Column]
"""L_KL, L_R, and whose they are."""
_NEAR = 0.06
"""Share of a panel's width and height: what is nearer to each other has its names in one line."""


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
    axes.margins(0.18)
    curves = (
        ({row.cell.column: row.paper for row in rows if row.paper}, _PAPER),
        ({row.cell.column: row.ours for row in rows}, _OURS),
    )
    for figures, look in curves:
        points = _points(figures)
        if points:
            axes.plot([x for x, _, _ in points], [y for _, y, _ in points], linewidth=1.3, **look)
        if alone := figures.get(Column.decoder_only):
            style = ":" if look is _PAPER else "-."
            axes.axhline(alone.L_R, color=look["color"], linestyle=style, linewidth=1)
    for figures, look in curves:
        _name(axes, _points(figures), look)
    axes.set_title(rows[0].cell.experiment, fontsize=11, color=MUTED, loc="left")
    axes.set_xlabel("L_KL, nats per latent dimension")
    axes.set_ylabel("L_R, nats per row")


def _points(figures: dict[Column, Figures]) -> list[Point]:
    return [
        (found.L_KL, found.L_R, column)
        for column in WEIGHTS
        if (found := figures.get(column)) and found.L_KL is not None
    ]


def _name(axes: Axes, points: list[Point], look: dict[str, Any]) -> None:
    """Writes the columns beside their points: the paper's below on the left, ours opposite."""
    names: list[tuple[float, float, list[str]]] = []
    near_x, near_y = _NEAR * axes.viewLim.width, _NEAR * axes.viewLim.height
    for x, y, column in points:
        if names and abs(x - names[-1][0]) < near_x and abs(y - names[-1][1]) < near_y:
            names[-1][2].append(column)
        else:
            names.append((x, y, [column]))
    is_paper = look is _PAPER
    for x, y, columns in names:
        axes.annotate(
            ", ".join(columns),
            (x, y),
            (-5, -5) if is_paper else (5, 5),
            textcoords="offset points",
            fontsize=9,
            color=look["color"],
            ha="right" if is_paper else "left",
            va="top" if is_paper else "bottom",
        )


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
