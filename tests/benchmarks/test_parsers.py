"""Every parser that the ingest is compared with finds all points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest

from benchmarks.drawings import write_simplified
from benchmarks.parsers import LOOP, PARSERS, loop_with_orjson, parse_with_orjson, run

MODULES = {"pysimdjson": "simdjson", LOOP: "orjson"}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_simplified(tmp_path_factory.mktemp("parsers"), "cat", 4000)


@pytest.mark.parametrize("name", [*PARSERS, LOOP])
def test_it_finds_all_drawings_and_points(name: str, path: Path) -> None:
    pytest.importorskip(MODULES.get(name, name))
    drawings = [orjson.loads(line)["drawing"] for line in path.read_bytes().splitlines()]
    found = run(name, str(path))
    assert found["num_drawings"] == len(drawings)
    assert found["num_points"] == sum(len(xs) for drawing in drawings for xs, _ in drawing)


def test_coordinates_are_those_of_the_file(path: Path) -> None:
    drawings = [orjson.loads(line)["drawing"] for line in path.read_bytes().splitlines()]
    flat = [value for drawing in drawings for stroke in drawing for xs in stroke for value in xs]
    parts = list(parse_with_orjson(str(path)))
    assert np.concatenate([part.coordinates for part in parts]).tolist() == flat
    assert sum(len(part.strokes_per_drawing) for part in parts) == len(drawings)


def test_the_loop_gives_offsets(path: Path) -> None:
    first, *_ = loop_with_orjson(str(path))
    (xs, ys), *_ = orjson.loads(path.read_bytes().splitlines()[0])["drawing"]
    assert first.coordinates[: len(xs), 0].cumsum().tolist() == xs
    assert first.coordinates[: len(xs), 1].cumsum().tolist() == ys
