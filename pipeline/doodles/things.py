"""Families of things: vehicles, a house, a garden, the sun, a backpack."""

from __future__ import annotations

from pipeline.doodles.dice import Dice
from pipeline.doodles.pen import (
    Stroke,
    arc,
    at,
    bow,
    box,
    closed_corners,
    corners,
    petal,
    ring,
    smile,
)


def firetruck(dice: Dice) -> list[Stroke]:
    """A long box and a cab on wheels, with a ladder on top and mostly a light."""
    length, height = dice.near(1.6, 0.12), dice.near(0.75, 0.15)
    cab, roof = dice.near(0.65), -height - dice.near(0.3, 0.5)
    strokes = [
        closed_corners(
            (-length, -height),
            (-length, 0),
            (length, 0),
            (length, roof),
            (length - cab, roof),
            (length - cab, -height),
        )
    ]
    wheel = dice.near(0.28)
    for x in (-0.6 * length, 0.62 * length):
        strokes.append(ring(dice, x, 0.08, wheel, wheel))
    strokes += _ladder(dice, length, height, cab)
    pane = 0.45 * (height + 0.1)
    strokes.append(box(length - cab + 0.12, roof + 0.15, length - 0.15, roof + 0.15 + pane))
    if dice.chance(0.6):
        x, light = length - 0.5 * cab, dice.near(0.16, 0.3)
        strokes.append(
            corners(
                (x - light, roof),
                (x - light, roof - 1.4 * light),
                (x + light, roof - 1.4 * light),
                (x + light, roof),
            )
        )
    return strokes


def _ladder(dice: Dice, length: float, height: float, cab: float) -> list[Stroke]:
    rise, gap, num_rungs = dice.between(0.0, 0.8), dice.near(0.24), dice.count(3, 4)
    left, right, y = -length - 0.05, length - cab - 0.1, -height - 0.12
    strokes = [
        corners((left, y - rise), (right, y)),
        corners((left, y - rise - gap), (right, y - gap)),
    ]
    for i in range(num_rungs):
        share = (i + 0.8) / (num_rungs + 0.6)
        x, rung_y = left + share * (right - left), y - rise * (1 - share)
        strokes.append(corners((x, rung_y - gap), (x, rung_y)))
    return strokes


def car(dice: Dice) -> list[Stroke]:
    """A car from the side: body and roof in one line, two wheels, windows."""
    length, sill, roof = dice.near(1.6, 0.1), dice.near(-0.5, 0.2), dice.near(-1.1, 0.12)
    front, back = dice.near(0.7, 0.25), dice.near(-0.95, 0.2)
    slope = dice.near(0.35, 0.4)
    outline = [
        (-length, 0.0),
        (-length, sill),
        (back, sill),
        (back + slope, roof),
        (front - slope, roof),
        (front, sill),
        (length, sill * dice.near(0.85, 0.15)),
        (length, 0.0),
    ]
    rounded = dice.chance(0.5)
    strokes = [[*outline, outline[0]] if rounded else closed_corners(*outline)]
    wheel = dice.near(0.3, 0.2)
    for x in (-0.58 * length, 0.58 * length):
        strokes.append(ring(dice, x, 0.05, wheel, wheel))
        if dice.chance(0.25):
            strokes.append(ring(dice, x, 0.05, 0.45 * wheel, 0.45 * wheel))
    if dice.chance(0.75):
        low, high = sill - 0.02, roof + 0.14
        strokes.append(
            closed_corners(
                (back + 0.2, low),
                (back + slope + 0.05, high),
                (front - slope - 0.05, high),
                (front - 0.2, low),
            )
        )
    middle = dice.between(-0.25, 0.1)
    if dice.chance(0.6):
        strokes.append(corners((middle, roof + 0.1), (middle, sill if dice.chance(0.5) else -0.08)))
    if dice.chance(0.4):
        strokes.append(arc(length, 0.55 * sill, -0.16, 0.14, -0.25, 0.25))
    if dice.chance(0.3):
        strokes.append(corners((middle + 0.15, 0.7 * sill), (middle + 0.38, 0.7 * sill)))
    return strokes


