"""What a cache counts, of pieces that others remove: the rest is shown in test_remote.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import CacheConfig, UserError
from pipeline.data.cache import PieceCache

FIRST, SECOND = (f"{digit * 64}-0" for digit in "ab")


class Holder:
    """Uses what it has mapped, for as long as it lives."""

    def last_use(self, number: int) -> float:
        return 0.0

    def give_up(self, number: int) -> bool:
        return False


def test_what_is_mapped_takes_up_its_space_though_another_process_removed_it(
    tmp_path: Path,
) -> None:
    cache, holder = PieceCache(CacheConfig(dir=str(tmp_path), size_bytes=1600)), Holder()
    cache.add(FIRST, bytes(1000))
    cache.adopt(FIRST, 1000, holder, 0)
    (tmp_path / FIRST).unlink()
    with pytest.raises(UserError, match="no room for 700 bytes beside 1000 that are in use"):
        cache.add(SECOND, bytes(700))
    del holder
    cache.add(SECOND, bytes(700))
    assert [path.name for path in tmp_path.iterdir()] == [SECOND]


def test_no_more_makes_room_than_must(tmp_path: Path) -> None:
    """1000 bytes may stay: 1600 less what comes, and less a sixteenth of all."""
    cache = PieceCache(CacheConfig(dir=str(tmp_path), size_bytes=1600))
    names = [f"{number:064x}-0" for number in range(4)]
    for name in names:
        cache.add(name, bytes(500))
    assert sorted(path.name for path in tmp_path.iterdir()) == names[1:]


def total_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_small_pieces_are_counted_without_looking(tmp_path: Path) -> None:
    cache = PieceCache(CacheConfig(dir=str(tmp_path), size_bytes=1600))
    for number in range(100):
        cache.add(f"{number:064x}-0", bytes(30))
        assert total_bytes(tmp_path) <= 1600
    assert total_bytes(tmp_path) > 1400


def test_what_another_process_brings_is_noticed_before_long(tmp_path: Path) -> None:
    cache, other = (PieceCache(CacheConfig(dir=str(tmp_path), size_bytes=1600)) for _ in "ab")
    for name in (FIRST, SECOND):
        other.add(name, bytes(500))
    for number in range(100):
        cache.add(f"{number:064x}-0", bytes(30))
        assert total_bytes(tmp_path) <= 1600 + 1600 // 16
