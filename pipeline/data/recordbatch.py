"""Where a record batch's sketches lie in the bytes of a shard, read without the shard's footer."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.config import UserError
from pipeline.manifest import Shard

Bytes = NDArray[np.uint8]

_MAGIC_BYTES = 8
"""Before the schema, with which a file begins: "ARROW1" and padding."""
_SCHEMA = pa.schema([pa.field("points", pa.list_(pa.list_(pa.int16(), 3)), nullable=False)])
"""Of the first column, the only one that is read."""


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """One record batch of a shard.

    Attributes:
        shard: the shard.
        location: path or address of the shard.
        index: which of the shard's record batches it is.
    """

    shard: Shard
    location: str
    index: int

    @property
    def start(self) -> int:
        """Its first byte; of the first record batch, the file's."""
        return self.shard.ends[self.index - 1] if self.index else 0

    @property
    def stop(self) -> int:
        """The byte after its last."""
        return self.shard.ends[self.index]

    @property
    def size_bytes(self) -> int:
        """How many there are."""
        return self.stop - self.start

    @property
    def num_sketches(self) -> int:
        """Its rows."""
        full = self.shard.recordbatch_rows
        return min(full, self.shard.num_sketches - self.index * full)

    def verify(self, content: Bytes | bytes) -> None:
        """Raises UserError if its bytes are not what was written."""
        compare_crc32(
            content, self.shard.crc32[self.index], self.location, f"record batch {self.index}"
        )

    def locate(self, content: Bytes) -> tuple[int, int]:
        """Addresses of its offsets and points, which are valid as long as `content` is.

        Raises:
            UserError: if they do not lie in `content`.
        """
        try:
            offsets, points = _read_points(content, skips_schema=self.index == 0)
            if len(offsets) != self.num_sketches + 1:
                raise ValueError(f"{len(offsets) - 1} rows instead of {self.num_sketches}")
            _check_inside(offsets, content)
            if 3 * int(offsets[-1]) > len(points):
                raise ValueError(f"{len(points)} values instead of {3 * int(offsets[-1])}")
            _check_inside(points, content)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise UserError(
                f"{self.location}, record batch {self.index} is damaged ({error});"
                f" {remedy(self.location)}"
            ) from error
        return offsets.ctypes.data, points.ctypes.data


def map_file(path: Path) -> Bytes:
    """The content of a file, memory-mapped; it need not be open, nor be there, to stay so."""
    # Closing the file frees its descriptor; the buffer keeps what is mapped.
    with pa.memory_map(str(path)) as file:
        return np.frombuffer(file.read_buffer(), dtype=np.uint8)


def compare_crc32(content: Bytes | bytes, expected: int, location: str, part: str) -> None:
    """Raises UserError if a part of a shard has another CRC-32."""
    crc32 = zlib.crc32(np.frombuffer(content, dtype=np.uint8).data)
    if crc32 != expected:
        raise UserError(
            f"{location}, {part} is damaged: its CRC-32 is {crc32:08x}, the manifest has"
            f" {expected:08x}; {remedy(location)}"
        )


def remedy(location: str) -> str:
    """What to do about a shard that cannot be used."""
    return f"delete {location.rpartition('/')[0]}, then run ingest and prepare again"


def _read_points(
    content: Bytes, *, skips_schema: bool
) -> tuple[NDArray[np.int32], NDArray[np.int16]]:
    reader = pa.BufferReader(pa.py_buffer(content))
    if skips_schema:
        reader.seek(_MAGIC_BYTES)
        pa.ipc.read_message(reader)
    column = pa.ipc.read_record_batch(pa.ipc.read_message(reader), _SCHEMA).column("points")
    return column.offsets.to_numpy(), column.values.values.to_numpy()


def _check_inside(values: NDArray[np.integer[Any]], content: Bytes) -> None:
    """Kernels read at bare addresses, so they must lie in what is mapped, not in a copy."""
    first, start = values.ctypes.data, content.ctypes.data
    if not start <= first <= first + values.nbytes <= start + content.nbytes:
        raise ValueError("its buffers lie outside the file")
