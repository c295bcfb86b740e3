"""Tokens of JSON and of Quick, Draw!'s metadata, read from bytes; compiled.

Each reader takes a cursor at the token's first byte and gives the cursor behind it. A cursor is an
index of the text, unsigned because a signed one costs a test at every access; 0 stands for
`UNUSUAL`: not the token, or not in its plain form, as far as can be told without more ado. No loop
needs a bound: each ends at a line end, which no token contains. Tokens of a fixed length are read
before they are checked, so `PADDING_BYTES` of line ends must follow the text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

PADDING_BYTES = 32
MAX_DIGITS = np.uint64(19)
"""More could exceed 64 bits."""
MAX_INTEGER_DIGITS = np.uint64(18)
"""Likewise with a sign."""
NO_TIMESTAMP = np.iinfo(np.int64).min
"""NaT as an integer."""

Text: TypeAlias = NDArray[np.uint8]
Cursor: TypeAlias = np.uint64
_Function = TypeVar("_Function", bound=Callable[..., Any])

TEXT = types.Array(types.uint8, 1, "C", readonly=True)
CURSOR, INTEGER, FLOAT, FLAG = types.uint64, types.int64, types.float64, types.boolean
UNUSUAL = np.uint64(0)
ONE = np.uint64(1)
LINE_END, SPACE, TAB, RETURN = ord("\n"), ord(" "), ord("\t"), ord("\r")
COMMA, COLON, MINUS, POINT = ord(","), ord(":"), ord("-"), ord(".")
QUOTE, BACKSLASH, LAST_PRINTABLE = ord('"'), ord("\\"), ord("~")

_ZERO, _NINE, _TEN = np.uint64(ord("0")), np.uint64(9), np.uint64(10)
_EXACT_INTEGERS = np.uint64(1 << 53)
"""Up to here every integer is a float."""
_POWERS_OF_TEN = 10.0 ** np.arange(23)
"""All those that are floats exactly."""
_SPLITTER = float((1 << 27) + 1)
"""Cuts a float into halves whose products are exact."""
_ABOVE_ONE = 1.0 + 2.0**-30
"""The correction of a quotient is far more exact than this."""
_MICROSECONDS = 10 ** np.arange(6, -1, -1)
"""What the digits behind a second's point count, by how many there are."""
_DAYS_TO_1970 = 719_468
"""From the first of March of the year 0."""


def compiled(result: Any, *arguments: Any) -> Callable[[_Function], _Function]:
    """Compiles a function that allocates nothing, into every compiled function that calls it.

    Arrays are not counted as references: the counting took two thirds of the time, and who calls
    from Python holds them anyway. Numba renews what it has cached of a file when that file changes,
    not when another does: after a change here, remove `ndjson_scan`'s files from `__pycache__`.

    Args:
        result: numba's type of what is returned, or several.
        arguments: the types of the arguments.
    """
    if isinstance(result, tuple):
        result = types.Tuple(result)  # type: ignore[no-untyped-call]
    options: dict[str, Any] = {"cache": True, "nogil": True, "forceinline": True, "_nrt": False}
    decorate: Callable[[_Function], _Function] = numba.njit(result(*arguments), **options)
    return decorate


def bytes_of(text: str) -> Text:
    """ASCII text as the readers take it."""
    return np.frombuffer(text.encode("ascii"), dtype=np.uint8)


_UTC = bytes_of(' UTC"')


@compiled(CURSOR, TEXT, CURSOR)
def skip_blanks(text: Text, at: Cursor) -> Cursor:
    """The first byte that is not a blank; a line end is none."""
    while text[at] <= SPACE and (text[at] == SPACE or text[at] == TAB or text[at] == RETURN):
        at += ONE
    return at


@compiled(CURSOR, TEXT, CURSOR, TEXT)
def match(text: Text, at: Cursor, expected: Text) -> Cursor:
    """Exactly these bytes."""
    for byte in expected:
        if text[at] != byte:
            return UNUSUAL
        at += ONE
    return at