def house(dice: Dice) -> list[Stroke]:
    """Walls, a pitched roof, a door, windows, and often a chimney."""
    width, height, peak = dice.near(1.0, 0.2), dice.near(1.2), dice.near(0.85, 0.25)
    eave = dice.between(0.0, 0.25)
    if dice.chance(0.75):
        strokes = [
            box(-width, 0, width, height),
            closed_corners((-width - eave, 0), (0, -peak), (width + eave, 0)),
        ]
    else:
        strokes = [
            corners((-width, 0), (-width, height), (width, height), (width, 0)),
            corners((-width - eave, 0.1), (0, -peak), (width + eave, 0.1)),
        ]
    door, tall = dice.near(0.2, 0.3), dice.near(0.65, 0.2)
    x = dice.pick((0.0, 0.0, -0.35 * width, 0.35 * width))
    strokes.append(
        corners(
            (x - door, height),
            (x - door, height - tall),
            (x + door, height - tall),
            (x + door, height),
        )
    )
    places = (-0.58 * width, 0.58 * width) if x == 0 else (-0.8 * x - 0.1 * width,)
    pane, has_cross = dice.near(0.19, 0.2), dice.chance(0.5)
    for window in places[: dice.count(1, 2)]:
        y = 0.38 * height
        strokes.append(box(window - pane, y - pane, window + pane, y + pane))
        if has_cross:
            strokes.append(corners((window, y - pane), (window, y + pane)))
            strokes.append(corners((window - pane, y), (window + pane, y)))
    if dice.chance(0.55):
        strokes += _chimney(dice, width, peak)
    return strokes


def _chimney(dice: Dice, width: float, peak: float) -> list[Stroke]:
    left, right = 0.45 * width, 0.45 * width + dice.near(0.28, 0.2)
    top = -peak * dice.near(0.98, 0.1)
    chimney = corners(
        (left, -peak * (1 - left / width)),
        (left, top),
        (right, top),
        (right, -peak * (1 - right / width)),
    )
    if not dice.chance(0.3):
        return [chimney]
    x, y = (left + right) / 2, top - 0.1
    smoke = [(x, y), (x + 0.2, y - 0.2), (x - 0.05, y - 0.4), (x + 0.25, y - 0.65)]
    return [chimney, smoke]


def sun(dice: Dice) -> list[Stroke]:
    """A disc with rays around it, sometimes with a face."""
    size = dice.near(0.6, 0.2)
    strokes = [ring(dice, 0, 0, size, dice.near(size, 0.1))]
    num_rays, first = dice.count(6, 11), dice.between(0.6, 0.9)
    gap, length = dice.near(0.14, 0.5), dice.near(0.5, 0.35)
    if dice.chance(0.15):
        spikes = arc(0, 0, size + 0.1, size + 0.1, first, first + 1, 2 * num_rays + 1)
        spikes[1::2] = [(x * (1 + length / size), y * (1 + length / size)) for x, y in spikes[1::2]]
        strokes.append(corners(*spikes))
    else:
        for i in range(num_rays):
            turn = first + (i + dice.between(-0.15, 0.15)) / num_rays
            inner, outer = size + gap, size + gap + dice.near(length, 0.3)
            strokes.append(corners(at(0, 0, inner, inner, turn), at(0, 0, outer, outer, turn)))
    if dice.chance(0.2):
        for x in (-0.35 * size, 0.35 * size):
            strokes.append(corners((x, -0.35 * size), (x, -0.1 * size)))
        strokes.append(smile(dice, 0, 0.15 * size, 0.45 * size))
    return strokes


