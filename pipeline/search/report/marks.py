"""How a trial looks in a picture: colour, shape and size are each of a searched field."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipeline.search.outcome import Status, Trial
from pipeline.search.report.scale import Kind, Scale
from pipeline.search.report.terms import in_picture, in_picture_value

INK, MUTED, RULE, TILE, ACCENT = "#1f1e1c", "#6a665e", "#dfdbd2", "#fffefb", "#cf5a22"
# Both ends of viridis vanish, on dark or on light.
COLOURS: Colormap = ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0.22, 0.92, 256)))
_MARKERS = "os^Dv*P"
_AREA, _AREAS, _WINNERS_AREA = 60.0, (40.0, 150.0), 330.0
_LEADING = ("loss.w_KL", "model.N_z", "model.M")


@dataclass(frozen=True)
class Coded:
    """A field that is told by one property of the marks."""

    field: str
    scale: Scale

    def position(self, trial: Trial) -> float:
        """Of a trial's value on the scale."""
        return self.scale.position(trial.values.get(self.field))

    def fits_shapes(self) -> bool:
        """Whether there are as many shapes as values."""
        return len(self.scale.values) <= len(_MARKERS)

    def fits_sizes(self) -> bool:
        """Whether the values have an order."""
        return self.scale.kind is not Kind.names


def scales_of(trials: Sequence[Trial]) -> dict[str, Scale]:
    """Of every field that was varied, over all trials."""
    fields = dict.fromkeys(name for trial in trials for name in trial.values)
    scales = {name: Scale.of(trial.values.get(name) for trial in trials) for name in fields}
    return {name: scale for name, scale in scales.items() if len(scale.values) > 1}


@dataclass(frozen=True)
class Marks:
    """Draws trials, and explains how."""

    colour: Coded | None
    shape: Coded | None
    size: Coded | None

    @classmethod
    def of(cls, trials: Sequence[Trial], without: str = "") -> Marks:
        """With w_KL, N_z and M in their places if they are searched, and others in what is left."""
        left = [Coded(*item) for item in scales_of(trials).items() if item[0] != without]
        left.sort(key=lambda c: _LEADING.index(c.field) if c.field in _LEADING else len(_LEADING))

        def take(is_fit: Callable[[Coded], bool]) -> Coded | None:
            found = next(filter(is_fit, left), None)
            if found:
                left.remove(found)
            return found

        return cls(take(lambda coded: True), take(Coded.fits_shapes), take(Coded.fits_sizes))

    def draw(
        self, axes: Axes, trial: Trial, x: float, y: float, *, is_best: bool, is_winner: bool
    ) -> None:
        """One trial; hollow if it was stopped early."""
        colour = COLOURS(self.colour.position(trial) if self.colour else 0.5)
        is_hollow = trial.status is Status.stopped
        axes.scatter(
            [x],
            [y],
            s=self._area(self.size.position(trial)) if self.size else _AREA,
            marker=self._marker(trial),
            facecolor="none" if is_hollow else colour,
            edgecolor=colour if is_hollow else INK if is_best else MUTED,
            linewidth=1.3 if is_hollow or is_best else 0.6,
            alpha=1.0 if is_best or is_hollow else 0.75,
            zorder=4 if is_best else 3,
        )
        if is_winner:
            axes.scatter(
                [x], [y], s=_WINNERS_AREA, facecolor="none", edgecolor=ACCENT, linewidth=1.8
            )

    def explain(self, figure: Figure, axes: Axes, trials: Sequence[Trial]) -> list[Line2D]:
        """Draws the scale of the colours, and returns what else a legend has to say."""
        if self.colour:
            bar = figure.colorbar(
                ScalarMappable(Normalize(0, 1), COLOURS), ax=axes, fraction=0.05, pad=0.03
            )
            positions, labels = zip(*self.colour.scale.ticks(), strict=True)
            bar.set_ticks(positions, labels=labels)
            bar.outline.set_visible(False)
            bar.ax.set_title(in_picture(self.colour.field), fontsize=11, pad=8)
        keys = []
        if self.shape:
            name = in_picture(self.shape.field)
            # The labels of all values, which the ticks leave out if they would overlap.
            for marker, value in zip(_MARKERS, self.shape.scale.values, strict=False):
                keys.append(_key(f"{name} = {in_picture_value(value)}", marker))
        if self.size:
            name = in_picture(self.size.field)
            for position, label in self.size.scale.ticks():
                keys.append(_key(f"{name} = {label}", "o", self._area(position)))
        keys.append(_key("winner", "o", 130.0, edge=ACCENT, face="none"))
        if any(trial.status is Status.stopped for trial in trials):
            keys.append(_key("stopped early", "o", face="none"))
        return keys

    def _marker(self, trial: Trial) -> str:
        if not self.shape:
            return _MARKERS[0]
        return _MARKERS[self.shape.scale.values.index(trial.values.get(self.shape.field))]

    def _area(self, position: float) -> float:
        low, high = _AREAS
        return low + (high - low) * position


def _key(
    label: str, marker: str, area: float = _AREA, *, edge: str = MUTED, face: str = MUTED
) -> Line2D:
    return Line2D(
        [],
        [],
        linestyle="",
        marker=marker,
        markersize=math.sqrt(area),
        markerfacecolor=face,
        markeredgecolor=edge,
        label=label,
    )
