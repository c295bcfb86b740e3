"""Families of animals. A head's half width is about 1; strokes come in the order people draw."""

from __future__ import annotations

from pipeline.doodles.dice import Dice
from pipeline.doodles.pen import (
    Knot,
    Stroke,
    arc,
    at,
    bow,
    closed_corners,
    corners,
    eyes,
    petal,
    ring,
    smile,
    whiskers,
)


def cat(dice: Dice) -> list[Stroke]:
    """A round head with pointed ears and, mostly, whiskers; sometimes a body with a tail."""
    width, height = dice.near(1.0, 0.12), dice.near(0.85, 0.15)
    ear = dice.near(1.45, 0.12) * height
    strokes = _cat_head(dice, width, height, ear)
    strokes += eyes(dice, 0, -0.2 * height, dice.near(0.8), dice.near(0.11, 0.3))
    nose = dice.near(0.12, 0.3)
    strokes.append(closed_corners((-nose, 0.15), (nose, 0.15), (0, 0.15 + 1.2 * nose)))
    if dice.chance(0.7):
        y, reach = 0.15 + 1.2 * nose, dice.near(0.26, 0.3)
        left, right = [(-reach, y + 0.1), (-0.5 * reach, y + 0.24)], (0.5 * reach, y + 0.24)
        strokes.append([*left, *corners((0, y + 0.02)), right, (reach, y + 0.1)])
    if dice.chance(0.15):
        strokes += _cat_body(dice, width, height)
    elif dice.chance(0.85):
        num = dice.pick((2, 2, 3))
        strokes += whiskers(dice, 0, 0.25, dice.near(0.45), dice.near(0.85), num)
    return strokes


def _cat_head(dice: Dice, width: float, height: float, ear: float) -> list[Stroke]:
    inner, outer = dice.near(0.07, 0.2), dice.near(0.165, 0.12)
    if dice.chance(0.4):
        # In one go: from the left ear's inside over its tip, around the chin, to the right ear.
        left, right = at(0, 0, width, height, 0.75 - inner), at(0, 0, width, height, 0.75 + inner)
        jaw = arc(0, 0, width, height, 0.75 - outer, -0.25 + outer, 6)
        left_tip, right_tip = (-0.78 * width, -ear), (0.78 * width, -ear)
        return [
            corners(right, left, left_tip) + jaw[:1] + jaw + jaw[-1:] + corners(right_tip, right)
        ]
    strokes = [ring(dice, 0, 0, width, height)]
    for side in (-1, 1):
        begin = at(0, 0, side * width, height, 0.75 + outer)
        end = at(0, 0, side * width, height, 0.75 + inner)
        strokes.append(corners(begin, (side * dice.near(0.72, 0.12) * width, -ear), end))
    return strokes


def _cat_body(dice: Dice, width: float, height: float) -> list[Stroke]:
    drop = height + dice.near(0.8)
    body = arc(0, drop, 0.75 * width, 0.95, 0.66, -0.16, 7)
    tail = [
        (0.7 * width, drop + 0.4),
        (1.3 * width, drop + 0.45),
        (1.5 * width, drop - 0.1),
        (1.75 * width, drop - 0.3),
    ]
    return [body, tail]


def pig(dice: Dice) -> list[Stroke]:
    """A round face around a snout with two nostrils, under two folded ears."""
    width, height = dice.near(1.0, 0.12), dice.near(0.9, 0.12)
    strokes = [ring(dice, 0, 0, width, height)]
    ear, folded = dice.near(0.4), dice.chance(0.5)
    for side in (-1, 1):
        begin = at(0, 0, side * width, height, 0.92)
        end = at(0, 0, side * width, height, 0.81)
        if folded:
            fold = side * 0.85 * width, -height - 0.5 * ear
            tip = side * 0.95 * width, -height + 0.2
            strokes.append([end, fold, tip, tip, begin])
        else:
            strokes.append(corners(end, (side * 0.85 * width, -height - 0.8 * ear), begin))
    strokes += eyes(dice, 0, -0.3 * height, dice.near(0.85), dice.near(0.09, 0.3))
    snout_y, snout = dice.near(0.18, 0.5), dice.near(0.4, 0.2)
    strokes.append(ring(dice, 0, snout_y, snout, snout * dice.near(0.72)))
    nostril = 0.3 * snout
    for x in (-0.4 * snout, 0.4 * snout):
        strokes.append(corners((x, snout_y - nostril), (x, snout_y + nostril)))
    if dice.chance(0.4):
        strokes.append(smile(dice, 0, snout_y + 0.9 * snout, dice.near(0.3)))
    return strokes