def backpack(dice: Dice) -> list[Stroke]:
    """A rounded bag with a handle on top, a flap, a pocket and straps at its sides."""
    width, height = dice.near(0.85), dice.near(1.15, 0.12)
    shoulder = dice.near(0.55, 0.2)
    top = arc(0, -height + shoulder, width, shoulder, 0.5, 1.0, 5)
    left, right = (-width, height), (width, height)
    strokes = [[left, left, *top, right, right, left]]
    if dice.chance(0.85):
        handle = dice.near(0.25, 0.25)
        strokes.append(arc(0, -height + 0.03, handle, dice.near(0.3, 0.3), 0.5, 1.0))
    flap = dice.near(-0.15, 0.8)
    match dice.pick(("flap", "flap", "zip", "none")):
        case "flap":
            strokes.append(bow((-width, flap - 0.1), (width, flap - 0.1), dice.between(0.02, 0.15)))
        case "zip":
            strokes.append(arc(0, -0.1, 0.7 * width, 0.7 * height, 0.5, 1.0, 5))
        case _:
            pass
    strokes.append(_pocket(dice, width, height))
    if dice.chance(0.8):
        reach, upper = dice.near(0.35, 0.3), dice.near(-0.5, 0.3)
        for side in (-1, 1)[: dice.pick((1, 2, 2))]:
            inner, outer = side * width, side * (width + reach)
            strap = [(inner, upper), (outer, upper + 0.35), (outer, 0.6 * height)]
            strokes.append([*strap, (inner, 0.85 * height)])
    return strokes


def _pocket(dice: Dice, width: float, height: float) -> Stroke:
    half, top, bottom = dice.near(0.62) * width, dice.near(0.2, 0.6), dice.near(0.85, 0.08) * height
    if dice.chance(0.5):
        return box(-half, top, half, bottom)
    lid = arc(0, top + 0.25, half, 0.3, 0.5, 1.0, 4)
    left, right = (-half, bottom), (half, bottom)
    return [left, left, *lid, right, right, left]


def garden(dice: Dice) -> list[Stroke]:
    """Flowers in a row on the ground or in grass."""
    num_flowers = dice.pick((2, 2, 3, 3, 3, 4))
    spacing = dice.near(0.95)
    bloom = dice.pick((_daisy, _tulip, _tulip, _round_flower))
    right = (num_flowers - 1) * spacing
    ground = _ground(dice, -0.6, right + 0.6)
    strokes = []
    for i in range(num_flowers):
        if dice.chance(0.15):
            bloom = dice.pick((_daisy, _tulip, _round_flower))
        x, top = i * spacing + dice.between(-0.1, 0.1), dice.near(-1.1, 0.25)
        size = dice.near(0.3, 0.2)
        strokes += bloom(dice, x, top, size)
        strokes.append(bow((x, top + size), (x + dice.between(-0.1, 0.1), 0), 0.03))
        if dice.chance(0.2):
            strokes.append(petal((x, -0.2), (x + 0.4, -0.55), 0.4))
    return [ground, *strokes] if dice.chance(0.4) else [*strokes, ground]


def _ground(dice: Dice, left: float, right: float) -> Stroke:
    if dice.chance(0.6):
        return corners((left, 0), (right, 0))
    num_blades, height = dice.count(3, 5), dice.near(0.35, 0.3)
    step = (right - left) / num_blades
    blades = [(left + (i / 2) * step, 0.08 - height * (i % 2)) for i in range(2 * num_blades + 1)]
    return corners(*blades)


def _daisy(dice: Dice, x: float, y: float, size: float) -> list[Stroke]:
    """Petals in one line, often around a centre."""
    num_petals = dice.count(5, 6)
    petals = []
    for i in range(2 * num_petals + 1):
        reach = size * (0.55 if i % 2 == 0 else 1.15)
        knot = at(x, y, reach, reach, i / (2 * num_petals))
        petals += [knot] * (1 if i % 2 else 2)
    centre = ring(dice, x, y, 0.4 * size, 0.4 * size)
    return [centre, petals] if dice.chance(0.5) else [petals]


def _tulip(dice: Dice, x: float, y: float, size: float) -> list[Stroke]:
    """A cup with a jagged rim."""
    half, rim = dice.near(0.8) * size, y - size
    left, right = (x - half, rim), (x + half, rim)
    cup = [(x - 0.75 * half, y + 0.6 * size), (x, y + size), (x + 0.75 * half, y + 0.6 * size)]
    rim_line = corners((x + 0.4 * half, y - 0.2 * size), (x, rim), (x - 0.4 * half, y - 0.2 * size))
    return [[left, left, *cup, right, right, *rim_line, left, left]]


def _round_flower(dice: Dice, x: float, y: float, size: float) -> list[Stroke]:
    """A disc, often with a smaller one in it."""
    outer = ring(dice, x, y, size, size)
    return [outer, ring(dice, x, y, 0.4 * size, 0.4 * size)] if dice.chance(0.6) else [outer]
