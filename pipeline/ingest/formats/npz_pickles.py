"""Unpickles arrays of numbers, and nothing else.

A pickle is a program for a small machine. Before it runs here, every instruction is looked at: only
those are admitted that arrays are written with, no length may exceed what the file holds, and no
slot of the machine's memory may be used before its turn. The few names that a pickle of arrays asks
for get stand-ins, which make arrays of the bytes that are there. So neither code nor a claim of any
size has an effect.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
from collections.abc import Callable
from typing import Any, NoReturn

import numba
import numpy as np
from numpy.typing import NDArray

_ADMITTED = """
PROTO FRAME STOP MARK GLOBAL STACK_GLOBAL REDUCE BUILD
NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG1 BINFLOAT
STRING BINSTRING SHORT_BINSTRING BINUNICODE SHORT_BINUNICODE BINUNICODE8
BINBYTES SHORT_BINBYTES BINBYTES8
EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND APPENDS
BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET
"""
"""Opcodes, by their names in pickletools."""
_LENGTH_BYTES = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
_REFUSED = 255
_FRAME, _STOP, _LONG_BINPUT = pickle.FRAME[0], pickle.STOP[0], pickle.LONG_BINPUT[0]
_SAFE = -1
_NUMBERS = re.compile(r"[<>|=]?([iu][1248]|f[248])")
_OBJECTS = re.compile(r"O[48]?")


def _describe_opcodes() -> NDArray[np.uint8]:
    """Of each opcode: bytes of its argument, bytes of the length before that, lines: [256, 3]."""
    table = np.full((256, 3), _REFUSED, dtype=np.uint8)
    for opcode in pickletools.opcodes:
        if opcode.name in _ADMITTED.split():
            size = opcode.arg.n if opcode.arg else 0
            num_lines = 2 if opcode.name == "GLOBAL" else int(size == pickletools.UP_TO_NEWLINE)
            table[ord(opcode.code)] = max(size, 0), _LENGTH_BYTES.get(size, 0), num_lines
    return table


_OPCODES = _describe_opcodes()


@numba.njit("int64(uint8[::1], int64, int64)", cache=True, nogil=True)
def _read_length(program: NDArray[np.uint8], at: int, num_bytes: int) -> int:
    """A little-endian number; one beyond what is left of the program gives its whole length."""
    value = 0
    for i in range(num_bytes - 1, -1, -1):
        if at + i >= len(program) or value > len(program):
            return len(program)
        value = 256 * value + program[at + i]
    return value


@numba.njit("int64(uint8[::1], uint8[:, ::1])", cache=True, nogil=True)
def _find_refused(program: NDArray[np.uint8], opcodes: NDArray[np.uint8]) -> int:
    """Index of the first instruction that must not run, or _SAFE."""
    at, frame_end, num_instructions, size = 0, 0, 0, len(program)
    while at < size:
        begin, opcode = at, program[at]
        if opcodes[opcode, 0] == _REFUSED:
            return begin
        at += 1
        if opcode == _FRAME:
            # Read ahead as a whole: what would cross its end would be read otherwise than here.
            if begin < frame_end:
                return begin
            frame_end = at + 8 + _read_length(program, at, 8)
            if frame_end > size:
                return begin
        elif opcode == _LONG_BINPUT and _read_length(program, at, 4) > num_instructions:
            return begin
        num_length_bytes = int(np.int64(opcodes[opcode, 1]))
        if num_length_bytes:
            at += num_length_bytes + _read_length(program, at, num_length_bytes)
        at += int(np.int64(opcodes[opcode, 0]))
        for _ in range(opcodes[opcode, 2]):
            while at < size and program[at] != 10:
                at += 1
            at += 1
        if at > size or (begin < frame_end < at and opcode != _FRAME):
            return begin
        if opcode == _STOP:
            return _SAFE
        num_instructions += 1
    return _SAFE


class _Dtype:
    def __init__(self, code: Any, *_: Any) -> None:
        self.code, self.order = str(code), ""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    @property
    def of_numbers(self) -> np.dtype[Any]:
        """Raises pickle.UnpicklingError if it is of anything else."""
        name = f"{self.order}{self.code}"
        if not _NUMBERS.fullmatch(name):
            raise pickle.UnpicklingError(f"an array of dtype {name[:20]!r}")
        return np.dtype(name)


class _Array:
    """Becomes `values`: a list of objects, or an array of numbers."""

    values: list[Any] | NDArray[Any]

    def __init__(self, *_: Any) -> None:
        self.values = []

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, data = state
        if _OBJECTS.fullmatch(dtype.code):
            self.values = list(data)
            return
        # Python 2 wrote bytes as text.
        raw = data.encode("latin1") if isinstance(data, str) else data
        # Makes nothing beyond the bytes that are there, whatever the shape says.
        self.values = np.ndarray(shape, dtype.of_numbers, raw, order="F" if is_fortran else "C")
        if self.values.nbytes != len(raw):
            raise pickle.UnpicklingError(f"{len(raw)} bytes for an array of shape {shape}")


class _StandIn:
    """For a function or class that a pickle names; nothing can be set on it."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *args: Any) -> Any:
        return self._make(*args)

    def __setstate__(self, state: object) -> NoReturn:
        raise pickle.UnpicklingError("it changes a function or a class")


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r:.20}")
    return text.encode("latin1")


_ADMITTED_NAMES: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    **{
        (f"numpy.{core}.{module}", "_reconstruct"): _Array
        for core in ("core", "_core")
        for module in ("multiarray", "_multiarray_umath")
    },
    # A number is no sketch, and which number it is does not matter.
    **{
        (f"numpy.{core}.{module}", "scalar"): lambda *_: None
        for core in ("core", "_core")
        for module in ("multiarray", "_multiarray_umath")
    },
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        make = _ADMITTED_NAMES.get((module, name))
        if make is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}"[:200])
        return _StandIn(make)


def unpickle_objects(program: bytes) -> list[Any]:
    """Elements of a pickled object array; those that are arrays of numbers as such.

    Raises:
        ValueError: if the pickle is anything else, in part or as a whole; says what.
    """
    refused = _find_refused(np.frombuffer(bytearray(program), dtype=np.uint8), _OPCODES)
    if refused != _SAFE:
        raise ValueError(
            f"instruction {program[refused : refused + 1]!r} at byte {refused} of its pickle is"
            " none that arrays are written with"
        )
    try:
        array = _Unpickler(io.BytesIO(program), encoding="latin1").load()
    except Exception as error:  # a wrong program fails in as many ways as any other
        raise ValueError(f"{error}"[:300] or type(error).__name__) from error
    if not isinstance(array, _Array) or not isinstance(array.values, list):
        raise ValueError("its pickle is not an array of objects")
    return [each.values if isinstance(each, _Array) else each for each in array.values]
