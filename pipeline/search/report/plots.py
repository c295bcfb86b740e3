"""Pictures of a search: what its trials reached, and what made the difference."""

from __future__ import annotations

import io
import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.search.outcome import RATE, Goal, Status, Trial, find_winner, pareto_front
from pipeline.search.report.importance import Importance
from pipeline.search.report.marks import ACCENT, COLOURS, INK, MUTED, RULE, TILE, Marks, scales_of
from pipeline.search.report.terms import in_picture, term_of

_VARIABLES = {INK: "ink", MUTED: "muted", RULE: "rule", TILE: "tile", ACCENT: "given"}
"""The page's own colours, so that a picture inside it is light or dark as the page is."""
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.facecolor": TILE,
    "figure.facecolor": TILE,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.hashsalt": "search",
}
_WIDTH_INCHES, _HEIGHT_INCHES = 5.6, 5.4
_MARGIN = 0.1
_MAX_NUMBERED = 16


def picture_trials(trials: Sequence[Trial], goal: Goal) -> dict[str, Figure]:
    """By name: each two figures of the goal, or the only one against each field that was varied.

    The frame holds all trials that finished. Those that were stopped early are hollow, at what they
    had reached; what is not drawn is counted above. Nothing if no trial has finished.
    """
    if not pareto_front(trials, goal):
        return {}
    with matplotlib.rc_context(STYLE):
        if len(goal.names) > 1:
            names = sorted(goal.names, key=lambda name: name != RATE)  # across, as in the paper
            pairs = itertools.combinations(names, 2)
            return {f"{x}-{y}": _picture_pair(trials, goal, x, y) for x, y in pairs}
        (y,) = goal.names
        return {
            f"{y}-{field}": _picture_field(trials, goal, field, y) for field in scales_of(trials)
        }


def picture_importance(importance: Importance) -> Figure:
    """Bars of the shares, with what resampling and chance make of them.

    Raises:
        ValueError: if there are none.
    """
    if not importance.shares:
        raise ValueError(f"there are no shares to draw: {importance.reason}")
    with matplotlib.rc_context(STYLE):
        shares = list(importance.shares.values())
        figure = _figure(1.7 + 0.5 * len(shares))
        axes = figure.add_subplot()
        places = np.arange(len(shares))
        axes.barh(places, [s.value for s in shares], 0.55, color=COLOURS(0.45), edgecolor=INK)
        lows, highs = [s.low for s in shares], [s.high for s in shares]
        axes.hlines(places, lows, highs, color=INK, label="resampled trials, 90 %")
        chance = [s.by_chance for s in shares]
        axes.vlines(chance, places - 0.4, places + 0.4, color=ACCENT, label="by chance")
        axes.set_yticks(places, [in_picture(name) for name in importance.shares])
        axes.tick_params(axis="y", labelcolor=INK, length=0)
        axes.grid(visible=False, axis="y")
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        term = term_of(importance.figure)
        axes.set_xlabel(f"share of the variance of the {term.name or term.symbol}")
        _caption(axes, f"{importance.num_trials} trials")
        figure.legend(loc="outside lower center", ncols=2, fontsize=10)
    return figure


