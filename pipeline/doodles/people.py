"""Families of people: a face, and stick figures doing yoga."""

from __future__ import annotations

from pipeline.doodles.dice import Dice
from pipeline.doodles.pen import Knot, Stroke, arc, bow, closed_corners, corners, eyes, ring, smile


def face(dice: Dice) -> list[Stroke]:
    """A head with eyes, nose and mouth; hair, ears and brows as they come."""
    width, height = dice.near(0.9, 0.15), dice.near(1.1, 0.12)
    eye_y, apart = -0.25 * height, dice.near(0.75)
    strokes = [ring(dice, 0, 0, width, height)]
    strokes += eyes(dice, 0, eye_y, apart, dice.near(0.12, 0.3))
    nose = dice.near(0.25, 0.3)
    match dice.pick(("hook", "hook", "wedge", "none")):
        case "hook":
            strokes.append(corners((0, -0.05), (-0.5 * nose, nose), (0.2 * nose, nose)))
        case "wedge":
            strokes.append([(-0.4 * nose, 0.6 * nose), (0, nose), (0.4 * nose, 0.6 * nose)])
        case _:
            pass
    strokes.append(_mouth(dice, 0.45 * height, dice.near(0.42, 0.2)))
    if dice.chance(0.3):
        for x in (-apart / 2, apart / 2):
            strokes.append(bow((x - 0.18, eye_y - 0.3), (x + 0.18, eye_y - 0.3), -0.2))
    if dice.chance(0.35):
        for side in (-1, 1):
            strokes.append(arc(side * width, 0, side * 0.2, dice.near(0.25), -0.2, 0.2))
    return strokes + _hair(dice, width, height)


def _mouth(dice: Dice, y: float, width: float) -> Stroke:
    match dice.pick(("smile", "smile", "smile", "open", "flat")):
        case "open":
            left, right = (-width, y - 0.1), (width, y - 0.1)
            return [left, left, (0, y + 0.3), right, right, left]
        case "flat":
            return bow((-width, y), (width, y), dice.between(-0.1, 0.1))
        case _:
            return smile(dice, 0, y - 0.1, width)


def _hair(dice: Dice, width: float, height: float) -> list[Stroke]:
    match dice.pick(("none", "spikes", "long", "strands")):
        case "spikes":
            tips = arc(0, 0, 1.05 * width, 1.3 * height, 0.57, 0.93, 5)
            roots = arc(0, 0, 0.98 * width, 0.98 * height, 0.55, 0.95, 6)
            path = [knot for pair in zip(roots, tips, strict=False) for knot in pair]
            return [corners(*path, roots[-1])]
        case "long":
            fall = dice.near(0.9, 0.3)
            temple, end = (1.15 * width, -0.6 * height), (1.25 * width, fall)
            right = [(0.05, -height), temple, end]
            return [[(-x, y) for x, y in right], right]
        case "strands":
            top = dice.near(0.3, 0.3)
            return [bow((0.2 * x, -height), (0.35 * x, -height - top), 0.1 * x) for x in (-1, 0, 1)]
        case _:
            return []


def yoga(dice: Dice) -> list[Stroke]:
    """A stick figure in one of four poses, sometimes on a mat."""
    pose = dice.pick((_lotus, _lotus, _tree, _warrior, _dog))
    strokes, ground = pose(dice)
    if dice.chance(0.4):
        reach, depth = dice.near(1.5, 0.2), dice.near(0.25, 0.3)
        y = ground + 0.04
        if dice.chance(0.4):
            back = (reach - 0.25, y - depth), (-reach - 0.25, y - depth)
            strokes.append(closed_corners((-reach, y), (reach, y), *back))
        else:
            strokes.append(corners((-reach, y), (reach, y)))
    return strokes


def _upright(dice: Dice, neck: float, hip: float) -> list[Stroke]:
    """Head and spine."""
    size = dice.near(0.32, 0.2)
    return [ring(dice, 0, neck - size, size, size), corners((0, neck), (0, hip))]


def _lotus(dice: Dice) -> tuple[list[Stroke], float]:
    """Sitting with crossed legs, hands on the knees or joined overhead."""
    strokes = _upright(dice, -0.6, 0.6)
    knee, foot = dice.near(0.95), dice.near(0.45, 0.3)
    hands = dice.pick(("knees", "knees", "overhead"))
    for side in (-1, 1):
        if hands == "knees":
            elbow = side * dice.near(0.65), 0.1
            strokes.append(corners((0, -0.4), elbow, (side * 0.8 * knee, 0.6)))
        else:
            strokes.append(corners((0, -0.3), (side * 0.65, -0.75), (0, -1.55)))
    for side in (-1, 1):
        strokes.append(corners((0, 0.6), (side * knee, 0.78), (-side * foot, 1.1)))
    return strokes, 1.1


def _tree(dice: Dice) -> tuple[list[Stroke], float]:
    """On one leg, the other foot against the knee, hands joined overhead."""
    strokes = _upright(dice, -0.8, 0.4)
    elbow = dice.near(0.55)
    for side in (-1, 1):
        strokes.append(corners((0, -0.55), (side * elbow, -1.0), (0, -1.85)))
    strokes.append(corners((0, 0.4), (0.03, 1.6)))
    strokes.append(corners((0, 0.4), (dice.near(0.65), 0.75), (0.03, dice.near(1.05, 0.1))))
    return strokes, 1.6


def _warrior(dice: Dice) -> tuple[list[Stroke], float]:
    """Arms stretched out to both sides, one knee bent, the other leg straight."""
    strokes = _upright(dice, -0.7, 0.5)
    reach, y = dice.near(1.1), dice.between(-0.5, -0.3)
    strokes.append(corners((-reach, y), (reach, y)))
    knee: Knot = (dice.near(0.75), 0.65)
    strokes.append(corners((0, 0.5), knee, (knee[0] + 0.02, 1.3)))
    strokes.append(corners((0, 0.5), (-dice.near(1.1), 1.3)))
    return strokes, 1.3


def _dog(dice: Dice) -> tuple[list[Stroke], float]:
    """Hands and feet on the ground, hips up, the head hanging between the arms."""
    hands, feet, size = dice.near(-1.4, 0.1), dice.near(0.9), dice.near(0.26)
    hip, shoulder = (0.15, dice.near(-0.6, 0.25)), (0.42 * hands, dice.near(0.45))
    body = corners((hands, 1.0), shoulder, hip, (feet, 1.0), (feet + 0.25, 1.0))
    head = ring(dice, shoulder[0] + 0.3 * size, shoulder[1] + 1.15 * size, size, size)
    strokes = [body, head]
    if dice.chance(0.6):
        strokes.append(corners(hip, (feet - dice.near(0.4), 1.0)))
    return strokes, 1.0