def rabbit(dice: Dice) -> list[Stroke]:
    """A small face under two long ears."""
    width, height = dice.near(0.85, 0.12), dice.near(0.8, 0.15)
    strokes = [ring(dice, 0, 0, width, height)]
    length, lean = dice.near(1.7, 0.25), dice.between(0.1, 0.6)
    ear_width = dice.near(0.3, 0.25)
    has_inside = dice.chance(0.15)
    for side in (-1, 1):
        base = side * 0.38 * width, -0.85 * height
        tip = side * (0.38 + lean) * width, -height - length
        if side == 1 and dice.chance(0.12):
            tip = 1.3 * width, -height - 0.5 * length
        strokes.append(petal(base, tip, ear_width))
        if has_inside:
            inside = base[0] + 0.25 * (tip[0] - base[0]), base[1] + 0.25 * (tip[1] - base[1])
            end = base[0] + 0.8 * (tip[0] - base[0]), base[1] + 0.8 * (tip[1] - base[1])
            strokes.append(bow(inside, end, side * 0.08))
    strokes += eyes(dice, 0, -0.15, dice.near(0.65), dice.near(0.09, 0.3))
    nose = dice.near(0.1, 0.3)
    strokes.append(closed_corners((-nose, 0.12), (nose, 0.12), (0, 0.12 + nose)))
    if dice.chance(0.4):
        strokes.append(smile(dice, 0, 0.3, 0.25))
    if dice.chance(0.3):
        top, bottom = 0.34, 0.34 + dice.near(0.22)
        strokes.append(corners((-0.13, top), (-0.12, bottom), (0.12, bottom), (0.13, top)))
        strokes.append(corners((0, top), (0, bottom)))
    if dice.chance(0.4):
        strokes += whiskers(dice, 0, 0.2, 0.4, dice.near(0.7), 2)
    return strokes


def owl(dice: Dice) -> list[Stroke]:
    """An upright egg with two big eyes, a beak, tufts and wings."""
    width, height = dice.near(0.9, 0.12), dice.near(1.25, 0.12)
    tuft = dice.near(0.3, 0.3)
    left, right = at(0, 0, width, height, 0.64), at(0, 0, width, height, 0.86)
    horn = dice.near(0.75, 0.12) * width
    body = arc(0, 0, width, height, 0.62, -0.12, 6)
    head = [(-horn, -height - tuft), (0, -height + 0.15), (horn, -height - tuft)]
    strokes = [body[:1] + body + body[-1:] + corners(*reversed(head)) + [body[0]]]
    if dice.chance(0.3):
        strokes = [
            ring(dice, 0, 0, width, height),
            corners(left, head[0], (-0.2, -height)),
            corners((0.2, -height), head[2], right),
        ]
    eye_y, apart, size = -0.5 * height, 0.42 * width, dice.near(0.36, 0.15) * width
    pupil = dice.near(0.12, 0.3)
    has_pupils = dice.chance(0.6)
    for x in (-apart, apart):
        strokes.append(ring(dice, x, eye_y, size, size))
        if has_pupils:
            strokes.append(corners((x, eye_y - pupil), (x, eye_y + pupil)))
    beak_y, beak = eye_y + 0.25, dice.near(0.13, 0.2)
    strokes.append(corners((-beak, beak_y), (0, beak_y + 2.2 * beak), (beak, beak_y)))
    for side in (-1, 1) if dice.chance(0.75) else ():
        top, bottom = at(0, 0, side * width, height, 0.97), (side * 0.75 * width, 0.75 * height)
        strokes.append(bow(top, bottom, side * dice.near(0.45)))
    if dice.chance(0.3):
        for x in (-0.3, 0.3):
            foot_y = height + dice.near(0.2)
            strokes.append(corners((x - 0.15, foot_y), (x, height - 0.05), (x + 0.15, foot_y)))
    return strokes


