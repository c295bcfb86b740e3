"""Small folders of drawings, laid out like the public bucket."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Source, SourceConfig

Lines = list[bytes]


def _random_walk(rng: random.Random, num_points: int) -> list[list[int]]:
    x, y = [rng.randrange(256)], [rng.randrange(256)]
    for _ in range(num_points - 1):
        x.append(min(255, max(0, x[-1] + rng.randint(-40, 40))))
        y.append(min(255, max(0, y[-1] + rng.randint(-40, 40))))
    return [x, y]


@pytest.fixture(scope="session")
def make_drawing() -> Callable[[str, int], dict[str, Any]]:
    """Drawing `index` of a word: random walks, in the simplified schema of Quick, Draw!."""

    def make(word: str, index: int) -> dict[str, Any]:
        rng = random.Random(zlib.crc32(f"{word} {index}".encode()))
        strokes = [_random_walk(rng, rng.randint(1, 12)) for _ in range(rng.randint(1, 5))]
        return {
            "word": word,
            "countrycode": rng.choice(["DE", "BR", "US"]),
            "timestamp": f"2017-03-{1 + index % 28:02d} 12:17:06.12757 UTC",
            "recognized": rng.random() < 0.9,
            "key_id": str(4503626191994880 + index),
            "drawing": strokes,
        }

    return make


@pytest.fixture(scope="session")
def make_lines(make_drawing: Callable[[str, int], dict[str, Any]]) -> Callable[[str, int], Lines]:
    """The first lines of a word's ndjson, without line ends."""
    return lambda word, num: [json.dumps(make_drawing(word, i)).encode() for i in range(num)]


@pytest.fixture
def make_source(
    tmp_path: Path, make_lines: Callable[[str, int], Lines]
) -> Callable[..., SourceConfig]:
    """Writes `{word: number of drawings, or lines}` as a folder and gives its config."""

    def make(
        full: Mapping[str, int | Lines], partial: Mapping[str, Lines] | None = None
    ) -> SourceConfig:
        root = tmp_path / "bucket"
        for folder, content in (("full", full), ("partial", partial or {})):
            for word, what in content.items():
                lines = make_lines(word, what) if isinstance(what, int) else what
                path = root / folder / "simplified" / f"{word}.ndjson"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"".join(line + b"\n" for line in lines))
        return SourceConfig(name=Source.local, root=str(root))

    return make
