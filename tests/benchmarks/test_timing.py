"""Contenders take turns; children report what they found and what they needed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from benchmarks import memory, timing

MB = 1_000_000


def test_contenders_take_turns() -> None:
    turns: list[str] = []

    def measure(name: str) -> float:
        turns.append(name)
        return float(len(turns))

    names = ("a", "b")
    figures = timing.alternate({n: lambda n=n: measure(n) for n in names}, 3)  # type: ignore[misc]
    assert turns == ["a", "b"] * 3
    assert figures == {"a": [1, 3, 5], "b": [2, 4, 6]}
    assert timing.medians(figures) == {"a": 3, "b": 4}


def test_a_child_gives_the_last_thing_it_prints() -> None:
    assert timing.run_child(["-c", "print('noise'); print('{\"a\": 1}')"]) == {"a": 1}


def test_peak_memory_is_the_child_s_own() -> None:
    code = (
        "import json; from benchmarks.memory import measure_peak_bytes; block = b'x' * {};"
        " print(json.dumps([('peak', measure_peak_bytes())]))"
    )
    held = np.ones(300 * MB, dtype=np.uint8)  # by the parent
    low, high = (timing.run_child(["-c", code.format(size)])["peak"] for size in (1, 100 * MB))
    assert low < len(held) / 3
    assert 90 * MB < high - low < 110 * MB


def test_a_child_has_one_thread() -> None:
    code = "import json, os; print(json.dumps({'threads': os.environ['OMP_NUM_THREADS']}))"
    assert timing.run_child(["-c", code]) == {"threads": "1"}


def test_a_child_that_fails_is_an_error() -> None:
    with pytest.raises(subprocess.CalledProcessError, match="exit status 3"):
        timing.run_child(["-c", "raise SystemExit(3)"])


MAPPING = """
import json, mmap
from benchmarks.memory import measure_private_bytes, measure_unique_bytes
figures = {}
def note(name):
    unique = [measure_unique_bytes(suffix) for suffix in (".arrow", ".other")]
    figures[name] = [measure_private_bytes(), *unique]
note("before")
with open(PATH, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
    assert mapped.find(b"x") == -1  # touches all of it
    note("mapped")
    owned = b"x" * 64_000_000
    note("owned")
print(json.dumps(figures))
"""


def test_pages_of_mapped_shards_are_not_private_memory(tmp_path: Path) -> None:
    path = tmp_path / "train.arrow"
    path.write_bytes(bytes(64 * MB))
    found = timing.run_child(["-c", MAPPING.replace("PATH", repr(str(path)))])
    table = np.array([found[name] for name in ("before", "mapped", "owned")]).T / MB
    for figures, growth in zip(np.diff(table), ([0, 64], [0, 64], [64, 64]), strict=True):
        assert figures == pytest.approx(growth, abs=4)


def test_files_are_read_whole_and_survive_eviction(tmp_path: Path) -> None:
    path = tmp_path / "train.arrow"
    path.write_bytes(b"shard")
    memory.read_through([path])
    memory.evict([path])
    assert path.read_bytes() == b"shard"


def test_a_limited_group_ends_with_its_block() -> None:
    with memory.limited_group(1 << 30) as group:
        if group is None:
            pytest.skip("this process may make no control group")
        limits = [group / name for name in memory.LIMIT_NAMES if (group / name).exists()]
        assert [int(limit.read_text()) for limit in limits] == [1 << 30]
    assert not group.exists()
