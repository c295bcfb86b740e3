"""Simplified drawings as the binary files of Quick, Draw!; the project itself only reads those."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from datetime import UTC, datetime

import orjson


def encode_binary(lines: Iterable[bytes]) -> bytes:
    """Lines of simplified ndjson, with all their fields, as binary records."""
    return b"".join(_encode(orjson.loads(line)) for line in lines)


def _encode(record: dict) -> bytes:  # type: ignore[type-arg]
    strokes = [
        struct.pack("<H", len(x)) + bytes(x) + bytes(y) for x, y in map(tuple, record["drawing"])
    ]
    header = struct.pack(
        "<Q2sBIH",
        int(record["key_id"]),
        record["countrycode"].encode(),
        record["recognized"],
        _seconds(record["timestamp"]),
        len(strokes),
    )
    return header + b"".join(strokes)


def _seconds(timestamp: str) -> int:
    time = datetime.fromisoformat(timestamp.removesuffix(" UTC"))
    return int(time.replace(tzinfo=UTC).timestamp())
