"""The outlines of SVG shapes as cubic Bézier curves, and those as points."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import svgelements
from numpy.typing import NDArray

MAX_CURVES = 100_000
"""Of a shape, and of a drawing."""
MAX_POINTS = 1 << 20
"""Of a drawing, before it is simplified."""

Curves = NDArray[np.complex128]
"""The four control points of each curve as x + iy, [C, 4]; each begins where the last one ends."""
MALFORMED = (ValueError, TypeError, IndexError, AttributeError, ArithmeticError)
"""What svgelements raises over values that mean nothing."""


class TooComplexError(ValueError):
    """A document beyond a bound."""


class _Point(NamedTuple):
    x: float
    y: float


_Place = tuple[float, float] | str
"""Coordinates, or the letter that closes a sub-path in their place."""


class Pen:
    """Draws what svgelements' reader of path data tells it, each sub-path a stroke.

    Curves of every kind become cubic ones, which is exact but for arcs: those are off by less than
    a hundred-thousandth of their radius. svgelements' own `Path` would do, if it did not look
    through all that it has at every `z`.
    """

    def __init__(self) -> None:
        self._strokes: list[list[tuple[complex, ...]]] = []
        self._is_open = False
        self._at: complex | None = None
        self._begin = 0j
        self._mirrored: dict[int, complex] = {}
        """By degree: the control point before the last end, if the last curve is of that degree."""
        self._num_curves = 0

    def follow(self, path_data: str) -> None:
        """Draws path data up to the first error, as browsers do."""
        try:
            svgelements.SVGLexicalParser().parse(self, path_data)
        except TooComplexError:
            raise
        except MALFORMED:
            pass

    def trace(self, segments: Iterable[Any]) -> None:
        """Draws a shape of svgelements."""
        for segment in segments:
            match segment:
                case svgelements.Move():
                    self.move(segment.end)
                case svgelements.Arc():
                    self._add_arc(segment)
                case svgelements.Close():
                    self.closed()
                case _:
                    self.line(segment.end)

    def finish(self) -> list[Curves]:
        """The strokes; a place where the pen only moves to is none."""
        return [np.array(stroke, dtype=np.complex128) for stroke in self._strokes]

    # What the reader of path data calls. Coordinates are absolute, but for h and v.

    def start(self) -> None:
        """Nothing is left to do."""

    def end(self) -> None:
        """Nothing is left to do."""

    @property
    def current_point(self) -> _Point | None:
        """Where relative coordinates begin."""
        return None if self._at is None else _Point(self._at.real, self._at.imag)

    def move(self, place: _Place, relative: bool = False) -> None:
        """M and m."""
        self._at = self._begin = self._find(place)
        self._is_open, self._mirrored = False, {}

    def closed(self, relative: bool = False) -> None:
        """Z and z."""
        self.line("z")
        self._is_open = False

    def line(self, place: _Place, relative: bool = False) -> None:
        """L and l."""
        start, end = self._here, self._find(place)
        step = (end - start) / 3
        self._add(start + step, end - step, end)

    def horizontal(self, x: float, relative: bool = False) -> None:
        """H and h."""
        self.line((x + self._here.real * relative, self._here.imag))

    def vertical(self, y: float, relative: bool = False) -> None:
        """V and v."""
        self.line((self._here.real, y + self._here.imag * relative))

    def cubic(self, first: _Place, second: _Place, place: _Place, relative: bool = False) -> None:
        """C and c."""
        control = self._find(second)
        self._add(self._find(first), control, self._find(place))
        self._mirrored = {3: control}

    def smooth_cubic(self, second: _Place, place: _Place, relative: bool = False) -> None:
        """S and s."""
        first = self._reflect(3)
        self.cubic((first.real, first.imag), second, place)

    def quad(self, middle: _Place, place: _Place, relative: bool = False) -> None:
        """Q and q."""
        start, control, end = self._here, self._find(middle), self._find(place)
        self._add(start + (control - start) * (2 / 3), end + (control - end) * (2 / 3), end)
        self._mirrored = {2: control}

    def smooth_quad(self, place: _Place, relative: bool = False) -> None:
        """T and t."""
        control = self._reflect(2)
        self.quad((control.real, control.imag), place)

    def arc(
        self,
        rx: float,
        ry: float,
        rotation: float,
        is_large: bool,
        sweeps: bool,
        place: _Place,
        relative: bool = False,
    ) -> None:
        """A and a."""
        start, end = self._here, self._find(place)
        if not rx or not ry or start == end:
            self.line(place)
            return
        ends = [_Point(each.real, each.imag) for each in (start, end)]
        self._add_arc(
            svgelements.Arc(ends[0], abs(rx), abs(ry), rotation, is_large, sweeps, ends[1])
        )

    @property
    def _here(self) -> complex:
        if self._at is None:
            raise ValueError("path data that does not begin with a move")
        return self._at

    def _find(self, place: _Place) -> complex:
        return self._begin if isinstance(place, str) else complex(place[0], place[1])

    def _reflect(self, degree: int) -> complex:
        return 2 * self._here - self._mirrored.get(degree, self._here)

    def _add(self, first: complex, second: complex, end: complex) -> None:
        self._num_curves += 1
        if self._num_curves > MAX_CURVES:
            raise TooComplexError(f"more than {MAX_CURVES} curves")
        if not self._is_open:
            self._strokes.append([])
            self._is_open = True
        self._strokes[-1].append((self._here, first, second, end))
        self._at, self._mirrored = end, {}

    def _add_arc(self, arc: Any) -> None:
        for curve in arc.as_cubic_curves():
            self._add(*(complex(*point) for point in (curve.control1, curve.control2, curve.end)))


def transform(curves: Curves, matrix: NDArray[np.float64]) -> Curves:
    """The curves under an affine map [3, 3]."""
    (a, c, e), (b, d, f), _ = matrix
    x, y = curves.real, curves.imag
    moved: Curves = (a * x + c * y + e) + 1j * (b * x + d * y + f)
    return moved


def flatten(curves: Curves, tolerance: float) -> NDArray[np.complex128]:
    """Points along curves, first and last included, whose chords are within `tolerance` of them.

    Raises:
        TooComplexError: if that takes too many points.
    """
    # A curve is within |B''| / 8 of its chord, and n equal pieces are within 1 / n^2 of that.
    bend = np.abs(curves[:, 2:] - 2 * curves[:, 1:3] + curves[:, :2]).max(axis=1)
    num = np.maximum(np.ceil(np.sqrt(0.75 * bend / tolerance)), 1).astype(np.int64)
    if num.sum() > MAX_POINTS:
        raise TooComplexError(f"curves of more than {MAX_POINTS} points")
    first = np.cumsum(num) - num
    share = (np.arange(num.sum()) - np.repeat(first, num) + 1) / np.repeat(num, num)
    p0, p1, p2, p3 = np.repeat(curves, num, axis=0).T
    rest = 1 - share
    points = rest**3 * p0 + 3 * rest**2 * share * p1 + 3 * rest * share**2 * p2 + share**3 * p3
    return np.concatenate([curves[:1, 0], points])
