"""All formats are ingested whole, and each promise is held against what was measured."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from benchmarks import ingest
from benchmarks.parsers import LOOP, PARSERS
from pipeline.config import Format

NUM = 600


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bucket")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("QUICKDRAW_ROOT", raising=False)
        patch.setattr(ingest, "SMALL_DRAWINGS", 50)
        patch.setattr(ingest, "GENERATED_RAW_DRAWINGS", 10)
        assert ingest.write_sources(root, NUM) == "doodles"
    return root


@pytest.mark.parametrize("form", [Format.simplified, Format.binary, Format.raw])
def test_every_drawing_is_ingested(form: Format, root: Path) -> None:
    before = sorted(root.rglob("*"))
    found = ingest.ingest_once(form, root)
    assert (found["num_drawings"], found["num_rejected"]) == (NUM, 0)
    assert 0 < found["cpu_s"] < found["duration_s"] * 4
    assert sorted(root.rglob("*")) == before


@pytest.mark.real_data
def test_raw_lines_are_real_where_there_are_any(
    quickdraw_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUICKDRAW_ROOT", str(quickdraw_root))
    assert ingest.write_raw(tmp_path, 40) == "Quick, Draw!"
    lines = (tmp_path / "full" / "raw" / "mixed.ndjson").read_bytes().splitlines()
    assert len(lines) == 40
    assert {orjson.loads(line)["word"] for line in lines} == {"mixed"}


def test_ratios_are_to_the_fastest_parser_and_to_the_loop() -> None:
    rates = dict.fromkeys(PARSERS, 100.0) | {"duckdb": 300.0, LOOP: 60.0}
    rates |= {"ingest_simplified": 210.0, "ingest_binary": 400.0, "ingest_raw": 30_000.0}
    found = ingest.compare(rates)
    assert found["fastest_parser"] == "duckdb"
    assert found["simplified_over_fastest_parser"] == {"value": 0.7, "target": 0.7, "met": True}
    assert found["simplified_over_orjson_loop"] == {"value": 3.5, "target": 3.0, "met": True}
    assert found["binary_over_simplified"] == {"value": 1.9, "target": 2.0, "met": False}
    assert found["raw_drawings_per_s"]["met"]


def test_a_contender_that_loses_drawings_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contenders = ingest.Contenders(tmp_path, 10, "python")
    found = {"num_drawings": 9, "duration_s": 3.0, "cpu_s": 2.0}
    monkeypatch.setattr("benchmarks.timing.run_child", lambda *a, **k: found)
    with pytest.raises(AssertionError, match="of 10 drawings"):
        contenders.functions["duckdb"]()
    found["num_drawings"] = 10
    assert contenders.functions["duckdb"]() == pytest.approx(10 / 3)
    assert contenders.per_cpu_s["duckdb"] == [5.0]