@compiled((CURSOR, CURSOR), TEXT, CURSOR, CURSOR)
def read_digits(text: Text, at: Cursor, value: np.uint64) -> tuple[Cursor, np.uint64]:
    """Any number of digits, also none, appended to those of `value`; many overflow silently."""
    digit = np.uint64(text[at]) - _ZERO
    while digit <= _NINE:
        value = value * _TEN + digit
        at += ONE
        digit = np.uint64(text[at]) - _ZERO
    return at, value


@compiled((CURSOR, CURSOR), TEXT, CURSOR)
def read_natural(text: Text, at: Cursor) -> tuple[Cursor, np.uint64]:
    """An integer without sign, of at most `MAX_DIGITS` digits."""
    end, value = read_digits(text, at, np.uint64(0))
    has_leading_zero = text[at] == _ZERO and end - at > ONE
    if end == at or end - at > MAX_DIGITS or has_leading_zero:
        return UNUSUAL, value
    return end, value


@compiled((CURSOR, INTEGER), TEXT, CURSOR)
def read_integer(text: Text, at: Cursor) -> tuple[Cursor, np.int64]:
    """An integer of at most `MAX_INTEGER_DIGITS` digits; -0 is unusual."""
    is_negative = text[at] == MINUS
    begin = at + ONE if is_negative else at
    end, magnitude = read_natural(text, begin)
    if end == UNUSUAL or end - begin > MAX_INTEGER_DIGITS or (is_negative and magnitude == 0):
        return UNUSUAL, np.int64(0)
    value = np.int64(magnitude)
    return end, -value if is_negative else value


@compiled(FLOAT, FLOAT, FLOAT, FLOAT)
def _remainder(dividend: float, quotient: float, divisor: float) -> float:
    """dividend - quotient * divisor without rounding, the product by Dekker (1971)."""
    product = quotient * divisor
    a = quotient * _SPLITTER
    a_high = a - (a - quotient)
    a_low = quotient - a_high
    b = divisor * _SPLITTER
    b_high = b - (b - divisor)
    b_low = divisor - b_high
    rest = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return (dividend - product) - rest


@compiled((FLAG, FLOAT), CURSOR, CURSOR)
def _divide_by_power_of_ten(digits: np.uint64, exponent: np.uint64) -> tuple[bool, float]:
    """Whether the quotient is certainly the nearest float, and the quotient.

    Up to 2**53 the operands are floats, and one division rounds once (Clinger 1990). Beyond, a
    quotient of floats is corrected by its exact remainder; should the sum be too close to the
    middle between two floats (Ziv 1991), it is not certain.
    """
    if exponent > MAX_DIGITS:
        return False, 0.0
    power = _POWERS_OF_TEN[exponent]
    high = np.float64(digits)
    if digits <= _EXACT_INTEGERS:
        return True, high / power
    low = np.float64(np.int64(digits - np.uint64(high)))
    quotient = high / power
    correction = (_remainder(high, quotient, power) + low) / power
    value = quotient + correction
    error = correction - (value - quotient)
    return value + error * _ABOVE_ONE == value, value


@compiled((CURSOR, FLOAT), TEXT, CURSOR)
def read_number(text: Text, at: Cursor) -> tuple[Cursor, float]:
    """A number without exponent, rounded to the nearest float; -0 is unusual."""
    is_negative = text[at] == MINUS
    begin = at + ONE if is_negative else at
    end, digits = read_natural(text, begin)
    if end == UNUSUAL:
        return UNUSUAL, 0.0
    num_digits, num_decimals = end - begin, np.uint64(0)
    if text[end] == POINT:
        point = end
        end, digits = read_digits(text, point + ONE, digits)
        num_decimals = end - point - ONE
        num_digits += num_decimals
        if num_decimals == 0:
            return UNUSUAL, 0.0
    is_exact, value = _divide_by_power_of_ten(digits, num_decimals)
    if not is_exact or num_digits > MAX_DIGITS or (is_negative and digits == 0):
        return UNUSUAL, 0.0
    return end, -value if is_negative else value


