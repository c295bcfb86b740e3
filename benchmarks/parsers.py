"""Well-kept JSON parsers on simplified ndjson: to arrays of points and strokes, no further.

    PEER_PYTHON benchmarks/parsers.py NAME FILE

Runs under the Python of the peers (benchmarks/requirements-parsers.txt) and imports nothing of this
project. Each parser is used in the fastest way of several that were tried: with a schema of the
drawing alone, in batches that stay in the cache. Each counts what it found, so that none can skip
it. Prints one JSON line.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

CHUNK_BYTES = 1 << 20
WARM_UP_LINES = 2000


class Found(NamedTuple):
    """Some drawings: coordinates of any layout, and two levels of lengths."""

    coordinates: NDArray[Any]
    points_per_stroke: NDArray[Any]
    strokes_per_drawing: NDArray[Any]


def parse_with_simdjson(path: str) -> Iterator[Found]:
    """A document per line; only proxies of strokes become Python objects."""
    import simdjson  # type: ignore[import-not-found, unused-ignore]

    parser = simdjson.Parser()
    for lines in _chunks(path):
        buffers, lengths = [], []
        for line in lines:
            drawing = parser.parse(line)["drawing"]
            buffers.append(drawing.as_buffer(of_type="u"))
            lengths.append([len(stroke[0]) for stroke in drawing])
            del drawing  # a parser refuses to go on while something refers to its document
        yield Found(
            np.frombuffer(b"".join(buffers), dtype=np.uint64).astype(np.int16),
            np.fromiter(chain.from_iterable(lengths), dtype=np.int64),
            np.fromiter(map(len, lengths), dtype=np.int64),
        )


def parse_with_duckdb(path: str) -> Iterator[Found]:
    """SQL over the file, batch by batch to Arrow; small batches are a fifth faster than large."""
    import duckdb  # type: ignore[import-not-found, unused-ignore]

    connection = duckdb.connect(config={"threads": 1})
    query = (
        f"SELECT drawing FROM read_json('{path}', format='newline_delimited',"
        " columns={drawing: 'UTINYINT[][][]'})"
    )
    return _flatten_arrow(connection.sql(query).to_arrow_reader(4096))


def parse_with_pyarrow(path: str) -> Iterator[Found]:
    """Arrow's own reader with an explicit schema."""
    import pyarrow as pa
    import pyarrow.json

    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    schema = pa.schema([("drawing", pa.list_(pa.list_(pa.list_(pa.uint8()))))])
    return _flatten_arrow(
        pa.json.open_json(
            path,
            read_options=pa.json.ReadOptions(use_threads=False, block_size=CHUNK_BYTES),
            parse_options=pa.json.ParseOptions(
                explicit_schema=schema, unexpected_field_behavior="ignore"
            ),
        )
    )


def parse_with_polars(path: str) -> Iterator[Found]:
    """A lazy scan with a schema; its threads are bounded by POLARS_MAX_THREADS."""
    import polars as pl  # type: ignore[import-not-found, unused-ignore]

    schema = {"drawing": pl.List(pl.List(pl.List(pl.UInt8)))}
    drawings = pl.scan_ndjson(path, schema=schema).collect()["drawing"]
    columns = drawings.explode().explode()
    yield Found(
        columns.explode().to_numpy(),
        columns.list.len().to_numpy()[::2],
        drawings.list.len().to_numpy(),
    )


def parse_with_orjson(path: str) -> Iterator[Found]:
    """Lists per line, flattened per chunk by way of bytes; the garbage collector is paused."""
    import orjson

    gc.disable()
    for lines in _chunks(path):
        drawings = [row["drawing"] for row in map(orjson.loads, lines)]
        columns = list(chain.from_iterable(chain.from_iterable(drawings)))
        yield Found(
            np.frombuffer(b"".join(map(bytes, columns)), dtype=np.uint8),
            np.fromiter(map(len, columns[::2]), dtype=np.int64),
            np.fromiter(map(len, drawings), dtype=np.int64),
        )
    gc.enable()


def loop_with_orjson(path: str) -> Iterator[Found]:
    """The usual way: line by line, a stroke-3 array for each drawing."""
    import orjson

    for lines in _chunks(path):
        sketches, lengths = [], []
        for line in lines:
            drawing = orjson.loads(line)["drawing"]
            lengths.append([len(stroke[0]) for stroke in drawing])
            points = np.zeros((sum(lengths[-1]), 3), dtype=np.int16)
            start = 0
            for xs, ys in drawing:
                stop = start + len(xs)
                points[start:stop, 0], points[start:stop, 1] = xs, ys
                points[stop - 1, 2] = 1
                start = stop
            points[1:, :2] = np.diff(points[:, :2], axis=0)
            sketches.append(points)
        yield Found(
            np.concatenate(sketches)[:, :2],
            np.fromiter(chain.from_iterable(lengths), dtype=np.int64),
            np.fromiter(map(len, lengths), dtype=np.int64),
        )


def _chunks(path: str) -> Iterator[list[bytes]]:
    with Path(path).open("rb") as file:
        while lines := file.readlines(CHUNK_BYTES):
            yield lines


def _flatten_arrow(batches: Iterable[Any]) -> Iterator[Found]:
    for batch in batches:
        drawings = batch.column(0)
        strokes = drawings.flatten()
        columns = strokes.flatten()
        yield Found(
            columns.flatten().to_numpy(),
            np.diff(columns.offsets.to_numpy())[::2],
            np.diff(drawings.offsets.to_numpy()),
        )


PARSERS: dict[str, Callable[[str], Iterator[Found]]] = {
    "pysimdjson": parse_with_simdjson,
    "duckdb": parse_with_duckdb,
    "pyarrow": parse_with_pyarrow,
    "polars": parse_with_polars,
    "orjson": parse_with_orjson,
}
LOOP = "orjson_loop"


def run(name: str, path: str) -> dict[str, float]:
    """Drawings, points, and seconds of the clock and of the CPU."""
    parse = {**PARSERS, LOOP: loop_with_orjson}[name]
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    num_drawings = num_points = num_values = 0
    for found in parse(path):
        num_drawings += len(found.strokes_per_drawing)
        num_points += int(found.points_per_stroke.sum())
        num_values += found.coordinates.size
    duration_s, cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    if num_values != 2 * num_points:
        raise AssertionError(f"{name} found {num_values} coordinates of {num_points} points")
    return {
        "num_drawings": num_drawings,
        "num_points": num_points,
        "duration_s": duration_s,
        "cpu_s": cpu_s,
    }


def main(name: str, path: str) -> None:
    """Parses some lines to warm up, then the file."""
    with tempfile.NamedTemporaryFile(suffix=".ndjson") as head, Path(path).open("rb") as file:
        head.writelines(line for line, _ in zip(file, range(WARM_UP_LINES), strict=False))
        head.flush()
        run(name, head.name)
    print(json.dumps(run(name, path)))


if __name__ == "__main__":
    main(*sys.argv[1:])
