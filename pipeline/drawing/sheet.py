"""What an operation gives: drawings in rows and columns, and what they are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_IN_A_ROW = 6
"""Tiles that stay in one row; more make a square."""


@dataclass(frozen=True)
class Tile:
    """One drawing.

    Attributes:
        sketch: stroke-3 rows in pixels of Quick, Draw!, [L, 3]; none if the model drew nothing.
        num_given: rows that the model was given.
        word: of what it is a drawing.
        is_drawn: whether the model drew it, or a part of it.
    """

    sketch: NDArray[Any]
    num_given: int = 0
    word: str = ""
    is_drawn: bool = True


EMPTY = Tile(np.zeros((0, 3)), is_drawn=False)


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """One page of drawings.

    Attributes:
        rows: of tiles; a row may be short.
        title: operation, model, temperature and seed, in a line that every form of output keeps.
        row_captions: left of each row, or none.
        column_captions: above each column, or none.
    """

    rows: Sequence[Sequence[Tile]]
    title: str
    row_captions: Sequence[str] = ()
    column_captions: Sequence[str] = ()

    def drawn(self) -> Iterator[Tile]:
        """What the model drew, row after row."""
        return (tile for row in self.rows for tile in row if tile.is_drawn)


def wrap(tiles: Sequence[Tile], num_columns: int) -> list[list[Tile]]:
    """The tiles in rows of at most so many."""
    return [list(tiles[n : n + num_columns]) for n in range(0, len(tiles), num_columns)]


def wrap_squarely(tiles: Sequence[Tile]) -> list[list[Tile]]:
    """The tiles in a row if they are few, else in as many rows as columns."""
    num = len(tiles)
    return wrap(tiles, num if num <= MOST_IN_A_ROW else math.ceil(math.sqrt(num)))


def beside(given: Sequence[Tile], drawn: Sequence[Tile]) -> list[list[Tile]]:
    """Each given drawing, and an equal share of what was drawn to the right of it."""
    rows = []
    for first, share in zip(given, wrap(drawn, len(drawn) // len(given)), strict=True):
        heads = [first, *[EMPTY] * len(share)]
        rows += [[head, *row] for head, row in zip(heads, wrap_squarely(share), strict=False)]
    return rows


def between_corners(corners: Sequence[Tile], rows: Sequence[Sequence[Tile]]) -> list[list[Tile]]:
    """A grid with a given drawing at the outside of each of its four corners."""
    top_left, top_right, bottom_left, bottom_right = corners
    sides = [(EMPTY, EMPTY)] * len(rows)
    sides[0], sides[-1] = (top_left, top_right), (bottom_left, bottom_right)
    return [[left, *row, right] for (left, right), row in zip(sides, rows, strict=True)]
