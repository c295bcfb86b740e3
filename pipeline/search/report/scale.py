"""The values of a searched field on a line from 0 to 1."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.search.report.terms import in_picture_value

_MAX_NAMED = 8
_LEAST_GAP = 0.07


class Kind(StrEnum):
    """What the distance of two values is measured by."""

    linear = "linear"
    logarithmic = "logarithmic"
    names = "names"
    """By nothing: texts, switches and null stand side by side."""


@dataclass(frozen=True)
class Scale:
    """Places the values that were tried: the lowest at 0, the highest at 1."""

    values: tuple[Any, ...]
    """Each once, in their order."""
    kind: Kind

    @classmethod
    def of(cls, values: Iterable[Any]) -> Scale:
        """Logarithmic if that puts their median nearer to the middle, as of w_KL, M and N_z."""
        once = list(dict.fromkeys(values))
        if any(isinstance(value, (bool, str)) or value is None for value in once):
            return cls(tuple(sorted(once, key=str)), Kind.names)
        once.sort()
        is_log = once[0] > 0 and _skew(np.log(once)) < _skew(np.array(once))
        return cls(tuple(once), Kind.logarithmic if is_log else Kind.linear)

    def position(self, value: Any) -> float:
        """Of a value, from 0 to 1; of one alone, the middle."""
        if len(self.values) == 1:
            return 0.5
        if self.kind is Kind.names:
            return self.values.index(value) / (len(self.values) - 1)
        low, high = map(self._measure, (self.values[0], self.values[-1]))
        return (self._measure(value) - low) / (high - low)

    def ticks(self) -> list[tuple[float, str]]:
        """Positions and labels: of each value if they are few, else of round numbers."""
        is_few = len(self.values) <= _MAX_NAMED
        ticks: list[tuple[float, str]] = []
        for value in self.values if is_few or self.kind is Kind.names else self._round_numbers():
            position = self.position(value)
            if not ticks or position - ticks[-1][0] >= _LEAST_GAP:
                ticks.append((position, in_picture_value(value)))
        return ticks

    def _measure(self, value: Any) -> float:
        return math.log(value) if self.kind is Kind.logarithmic else float(value)

    def _round_numbers(self) -> list[float]:
        from matplotlib.ticker import LogLocator, MaxNLocator

        low, high = self.values[0], self.values[-1]
        is_log = self.kind is Kind.logarithmic
        locator = LogLocator(subs=(1, 2, 5)) if is_log else MaxNLocator(5)
        return [float(tick) for tick in locator.tick_values(low, high) if low <= tick <= high]


def _skew(values: NDArray[Any]) -> float:
    """How far the median of sorted values is from their middle, relative to their range."""
    middle = (values[0] + values[-1]) / 2
    return float(abs(np.median(values) - middle) / max(np.ptp(values), 1e-300))
