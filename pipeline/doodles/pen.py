"""The marks that drawings are made of, before a hand makes them wobble.

A stroke is a list of knots (x, y), with y growing downwards, that a smooth curve passes through; a
knot that is given twice is a corner. There are at least three, repeated ones included. Angles are
in turns, clockwise on the page: 0 points right, 0.25 down, 0.5 left, 0.75 up.
"""

from __future__ import annotations

import math

from pipeline.doodles.dice import Dice

Knot = tuple[float, float]
Stroke = list[Knot]

RING_KNOTS = 6


def corners(*knots: Knot) -> Stroke:
    """Straight lines from knot to knot."""
    return [knot for knot in knots for _ in range(2)]


def closed_corners(*knots: Knot) -> Stroke:
    """Straight lines from knot to knot and back to the first."""
    return corners(*knots, knots[0])


def box(left: float, top: float, right: float, bottom: float) -> Stroke:
    """A closed rectangle, from its top left corner down and around."""
    return closed_corners((left, top), (left, bottom), (right, bottom), (right, top))


def bow(start: Knot, end: Knot, bulge: float) -> Stroke:
    """A bent line; its middle lies off the chord, to the right of it, by this share of it."""
    (x, y), (end_x, end_y) = start, end
    middle = (x + end_x) / 2 - bulge * (end_y - y), (y + end_y) / 2 + bulge * (end_x - x)
    return [start, middle, end]


def at(x: float, y: float, width: float, height: float, turn: float) -> Knot:
    """The point of an ellipse with these half axes in this direction from its centre."""
    angle = math.tau * turn
    return x + width * math.cos(angle), y + height * math.sin(angle)


def arc(
    x: float, y: float, width: float, height: float, start: float, end: float, num_knots: int = 4
) -> Stroke:
    """A part of an ellipse with these half axes, from one turn to another."""
    step = (end - start) / (num_knots - 1)
    return [at(x, y, width, height, start + i * step) for i in range(num_knots)]


def ring(dice: Dice, x: float, y: float, width: float, height: float) -> Stroke:
    """A closed ellipse as people draw it: from about the top, not quite to where it began."""
    start = dice.between(0.62, 0.88)
    return arc(x, y, width, height, start, start - dice.between(0.94, 1.04), RING_KNOTS + 1)


def petal(base: Knot, tip: Knot, width: float) -> Stroke:
    """A round-tipped loop that leaves its base and comes back to it: an ear, a wing, a leaf."""
    (x, y), (tip_x, tip_y) = base, tip
    dx, dy = tip_x - x, tip_y - y
    side_x, side_y = -dy * width / 2, dx * width / 2
    left = x + 0.65 * dx - side_x, y + 0.65 * dy - side_y
    right = x + 0.65 * dx + side_x, y + 0.65 * dy + side_y
    return [base, left, tip, right, base]


def eyes(dice: Dice, x: float, y: float, distance: float, size: float) -> list[Stroke]:
    """Two eyes of the same kind on either side of x: rings, dashes or arches."""
    kind = dice.pick(("ring", "dash", "dash", "arch"))
    strokes = []
    for eye_x in (x - distance / 2, x + distance / 2):
        match kind:
            case "ring":
                strokes.append(ring(dice, eye_x, y, size, dice.near(size * 1.1)))
            case "dash":
                strokes.append(corners((eye_x, y - size), (eye_x, y + size)))
            case _:
                strokes.append(arc(eye_x, y + size, 1.3 * size, 1.6 * size, 0.55, 0.95))
    return strokes


def smile(dice: Dice, x: float, y: float, width: float) -> Stroke:
    """A mouth."""
    return arc(x, y, width, width * dice.between(0.4, 0.9), 0.47, 0.03)


def whiskers(
    dice: Dice, x: float, y: float, distance: float, length: float, num: int
) -> list[Stroke]:
    """Straight hairs that fan out to both sides of x, the left ones first."""
    strokes = []
    spread = dice.between(0.04, 0.09)
    for side in (-1, 1):
        for i in range(num):
            turn = (i - (num - 1) / 2) * spread
            start_y = y + 0.12 * (i - (num - 1) / 2)
            reach = dice.near(length, 0.25)
            end = at(x + side * distance, start_y, side * reach, reach, turn)
            strokes.append(corners((x + side * distance, start_y), end))
    return strokes