@compiled((INTEGER, INTEGER), TEXT, CURSOR, INTEGER)
def _read_fixed(text: Text, at: Cursor, num_digits: int) -> tuple[np.int64, np.int64]:
    """Whether there are so many digits, 1 or 0, and their value."""
    is_digits, value = np.int64(1), np.int64(0)
    for i in range(num_digits):
        digit = np.int64(text[at + np.uint64(i)]) - ord("0")
        is_digits &= np.int64(0 <= digit <= 9)
        value = value * 10 + digit
    return is_digits, value


@compiled((CURSOR, INTEGER), TEXT, CURSOR)
def _read_fraction(text: Text, at: Cursor) -> tuple[Cursor, np.int64]:
    """Of a second, in microseconds, and what ends a timestamp."""
    microseconds = np.int64(0)
    if text[at] == POINT:
        begin = at + ONE
        at, digits = read_digits(text, begin, np.uint64(0))
        num_digits = at - begin
        if num_digits == 0 or num_digits > 6:
            return UNUSUAL, np.int64(0)
        microseconds = np.int64(digits) * _MICROSECONDS[num_digits]
    return match(text, at, _UTC), microseconds


@compiled(FLAG, INTEGER, INTEGER, INTEGER)
def _is_date(year: np.int64, month: np.int64, day: np.int64) -> bool:
    if year < 1 or not 1 <= month <= 12:
        return False
    num_days = 30 + ((month ^ (month >> 3)) & 1)
    if month == 2:
        is_leap_year = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        num_days = np.int64(29 if is_leap_year else 28)
    return bool(1 <= day <= num_days)


@compiled(INTEGER, INTEGER, INTEGER, INTEGER)
def _count_days(year: np.int64, month: np.int64, day: np.int64) -> np.int64:
    """Days since 1970 of the Gregorian calendar; years begin in March, so leap days end them."""
    if month <= 2:
        year -= 1
        month += 12
    before_month = (153 * (month - 3) + 2) // 5
    return (
        365 * year + year // 4 - year // 100 + year // 400 + before_month + day - 1 - _DAYS_TO_1970
    )


@compiled((CURSOR, INTEGER), TEXT, CURSOR)
def read_timestamp(text: Text, at: Cursor) -> tuple[Cursor, np.int64]:
    """A string "2017-03-02 23:25:10.07453 UTC" as microseconds since 1970.

    The fraction may have up to six digits, or lack with its point.
    """
    is_year, year = _read_fixed(text, at + np.uint64(1), 4)
    is_month, month = _read_fixed(text, at + np.uint64(6), 2)
    is_day, day = _read_fixed(text, at + np.uint64(9), 2)
    is_hour, hour = _read_fixed(text, at + np.uint64(12), 2)
    is_minute, minute = _read_fixed(text, at + np.uint64(15), 2)
    is_second, second = _read_fixed(text, at + np.uint64(18), 2)
    has_marks = (
        text[at] == QUOTE
        and text[at + np.uint64(5)] == MINUS
        and text[at + np.uint64(8)] == MINUS
        and text[at + np.uint64(11)] == SPACE
        and text[at + np.uint64(14)] == COLON
        and text[at + np.uint64(17)] == COLON
    )
    is_time = hour < 24 and minute < 60 and second < 60
    if not (
        is_year & is_month & is_day & is_hour & is_minute & is_second
        and has_marks
        and is_time
        and _is_date(year, month, day)
    ):
        return UNUSUAL, np.int64(0)
    end, microseconds = _read_fraction(text, at + np.uint64(20))
    seconds = ((_count_days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second
    return end, seconds * 1_000_000 + microseconds
