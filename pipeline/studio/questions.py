"""What the page may ask, and the bounds of every value."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, Field, field_validator

from pipeline.drawing.arguments import MAX_TEMPERATURE
from pipeline.drawing.operations import Latent
from pipeline.studio.paper import SIDE

MAX_POINTS: Final = 10_000
"""Of a drawing, before it is simplified: a minute of drawing without a pause."""
MAX_DRAWINGS: Final = 12
MAX_BODY_BYTES: Final = 1 << 19
"""Two drawings of `MAX_POINTS` fit in."""

_Coordinate = Annotated[float, Field(ge=-SIDE, le=2 * SIDE, allow_inf_nan=False)]
"""A model may draw beyond the paper, and what it drew can become a part of the drawing."""
_Stroke = Annotated[list[tuple[_Coordinate, _Coordinate]], Field(min_length=1)]


class Question(BaseModel, extra="forbid"):
    """What all questions say."""

    visitor: str = Field(min_length=1, max_length=64)
    """Whose question it is: a newer one of the same visitor replaces it."""
    model: str
    category: str | None = None
    """Of what is drawn; for a model that is told."""
    temperature: float = Field(default=0.4, ge=0.001, le=MAX_TEMPERATURE)
    seed: int = Field(default=0, ge=0, lt=1 << 53)
    """A whole number of JavaScript's."""
    num: int = Field(default=1, ge=1, le=MAX_DRAWINGS)


class Sample(Question):
    """Drawings of the model's own."""


class Complete(Question):
    """Endings of a drawing that is begun."""

    strokes: list[_Stroke]
    is_pen_down: bool = False
    """Whether the last stroke is still being drawn."""
    z: Latent = Latent.given

    @field_validator("strokes")
    @classmethod
    def _check(cls, strokes: list[_Stroke]) -> list[_Stroke]:
        return _check_drawing(strokes)


class Between(Question):
    """Drawings between two others."""

    first: list[_Stroke]
    second: list[_Stroke]
    share: float = Field(ge=0, le=1)
    """Of the second one."""

    @field_validator("first", "second")
    @classmethod
    def _check(cls, strokes: list[_Stroke]) -> list[_Stroke]:
        return _check_drawing(strokes)


def _check_drawing(strokes: list[_Stroke]) -> list[_Stroke]:
    num = sum(map(len, strokes))
    if num == 0:
        raise ValueError("the paper is empty: draw something first")
    if num > MAX_POINTS:
        raise ValueError(
            f"a drawing of {num:,} points is longer than {MAX_POINTS:,}: undo the last strokes, or"
            " begin another one"
        )
    return strokes