def to_png(figure: Figure) -> bytes:
    """For MLflow; on a light ground."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()


def to_svg(figure: Figure) -> str:
    """An `<svg>` element that takes the colours of the page it stands in."""
    buffer = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)  # the same ones in each picture of a page
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    for colour, name in _VARIABLES.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg


@dataclass(frozen=True)
class _Point:
    x: float
    y: float
    trial: Trial


def _picture_pair(trials: Sequence[Trial], goal: Goal, x: str, y: str) -> Figure:
    figure, axes, points = _draw(trials, goal, y, lambda trial: trial.figures.get(x))
    axes.set_xlim(*_span([point.x for point in points if _is_finished(point)]))
    if len(goal.names) == 2:  # a front of three figures is a surface
        front = sorted((trial.figures[x], trial.figures[y]) for trial in pareto_front(trials, goal))
        axes.plot(*np.array(front).T, color=MUTED, linewidth=1.2, zorder=2, label="front")
    axes.set_xlabel(term_of(x).axis)
    _finish(figure, axes, trials, points)
    return figure


def _picture_field(trials: Sequence[Trial], goal: Goal, field: str, y: str) -> Figure:
    scale = scales_of(trials)[field]

    def place(trial: Trial) -> float:
        return scale.position(trial.values.get(field))

    figure, axes, points = _draw(trials, goal, y, place, without=field)
    positions, labels = zip(*scale.ticks(), strict=True)
    axes.set_xticks(positions, labels=labels)
    axes.set_xlim(*_span([0.0, 1.0]))
    axes.set_xlabel(in_picture(field))
    _finish(figure, axes, trials, points)
    return figure


def _draw(
    trials: Sequence[Trial],
    goal: Goal,
    y: str,
    place: Callable[[Trial], float | None],
    without: str = "",
) -> tuple[Figure, Axes, list[_Point]]:
    """The trials that have both coordinates, in a frame as high as those that finished."""
    figure = _figure(_HEIGHT_INCHES)
    axes = figure.add_subplot()
    points = list(filter(None, (_point(trial, place(trial), y) for trial in trials)))
    marks = Marks.of(trials, without)
    front = {trial.number for trial in pareto_front(trials, goal)}
    winner = find_winner(trials, goal)
    for point in points:
        is_best, is_winner = point.trial.number in front, point.trial is winner
        marks.draw(axes, point.trial, point.x, point.y, is_best=is_best, is_winner=is_winner)
        if is_best and len(front) <= _MAX_NUMBERED:
            axes.annotate(
                str(point.trial.number),
                (point.x, point.y),
                (7, 7),
                textcoords="offset points",
                fontsize=9,
                color=INK,
                zorder=5,
            )
    axes.set_ylim(*_span([point.y for point in points if _is_finished(point)]))
    axes.set_ylabel(term_of(y).axis)
    keys = marks.explain(figure, axes, trials)
    figure.legend(handles=keys, loc="outside lower center", ncols=3, fontsize=10)
    return figure, axes, points


def _finish(figure: Figure, axes: Axes, trials: Sequence[Trial], points: Sequence[_Point]) -> None:
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    num_beyond = sum(not (left <= p.x <= right and bottom <= p.y <= top) for p in points)
    counts = Counter(trial.status for trial in trials)
    num_stopped = sum(point.trial.status is Status.stopped for point in points)
    num_without = counts[Status.stopped] - num_stopped  # drawings are judged at a trial's end
    beyond = f"; {num_beyond} beyond the frame" if num_beyond else ""
    beyond += f"; {num_without} without the figures" if num_without else ""
    told = {
        Status.finished: "finished",
        Status.stopped: f"stopped early (hollow{beyond})",
        Status.failed: "failed (not drawn)",
        Status.unfinished: "unfinished (not drawn)",
    }
    lines = [f"{counts[status]} {words}" for status, words in told.items() if counts[status]]
    _caption(
        axes, "\n".join([", ".join(lines[:2]), *([", ".join(lines[2:])] if lines[2:] else [])])
    )


def _point(trial: Trial, x: float | None, y: str) -> _Point | None:
    height = trial.figures.get(y)
    if trial.status not in (Status.finished, Status.stopped) or x is None or height is None:
        return None
    return _Point(x, height, trial) if math.isfinite(x) and math.isfinite(height) else None


def _is_finished(point: _Point) -> bool:
    return point.trial.status is Status.finished


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = _MARGIN * (high - low) or 1.0
    return low - margin, high + margin


def _caption(axes: Axes, text: str) -> None:
    axes.set_title(text, fontsize=10, color=MUTED, loc="left", pad=12)


def _figure(height_inches: float) -> Figure:
    return Figure(figsize=(_WIDTH_INCHES, height_inches), layout="constrained")
