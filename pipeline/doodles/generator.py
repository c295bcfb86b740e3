"""Lines of ndjson, made on demand."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from typing import TypeAlias

import numpy as np
import orjson

from pipeline.doodles import creatures, hand, people, things
from pipeline.doodles.dice import Dice, keyed_uniforms
from pipeline.doodles.pen import Stroke
from pipeline.simplification import Drawings, Floats, simplify

Family: TypeAlias = Callable[[Dice], list[Stroke]]
Columns: TypeAlias = list[list[float]]

VERSION = 2
"""Goes up when the same arguments begin to give other drawings."""

FAMILIES: dict[str, Family] = {
    "cat": creatures.cat,
    "pig": creatures.pig,
    "face": people.face,
    "owl": creatures.owl,
    "firetruck": things.firetruck,
    "garden": things.garden,
    "crab": creatures.crab,
    "rabbit": creatures.rabbit,
    "mosquito": creatures.mosquito,
    "yoga": people.yoga,
    "sun": things.sun,
    "car": things.car,
    "backpack": things.backpack,
    "house": things.house,
}
CATEGORIES: tuple[str, ...] = tuple(FAMILIES)

COUNTRY_CODE = "ZZ"  # ISO 3166 leaves it to users; it usually stands for an unknown country
UNRECOGNIZED_SHARE = 0.05
SWAPPED_SHARE = 0.08
REVERSED_SHARE = 0.08

BLOCK_DRAWINGS = 64
MAX_STROKES = 18
# A drawing's uniforms: its family's, its line's fields, a row for its hand, a row for each stroke.
FAMILY_UNIFORMS = 172
FIELD_UNIFORMS = 4
WORDS_PER_DRAWING = FAMILY_UNIFORMS + FIELD_UNIFORMS + (1 + MAX_STROKES) * hand.UNIFORMS_PER_ROW

FIRST_KEY_ID = 10**15
NUM_KEY_IDS = 9 * 10**15
KEY_ID_STRIDE = 5_555_555_555_555_557  # has no factor in common with NUM_KEY_IDS
FIRST_DAY = datetime(2017, 1, 22, tzinfo=UTC)
DAYS = 68


def generate(category: str, num: int, seed: int, start: int = 0) -> Iterator[bytes]:
    """Drawings `start` to `start + num - 1` of a category as lines of simplified ndjson.

    A drawing depends only on its category, the seed and its number. It is the simplification of
    the raw drawing of the same number, and has its key_id.

    Raises:
        ValueError: for an unknown category, or a negative number.
    """
    _check(category, num, start)
    return _lines(category, num, seed, start, is_raw=False)


def generate_raw(category: str, num: int, seed: int, start: int = 0) -> Iterator[bytes]:
    """Like `generate`, as raw ndjson: strokes of [x, y, t] with pixels of a screen and ms."""
    _check(category, num, start)
    return _lines(category, num, seed, start, is_raw=True)


def _check(category: str, num: int, start: int) -> None:
    if category not in FAMILIES:
        nearest = difflib.get_close_matches(category, CATEGORIES, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"there are no doodles of {category!r}: the nearest is {nearest!r};"
            f" there are {', '.join(CATEGORIES)}"
        )
    if num < 0 or start < 0:
        raise ValueError(f"num={num} and start={start} must be at least 0")


def _lines(category: str, num: int, seed: int, start: int, *, is_raw: bool) -> Iterator[bytes]:
    name = f"doodles/{VERSION}/{category}/{seed}"
    key_ids = _key_ids(name, start)
    for first in range(start, start + num, BLOCK_DRAWINGS):
        num_drawings = min(BLOCK_DRAWINGS, start + num - first)
        uniforms = keyed_uniforms(name, first, num_drawings, WORDS_PER_DRAWING)
        for fields, strokes in zip(
            uniforms[:, FAMILY_UNIFORMS:][:, :FIELD_UNIFORMS].tolist(),
            _draw(FAMILIES[category], uniforms, is_raw=is_raw),
            strict=True,
        ):
            line = {
                "word": category,
                "countrycode": COUNTRY_CODE,
                "timestamp": _timestamp(fields[0], fields[1]),
                "recognized": fields[2] >= UNRECOGNIZED_SHARE,
                "key_id": next(key_ids),
                "drawing": strokes,
            }
            yield orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _draw(family: Family, uniforms: Floats, *, is_raw: bool) -> Iterator[list[Columns]]:
    """The strokes of each drawing of a block, as their columns of numbers."""
    of_family, of_fields, of_hand = np.split(
        uniforms, [FAMILY_UNIFORMS, FAMILY_UNIFORMS + FIELD_UNIFORMS], axis=1
    )
    drawings = [_compose(family, Dice(row)) for row in of_family.tolist()]
    num_strokes = np.array([len(strokes) for strokes in drawings])
    rows = of_hand.reshape(len(drawings), 1 + MAX_STROKES, hand.UNIFORMS_PER_ROW)
    is_used = np.arange(MAX_STROKES) < num_strokes[:, None]
    of_drawings, of_strokes = rows[:, 0], rows[:, 1:][is_used]
    unrecognized = of_fields[:, 2] < UNRECOGNIZED_SHARE
    sloppiness = np.where(unrecognized, 2.0, 0.6 + 0.7 * of_fields[:, 3])
    raw = hand.trace(drawings, of_strokes, of_drawings, sloppiness)
    if is_raw:
        times = hand.times_ms(raw, of_strokes, of_drawings)
        return _split(raw, [*raw.points.tolist(), times.tolist()])
    simplified = simplify(raw)
    return _split(simplified, simplified.points.astype(np.int64).tolist())


def _compose(family: Family, dice: Dice) -> list[Stroke]:
    """A drawing's strokes in the order and direction in which this person draws them."""
    strokes = family(dice)
    assert len(strokes) <= MAX_STROKES, f"{len(strokes)} strokes of at most {MAX_STROKES}"
    for i in range(1, len(strokes)):
        if dice.chance(SWAPPED_SHARE):
            strokes[i - 1 : i + 1] = strokes[i], strokes[i - 1]
    return [stroke[::-1] if dice.chance(REVERSED_SHARE) else stroke for stroke in strokes]


def _split(drawings: Drawings, columns: Columns) -> Iterator[list[Columns]]:
    """Cuts flat columns into a list of strokes per drawing."""
    num_points = iter(drawings.points_per_stroke.tolist())
    begin = 0
    for num_strokes in drawings.strokes_per_drawing.tolist():
        strokes = []
        for num in islice(num_points, num_strokes):
            strokes.append([column[begin : begin + num] for column in columns])
            begin += num
        yield strokes


def _key_ids(name: str, start: int) -> Iterator[str]:
    """Strings of 16 digits; one stream does not repeat itself."""
    offset = int(keyed_uniforms(f"{name}/key_id", 0, 1, 4)[0, 0] * NUM_KEY_IDS)
    for i in count(start):
        yield str(FIRST_KEY_ID + (offset + i * KEY_ID_STRIDE) % NUM_KEY_IDS)


def _timestamp(day: float, fraction: float) -> str:
    moment = FIRST_DAY + timedelta(seconds=int(day * DAYS * 86_400))
    return f"{moment:%Y-%m-%d %H:%M:%S}.{int(fraction * 100_000):05d} UTC"
