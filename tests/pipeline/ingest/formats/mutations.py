"""Lines of Quick, Draw! with something wrong, as a long file or a hostile one may hold them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

Fields = list[tuple[str, str]]
"""Keys and values of an object, each as JSON."""

WORD = "cat"
VALUES = (
    *("null", "true", "false", "0", "-0", "7", "-1", "00", "01", "+1", "1.", ".5", "1.5", "-0.0"),
    *("1e2", "1E400", "-1e-400", "NaN", "Infinity", "99999", "-99999", "2147483648", "4294967297"),
    *("18446744073709551615", "18446744073709551616", "9" * 40, "0.30000000000000004", "1e"),
    *('""', '"cat"', '"dog"', '"DE"', '"D"', '"D\\"', '"\\u0044E"', '"\u00e9\u00e9"', '"12"'),
    *('"-1"', '"007"', '"18446744073709551616"', '"true"', '"2017-02-29 00:00:00 UTC"', '"a\tb"'),
    *('"2016-02-29 23:59:59.999999 UTC"', '"2017-03-02 24:00:00 UTC"', '"2017-03-02"'),
    *('"0000-01-01 00:00:00 UTC"', '"2017-03-02 23:25:10.1234567 UTC"', '"2017-03-02 23:25:10"'),
    *('"2017-03-02 23:25:10. UTC"', '"2017-03-02T23:25:10 UTC"', '"2017-03-02 23:25:10 GMT"'),
    *("[]", "[[]]", "[[[]]]", "[[[],[]]]", "[[[1],[1]]]", "[[[1],[1],[1]]]", "[[[1,2],[1]]]"),
    *("[[[1],[1]],]", "[[[1,],[1]]]", "[[[ 1 ] , [ 2 ] ]\t]", "[[[40000],[1]]]", "[1,[2]]"),
    *("[[[1.5],[1]]]", "[[[1],[2],[null]]]", "[[[1],[true]]]", "[[[-20000,20000],[1,1]]]"),
    *("[[[1000001],[1],[1]]]", "[[[0.1,1e6],[1,-1e6],[1,2]]]", "{}", '{"a":[1,{"b":null}]}'),
    *("[" * 200, "[" * 200 + "]" * 200, '{"a":' * 200 + "1" + "}" * 200, "", " "),
)
BYTES = b'0123456789-+.,:[]{}"eEnulltrfs \t\r\\/\x00\x7f\xc3\xff'


def mutated_lines(num: int, seed: int, *, is_raw: bool = False) -> list[bytes]:
    """Lines of the category `WORD`, without line ends; some are good in spite of all."""
    rng = random.Random(seed)
    return [_mutated_line(rng, is_raw) for _ in range(num)]


def usual_fields(rng: random.Random, is_raw: bool) -> Fields:
    """What a line of the official files holds."""
    fields: dict[str, Any] = {
        "word": WORD,
        "countrycode": rng.choice(["DE", "BR", "US"]),
        "timestamp": f"2017-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"
        f" {rng.randint(0, 23):02d}:17:06.{rng.randint(0, 99999)} UTC",
        "recognized": rng.random() < 0.9,
        "key_id": str(rng.randrange(1 << 52, 1 << 53)),
        "drawing": [_stroke(rng, is_raw) for _ in range(rng.randint(1, 4))],
    }
    separators = rng.choice([(",", ":"), (", ", ": ")])
    return [(json.dumps(k), json.dumps(v, separators=separators)) for k, v in fields.items()]


def _stroke(rng: random.Random, is_raw: bool) -> list[list[float]]:
    num = rng.randint(1, 9)
    if not is_raw:
        return [[rng.randrange(256) for _ in range(num)] for _ in range(2)]
    shift = rng.choice([0, 0.1999969482422, 1 / 3])
    axes = [[rng.randrange(-9, 1500) + shift for _ in range(num)] for _ in range(2)]
    return [*axes, [16 * i for i in range(num)]]


def join_fields(fields: Fields) -> bytes:
    """The line of an object."""
    return ("{" + ",".join(f"{key}:{value}" for key, value in fields) + "}").encode()


def _mutated_line(rng: random.Random, is_raw: bool) -> bytes:
    fields = usual_fields(rng, is_raw)
    change_fields, change_bytes = rng.choice([(1, 0), (1, 0), (0, 1), (0, 1), (1, 1), (3, 0)])
    for _ in range(change_fields):  # fewer than there are fields
        rng.choice(FIELD_MUTATIONS)(rng, fields)
    line = join_fields(fields)
    for _ in range(change_bytes * rng.randint(1, 3)):
        line = rng.choice(BYTE_MUTATIONS)(rng, line, rng.randrange(len(line) + 1))
    return line.replace(b"\n", b" ")


def _replace_value(rng: random.Random, fields: Fields) -> None:
    at = rng.randrange(len(fields))
    fields[at] = fields[at][0], rng.choice(VALUES)


def _replace_number(rng: random.Random, fields: Fields) -> None:
    at = rng.randrange(len(fields))
    key, value = fields[at]
    places = [i for i, character in enumerate(value) if character.isdigit()] or [0]
    place = rng.choice(places)
    fields[at] = key, value[:place] + rng.choice(VALUES) + value[place + 1 :]


def _replace_key(rng: random.Random, fields: Fields) -> None:
    at = rng.randrange(len(fields))
    key = rng.choice(['"wor\\u0064"', '"Word"', '"words"', '"key_id "', '""', "word", '"x"', "1"])
    fields[at] = key, fields[at][1]


def _duplicate_key(rng: random.Random, fields: Fields) -> None:
    key, value = rng.choice(fields)
    fields.insert(rng.randrange(len(fields) + 1), (key, rng.choice([value, rng.choice(VALUES)])))


def _remove_field(rng: random.Random, fields: Fields) -> None:
    del fields[rng.randrange(len(fields))]


def _reorder(rng: random.Random, fields: Fields) -> None:
    rng.shuffle(fields)


def _space(rng: random.Random, fields: Fields) -> None:
    at = rng.randrange(len(fields))
    blank = rng.choice([" ", "\t", "\r", "  ", "\x0b", "\u00a0"])
    key, value = fields[at]
    fields[at] = rng.choice([(key + blank, value), (blank + key, value), (key, blank + value)])


FIELD_MUTATIONS: tuple[Callable[[random.Random, Fields], None], ...] = (
    _replace_value,
    _replace_value,
    _replace_number,
    _replace_key,
    _duplicate_key,
    _remove_field,
    _reorder,
    _space,
)


def _replace_byte(rng: random.Random, line: bytes, at: int) -> bytes:
    return line[:at] + bytes([rng.choice(BYTES)]) + line[at + 1 :]


def _insert_byte(rng: random.Random, line: bytes, at: int) -> bytes:
    return line[:at] + bytes([rng.choice(BYTES)]) + line[at:]


def _delete_bytes(rng: random.Random, line: bytes, at: int) -> bytes:
    return line[:at] + line[at + rng.choice([1, 1, 1, 2, 9]) :]


def _repeat_bytes(rng: random.Random, line: bytes, at: int) -> bytes:
    return line[:at] + line[max(0, at - rng.choice([1, 2, 9, 99])) :]


def _truncate(rng: random.Random, line: bytes, at: int) -> bytes:
    return line[:at]


BYTE_MUTATIONS: tuple[Callable[[random.Random, bytes, int], bytes], ...] = (
    _replace_byte,
    _replace_byte,
    _insert_byte,
    _delete_bytes,
    _repeat_bytes,
    _truncate,
)
