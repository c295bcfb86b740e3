"""The npz files of Sketch-RNN: arrays of sketches that are stroke-3 already.

Google's hold an array per split (train, valid, test); other people's hold a single one under a name
of its own. Such an array is a pickle, as its sketches differ in length; see `npz_pickles`.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from tempfile import SpooledTemporaryFile
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from pipeline.config import UserError
from pipeline.ingest.files import File, read_blocks
from pipeline.ingest.formats.npz_pickles import unpickle_objects
from pipeline.ingest.records import MAX_COORDINATE, Parsed, Reason, Reject, from_stroke3
from pipeline.manifest import SPLITS
from sketch_model.config import MAX_OFFSET

MAX_ARRAY_BYTES = 1 << 30
"""Of an array, which is read as a whole: the largest category of Quick, Draw! takes 0.15 GB."""
MEMORY_BYTES = 64 << 20
"""A larger file is put into a temporary file before it is read."""
CHUNK_SKETCHES = 4096


class FractionalOffsets(UserError):
    """Rows that are to be kept as they are, and are not integers."""


class _Member(NamedTuple):
    """An array in an npz file, and what its header says."""

    name: str
    info: zipfile.ZipInfo
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_fortran: bool

    @property
    def may_hold_sketches(self) -> bool:
        if self.dtype.hasobject:
            return len(self.shape) == 1
        return len(self.shape) == 3 and self.dtype.kind in "iuf"


def read_npz(file: File, quantum: float) -> Iterator[Parsed]:
    """Reads the sketches of train, valid and test, or of the only array that holds sketches.

    With `quantum` 0 the rows are kept as they are, which takes integers. Otherwise positions, the
    sums of the offsets, are rounded to multiples of it and their differences stored, so that
    errors do not add up: no point is farther from its place than half a quantum per axis. A sketch
    that is no stroke-3, does not fit int16 or has an offset of more than `MAX_OFFSET` quanta, which
    training would clip, is a reject; they are numbered in the order of the arrays, whose names are
    in the rejects' details.

    Raises:
        UserError: if the file cannot be read, is no npz file, holds anything but arrays of numbers,
            or holds offsets that are not integers where `quantum` is 0.
    """
    with SpooledTemporaryFile(MEMORY_BYTES) as store:
        for block in read_blocks(file):
            store.write(block)
        try:
            yield from _read_archive(store, file, quantum)
        except (ValueError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"{file.uri} is not an npz file of sketches ({error}): replace the file"
            ) from error


def _read_archive(store: IO[bytes], file: File, quantum: float) -> Iterator[Parsed]:
    num_before = 0
    with zipfile.ZipFile(store) as archive:
        for member in _choose_members(archive):
            sketches = _read_sketches(archive, member)
            for first in range(0, len(sketches), CHUNK_SKETCHES):
                chunk = _Chunk(file, member.name, first, sketches[first : first + CHUNK_SKETCHES])
                yield chunk.convert(quantum, num_before + first)
            num_before += len(sketches)


def _choose_members(archive: zipfile.ZipFile) -> list[_Member]:
    found = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name in found:
            raise ValueError(f"it has two arrays {name!r}")
        with archive.open(info) as stream:
            found[name] = _Member(name, info, *_read_header(stream, name))
    sketches = {name: member for name, member in found.items() if member.may_hold_sketches}
    splits = [sketches.pop(name) for name in SPLITS if name in sketches]
    if sketches and (splits or len(sketches) > 1):
        names = ", ".join(sorted([*sketches, *(member.name for member in splits)]))
        raise ValueError(
            f"it has the arrays {names[:200]}: it may have {', '.join(SPLITS)}, or a single other"
        )
    if not sketches and not splits:
        raise ValueError(f"none of its {len(found)} arrays holds sketches")
    return splits or list(sketches.values())


def _read_header(stream: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    try:
        version = npy.read_magic(stream)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, is_fortran, dtype = read(stream)
    except (ValueError, KeyError, TypeError, SyntaxError) as error:
        raise ValueError(f"{name!r} is not an array") from error
    return shape, dtype, is_fortran


def _read_sketches(archive: zipfile.ZipFile, member: _Member) -> list[Any]:
    if member.info.file_size > MAX_ARRAY_BYTES:
        raise ValueError(
            f"{member.name!r} has {member.info.file_size} bytes, at most {MAX_ARRAY_BYTES} are read"
        )
    with archive.open(member.info) as stream:
        _read_header(stream, member.name)
        content = stream.read()
    try:
        if not member.dtype.hasobject:
            return list(_to_array(content, member))
        objects = unpickle_objects(content)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{member.name!r} holds something else than numbers: {error}") from error
    if len(objects) != member.shape[0]:
        raise ValueError(f"{member.name!r} has {len(objects)} elements, not {member.shape[0]}")
    return objects


def _to_array(content: bytes, member: _Member) -> NDArray[Any]:
    shape = member.shape[::-1] if member.is_fortran else member.shape
    array = np.frombuffer(content, member.dtype).reshape(shape)
    return array.T if member.is_fortran else array


def _is_stroke3(sketch: Any) -> bool:
    return (
        isinstance(sketch, np.ndarray)
        and sketch.ndim == 2
        and sketch.shape[1] == 3
        and len(sketch) > 0
        and sketch.dtype.kind in "iuf"
    )


class _Chunk(NamedTuple):
    """Some sketches of an array."""

    file: File
    array: str
    first: int
    """Index of the first of them."""
    sketches: Sequence[Any]

    def convert(self, quantum: float, num_before: int) -> Parsed:
        given = np.array([_is_stroke3(sketch) for sketch in self.sketches], dtype=np.bool_)
        arrays = [sketch for sketch, is_given in zip(self.sketches, given, strict=True) if is_given]
        lengths = np.array([len(each) for each in arrays], dtype=np.int64)
        rows = np.concatenate([np.empty((0, 3)), *arrays], dtype=np.float64, casting="unsafe")
        problems = {Reason.not_stroke3: ~given}
        for reason, wrong in self._check(rows, lengths, quantum).items():
            problems[reason] = np.zeros(len(given), dtype=np.bool_)
            problems[reason][given] = wrong
        rejects = self._reject(problems, num_before)
        good = ~np.logical_or.reduce(list(problems.values()))[given]
        points = rows[np.repeat(good, lengths)].astype(np.int16)
        split = SPLITS.index(self.array) if self.array in SPLITS else -1
        columns = from_stroke3(
            points, lengths[good], split=np.full(good.sum(), split, dtype=np.int8)
        )
        return Parsed(columns, rejects, len(self.sketches))

    def _check(
        self, rows: NDArray[np.float64], lengths: NDArray[np.int64], quantum: float
    ) -> dict[Reason, NDArray[np.bool_]]:
        """Of each problem, which sketches have it; puts the rows in units of the quantum."""
        first = np.cumsum(lengths) - lengths

        def any_of(is_wrong: NDArray[np.bool_]) -> NDArray[np.bool_]:
            if not len(first):
                return np.empty(0, dtype=np.bool_)
            return np.logical_or.reduceat(is_wrong.reshape(len(rows), -1).any(axis=1), first)

        infinite = any_of(~np.isfinite(rows))
        bad_pen = any_of((rows[:, 2] != 0) & (rows[:, 2] != 1))
        if quantum:
            _quantize(rows, first, lengths, quantum)
        elif (broken := any_of(rows != np.rint(rows)) & ~infinite & ~bad_pen).any():
            largest = float(np.abs(rows[np.repeat(broken, lengths), :2]).max())
            self._refuse_fractions(int(np.flatnonzero(broken)[0]), largest)
        # NaN is not within anything.
        return {
            Reason.not_finite: infinite,
            Reason.bad_pen: bad_pen,
            Reason.out_of_range: any_of(~(np.abs(rows[:, :2]) <= MAX_COORDINATE)),
            Reason.many_quanta: any_of((quantum > 0) & (np.abs(rows[:, :2]) > MAX_OFFSET)),
        }

    def _refuse_fractions(self, index: int, largest: float) -> None:
        finest = 2.0 ** math.ceil(math.log2(largest / MAX_OFFSET))
        raise FractionalOffsets(
            f"{self.file.uri} has offsets that are not integers, in {self.array} near index"
            f" {self.first + index}: set source.quantum to the unit to store them in, of which no"
            f" offset has more than {MAX_OFFSET}: here source.quantum={finest:g} or above"
        )

    def _reject(self, problems: dict[Reason, NDArray[np.bool_]], num_before: int) -> list[Reject]:
        rejects: dict[int, Reject] = {}
        for reason, wrong in problems.items():
            for index in np.flatnonzero(wrong):
                detail = (
                    f"{self.array}[{self.first + index}] {_describe(self.sketches[int(index)])}"
                )
                rejects.setdefault(int(index), Reject(num_before + int(index) + 1, reason, detail))
        return [rejects[index] for index in sorted(rejects)]


def _quantize(
    rows: NDArray[np.float64], first: NDArray[np.int64], lengths: NDArray[np.int64], quantum: float
) -> None:
    # Sketch by sketch: a sum over all would depend on what lies before a sketch.
    with np.errstate(over="ignore", invalid="ignore"):
        for begin, end in zip(first, first + lengths, strict=True):
            positions = np.rint(np.cumsum(rows[begin:end, :2], axis=0) / quantum)
            rows[begin:end, :2] = np.diff(positions, axis=0, prepend=0)


def _describe(sketch: Any) -> str:
    if not isinstance(sketch, np.ndarray):
        return type(sketch).__name__
    return f"{sketch.dtype} array of shape {sketch.shape}"
