"""ndjson of Quick, Draw! in, columns of stroke-3 sketches out; a bad line ends as a reject, alone.

All lines of a buffer are read by `ndjson_scan`, which leaves out those that are not of the usual
kind; `ndjson_lines` reads these one by one. Both give the same for a line that both can read, so
nobody can tell from the result which one it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.ingest.formats.ndjson_lines import MAX_RAW_LINE_BYTES, decode_lines
from pipeline.ingest.formats.ndjson_scan import Columns, make_columns, scan
from pipeline.ingest.formats.ndjson_tokens import PADDING_BYTES, bytes_of
from pipeline.ingest.records import MAX_LINE_BYTES, Drawings, Parsed, Reject, from_strokes
from pipeline.simplification import Drawings as RawDrawings
from pipeline.simplification import simplify

SCAN_BYTES = 512 << 10
"""Of text read at once: with its columns it stays in the processor's cache."""


class Buffer(NamedTuple):
    """Whole lines, one after another."""

    text: bytes
    """With `PADDING_BYTES` of line ends, and perhaps more, behind the lines."""
    size: int
    """Bytes of the lines, their line ends included."""


def read_simplified(blocks: Iterable[bytes], word: str) -> Iterator[Parsed]:
    """Drawings in integers, strokes of x and y.

    Strokes become stroke-3 as in Google's npz files.

    Args:
        blocks: consecutive bytes of whole lines. The last line may lack its end.
        word: what the file holds; a line that says another word is a reject.
    """
    return _read(blocks, word, is_raw=False)


def read_raw(blocks: Iterable[bytes], word: str) -> Iterator[Parsed]:
    """Drawings as the pen went, strokes of x, y and time; simplified as Google does.

    Args:
        blocks, word: as for `read_simplified`.
    """
    return _read(blocks, word, is_raw=True)


def _read(blocks: Iterable[bytes], word: str, *, is_raw: bool) -> Iterator[Parsed]:
    reader = _Reader(word, is_raw)
    first_line = 1
    for buffer in join_lines(blocks, MAX_RAW_LINE_BYTES if is_raw else MAX_LINE_BYTES):
        parsed = reader.read(buffer, first_line)
        yield parsed
        first_line += parsed.num_records


def join_lines(blocks: Iterable[bytes], max_line_bytes: int) -> Iterator[Buffer]:
    """The lines of blocks, in buffers of about `SCAN_BYTES`.

    Of a line that is too long only the beginning is kept, enough for its length to show.
    """
    held, num_held = [b""], 0
    for block in blocks:
        held.append(block)
        num_held += len(block)
        if num_held < SCAN_BYTES:
            continue
        text = b"".join([*held, b"\n" * PADDING_BYTES])
        size = text.rfind(b"\n", 0, num_held) + 1
        if size:
            yield Buffer(text, size)
        tail = text[size : min(num_held, size + max_line_bytes + 1)]
        held, num_held = [tail], len(tail)
    if num_held:
        text = b"".join([*held, b"\n" * (PADDING_BYTES + 1)])
        yield Buffer(text, num_held if text[num_held - 1] == ord("\n") else num_held + 1)


class _Reader:
    """Reads buffers one after another into columns whose memory is used again and again."""

    def __init__(self, word: str, is_raw: bool) -> None:
        self._word = word
        self._is_raw = is_raw
        is_plain = word.isascii() and word.isprintable() and not set(word) & {'"', "\\"}
        # A line end stands for a word that no usual line holds.
        self._quoted_word = bytes_of(f'"{word}"' if is_plain else "\n")
        self._room = (0, 0)
        self._columns = make_columns(0, 0, 0, is_raw=is_raw)

    def read(self, buffer: Buffer, first_line: int) -> Parsed:
        """All lines of a buffer, the first of which has this number."""
        # Five times as fast as `bytes.count`.
        text = np.frombuffer(buffer.text, dtype=np.uint8, count=buffer.size)
        num_lines = int(np.count_nonzero(text == ord("\n")))
        columns, unusual = self._scan(buffer, num_lines)
        drawings, fits = convert(columns, is_raw=self._is_raw)
        if len(drawings) == num_lines:
            return Parsed(drawings, [], num_lines)
        lines = np.concatenate([unusual, np.stack([columns.line, columns.start], axis=1)[~fits]])
        careful, rejects = self._decode(buffer.text, lines[np.argsort(lines[:, 0])])
        order = np.argsort(np.concatenate([columns.line[fits], careful.line]))
        more, _ = convert(careful, is_raw=self._is_raw)
        drawings = Drawings.concatenate([drawings, more]).take(order)
        rejects = [
            Reject(first_line + reject.line, reject.reason, reject.detail) for reject in rejects
        ]
        return Parsed(drawings, rejects, num_lines)

    def _scan(self, buffer: Buffer, num_lines: int) -> tuple[Columns, NDArray[np.int64]]:
        """The usual lines, and number and first byte of the others."""
        limit = MAX_RAW_LINE_BYTES if self._is_raw else MAX_LINE_BYTES
        room = max(self._room[0], num_lines), max(self._room[1], buffer.size)
        if room != self._room:
            # A stroke takes ten bytes or more, a number two.
            self._columns = make_columns(
                room[0], room[1] // 8 + 1, room[1] // 2 + 1, is_raw=self._is_raw
            )
            self._room = room
        text = np.frombuffer(buffer.text, dtype=np.uint8)
        unusual = np.empty((num_lines, 2), dtype=np.int64)
        *num, num_unusual = scan(
            text, buffer.size, self._quoted_word, limit, self._is_raw, self._columns, unusual
        )
        return self._columns.trim(*num), unusual[:num_unusual]

    def _decode(self, text: bytes, lines: NDArray[np.int64]) -> tuple[Columns, list[Reject]]:
        numbered = (
            (line, text[start : text.index(b"\n", start)]) for line, start in lines.tolist()
        )
        return decode_lines(numbered, self._word, is_raw=self._is_raw)


def convert(columns: Columns, *, is_raw: bool) -> tuple[Drawings, NDArray[np.bool_]]:
    """The drawings that fit, raw ones simplified, and which of the given ones they are."""
    xy, points_per_stroke = columns.xy, columns.points_per_stroke
    if is_raw:
        simple = simplify(
            RawDrawings(columns.raw[:2], points_per_stroke, columns.strokes_per_drawing)
        )
        xy, points_per_stroke = simple.points.T.astype(np.int32), simple.points_per_stroke
    # Copies, for the memory of the columns is used again.
    return from_strokes(
        xy,
        points_per_stroke,
        columns.strokes_per_drawing,
        ids=columns.ids,
        has_id=columns.has_id,
        countrycode=columns.countrycode.copy(),
        timestamp=columns.timestamp.astype("datetime64[us]"),
        recognized=columns.recognized.copy(),
    )