def crab(dice: Dice) -> list[Stroke]:
    """A broad shell with two claws held up, bent legs and eyes on stalks."""
    width, height = dice.near(1.0, 0.15), dice.near(0.55, 0.2)
    strokes = [ring(dice, 0, 0, width, height)]
    claw, rise, reach = dice.near(0.36, 0.2), dice.near(0.75, 0.2), dice.near(1.45, 0.12)
    for side in (-1, 1):
        elbow = side * reach * width, -0.55 * height
        wrist = side * (reach + 0.05) * width, -rise
        arm = [at(0, 0, side * width, height, 0.95), elbow, wrist]
        strokes.append(arm + _claw(wrist, claw, dice.near(0.34, 0.25)))
    num_legs, knee = dice.pick((2, 2, 2, 3)), dice.near(0.42, 0.2)
    for side in (-1, 1):
        for i in range(num_legs):
            hip = at(0, 0, side * width, height, 0.05 + 0.065 * i)
            out = hip[0] + side * knee, hip[1] - 0.05 + 0.1 * i
            strokes.append(corners(hip, out, (out[0] + side * 0.12, out[1] + dice.near(0.5))))
    stalk = dice.near(0.4, 0.3)
    has_rings = dice.chance(0.25)
    for x in (-0.3, 0.3):
        top = x * 1.1, -height - stalk
        strokes.append(corners((x, -0.9 * height), top))
        if has_rings:
            strokes.append(ring(dice, top[0], top[1] - 0.12, 0.12, 0.12))
    if dice.chance(0.4):
        strokes.append(smile(dice, 0, 0, dice.near(0.35)))
    return strokes


def _claw(wrist: Knot, size: float, opening: float) -> Stroke:
    """Two pincers that open upwards, from the wrist around and back to it."""
    x, y = wrist
    tip = y - 1.7 * size
    return corners(wrist, (x - opening, tip), (x, y - size), (x + opening, tip), wrist)


def mosquito(dice: Dice) -> list[Stroke]:
    """From the side: a slender body, a head with a long sting, wings up, thin legs down."""
    length, thickness = dice.near(1.1, 0.15), dice.near(0.24, 0.2)
    tilt = dice.between(-0.06, 0.02)
    strokes = [ring(dice, 0, 0, length, thickness)]
    head, size = (-length - 0.2, 0.0), dice.near(0.25, 0.15)
    strokes.append(ring(dice, *head, size, size))
    mouth = head[0] - 0.7 * size, 0.7 * size
    sting = dice.near(0.8, 0.25)
    strokes.append(corners(mouth, (mouth[0] - 0.75 * sting, 0.75 * sting)))
    wing = dice.near(1.3, 0.15)
    for x, turn in ((-0.35, 0.77), (-0.1, 0.84)):
        base = x, -0.85 * thickness
        strokes.append(petal(base, at(*base, wing, wing, turn + tilt), dice.near(0.38, 0.2)))
    knee, foot = dice.near(0.45, 0.2), dice.near(1.15, 0.15)
    for i in range(dice.count(3, 4)):
        x = -0.6 + 0.4 * i
        bend = x + 0.25 * (i - 0.5) + 0.05, knee
        strokes.append(corners((x, 0.9 * thickness), bend, (bend[0] + 0.12 * (i - 1), foot)))
    if dice.chance(0.4):
        strokes.append(corners((head[0], -0.08), (head[0] - 0.02, 0.04)))
    return strokes
