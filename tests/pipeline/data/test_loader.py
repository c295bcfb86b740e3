"""Batches as the training loop gets them, over drawings that are numbered in their points."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.data.loader import EvaluationLoader, TrainingLoader
from pipeline.data.order import Order
from pipeline.data.stream import FullStream
from sketch_model.batch import PackedBatch

NUM = 53


class Numbered:
    """Drawing n has n as its first offset, and a length of its own."""

    def __init__(self, num: int = NUM) -> None:
        self.lengths: NDArray[np.int32] = (1 + np.arange(num) * 7 % 31).astype(np.int32)
        self.num_prefetches = 0

    def gather(
        self, indices: NDArray[np.int64], positions: NDArray[np.int64] | None = None
    ) -> PackedBatch:
        sketches = [np.full((self.lengths[n], 3), n) * [1, 1, 0] for n in indices.tolist()]
        chosen = indices if positions is None else positions
        return PackedBatch.from_sketches(sketches, positions=chosen.tolist())

    def prefetch(self, rows: NDArray[np.int64]) -> None:
        self.num_prefetches += 1


def loader(seed: int = 0, **share: int) -> TrainingLoader:
    sketches = Numbered()
    order = Order(FullStream(NUM, seed), sketches.lengths.__getitem__, 12, 4, seed)
    return TrainingLoader(sketches, order, **share)


def contents(batches: Iterator[PackedBatch], num: int) -> list[list[tuple[int, int, int]]]:
    """(number, points, position) of each sketch of each batch, in order."""
    return [
        [
            (int(sketch[0, 0]), len(sketch), position)
            for sketch, position in zip(batch.sketches(), batch.positions.tolist(), strict=True)
        ]
        for batch in islice(batches, num)
    ]


@pytest.mark.parametrize("stop", [0, 1, 3, 4, 17])
def test_a_resumed_loader_goes_on_with_the_same_ordered_batches(stop: int) -> None:
    uninterrupted = contents(iter(loader()), 25)
    first = loader()
    before = contents(iter(first), stop)
    second = loader()
    second.load_state_dict(first.state_dict())
    assert before + contents(iter(second), 25 - stop) == uninterrupted


def test_randomness_is_keyed_by_the_places_in_the_stream() -> None:
    """By the drawings, every epoch would augment them alike."""
    pool = [sketch for batch in contents(iter(loader()), 4) for sketch in batch]
    assert sorted(position for _, _, position in pool) == list(range(48))


def test_what_comes_is_announced_now_and_then_and_not_at_every_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.data.loader._ANNOUNCED", 48)
    sketches = Numbered()
    order = Order(FullStream(NUM, 0), sketches.lengths.__getitem__, 12, 4, 0)
    for _ in islice(TrainingLoader(sketches, order), 9):  # steps 0, 4 and 8 begin 48 positions
        pass
    assert sketches.num_prefetches == 3


def test_the_state_counts_what_was_handed_out_and_says_nothing_of_the_rank() -> None:
    states = []
    for rank in range(3):
        here = loader(rank=rank, world_size=3)
        contents(iter(here), 5)
        states.append(here.state_dict())
    assert states == [{"next_step": 5}] * 3


def test_a_run_goes_on_with_another_number_of_processes() -> None:
    """Two ranks for six steps, then three: every position once, in the batches of one process."""
    uninterrupted = contents(iter(loader()), 12)
    parts = [loader(rank=rank, world_size=2) for rank in range(2)]
    history = [contents(iter(part), 6) for part in parts]
    state = parts[0].state_dict()
    resumed = [loader(rank=rank, world_size=3) for rank in range(3)]
    for part in resumed:
        part.load_state_dict(state)
    after = [contents(iter(part), 6) for part in resumed]
    by_step = [*zip(*history, strict=True), *zip(*after, strict=True)]
    joint = [sorted(sketch for share in shares for sketch in share) for shares in by_step]
    assert joint == [sorted(batch) for batch in uninterrupted]


def test_the_stream_has_no_end() -> None:
    here = loader()
    assert len(contents(iter(here), 3 * NUM)) == 3 * NUM
    assert len(here) > 10**9


@pytest.mark.parametrize(
    ("num", "batch_size", "world_size"), [(53, 10, 1), (53, 10, 3), (7, 50, 2)]
)
def test_evaluation_serves_every_drawing_once(num: int, batch_size: int, world_size: int) -> None:
    served = []
    for rank in range(world_size):
        here = EvaluationLoader(
            Numbered(num), batch_size=batch_size, rank=rank, world_size=world_size
        )
        batches = contents(iter(here), 1000)
        assert len(batches) == len(here)
        assert all(len(batch) == batch_size for batch in batches[:-1])
        assert len(batches[-1]) == len(range(rank, num, world_size)) % batch_size
        lengths = [(length, number) for batch in batches for number, length, _ in batch]
        assert lengths == sorted(lengths), "of equal lengths, the first comes first"
        served += [number for batch in batches for number, _, _ in batch]
    assert sorted(served) == list(range(num))


def test_one_process_evaluates_everything() -> None:
    (batch,) = EvaluationLoader(Numbered(7), batch_size=7)
    assert batch.num_sketches == 7
