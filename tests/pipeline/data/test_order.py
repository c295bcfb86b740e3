"""What is served when, checked without a single drawing: lengths are all that an order needs."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.data.order import Order
from pipeline.data.stream import FullStream

LENGTHS = np.random.default_rng(0).integers(1, 200, 97).astype(np.int32)


def make_order(*, batch_size: int = 12, pool: int = 5, seed: int = 3) -> Order:
    return Order(FullStream(len(LENGTHS), seed), LENGTHS.__getitem__, batch_size, pool, seed)


def served(order: Order, num_steps: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    batches = [order.batch(step) for step in range(num_steps)]
    return (
        np.concatenate([batch.positions for batch in batches]),
        np.concatenate([batch.rows for batch in batches]),
    )


def test_whole_pools_serve_every_position_once_and_every_epoch_every_drawing_once() -> None:
    """97 drawings in pools of 60: epochs end in the midst of batches and of pools."""
    num_epochs, order = 60, make_order()
    positions, rows = served(order, num_epochs * 97 // 12)
    assert np.array_equal(np.sort(positions), np.arange(num_epochs * 97))
    by_epoch = rows[np.argsort(positions)].reshape(num_epochs, 97)
    assert np.array_equal(np.sort(by_epoch, axis=1), np.tile(np.arange(97), (num_epochs, 1)))
    assert len({epoch.tobytes() for epoch in by_epoch}) == num_epochs, "epochs repeat their order"


@pytest.mark.parametrize("batch_size", [12, 7, 2])
def test_a_batch_takes_a_run_of_lengths_out_of_each_quarter_of_its_pool(batch_size: int) -> None:
    """Runs are of three, of one or two, and of one or none; which ones meet is chance."""
    order = make_order(batch_size=batch_size)
    bounds = [quarter * batch_size // 4 for quarter in range(5)]
    turns_of_quarters = set()
    for pool in range(40):
        batches = [LENGTHS[order.batch(pool * 5 + place).rows] for place in range(5)]
        assert all(np.array_equal(batch, np.sort(batch)) for batch in batches)
        by_length = np.sort(np.concatenate(batches))
        turns = []
        for start, stop in pairwise(bounds):
            quarter = by_length[5 * start : 5 * stop].reshape(5, stop - start).tolist()
            runs = [batch[start:stop].tolist() for batch in batches]
            assert sorted(runs) == sorted(quarter)
            turns.append(tuple(quarter.index(run) for run in runs))
        turns_of_quarters.add(tuple(turns))
    assert len(turns_of_quarters) > 30, "pools are dealt alike"


def test_pooling_shortens_the_longest_of_a_batch() -> None:
    def steps(pool: int) -> int:
        order = make_order(pool=pool)
        return sum(int(LENGTHS[order.batch(step).rows].max()) for step in range(200))

    assert steps(20) < 0.95 * steps(1)


def test_a_step_is_a_pure_function_of_the_seed() -> None:
    steps = np.random.default_rng(1).permutation(50)
    wandering = make_order()
    for step in steps:
        there, fresh = wandering.batch(int(step)), make_order().batch(int(step))
        assert np.array_equal(there.positions, fresh.positions)
        assert np.array_equal(there.rows, fresh.rows)
    others = {served(make_order(seed=seed), 5)[1].tobytes() for seed in range(20)}
    assert len(others) == 20


def test_orders_stay_as_they_are() -> None:
    """As those of streams: a resumed run goes on in the order in which it began."""
    order = make_order()
    assert order.batch(0).rows.tolist() == [76, 36, 32, 38, 12, 86, 80, 57, 62, 25, 33, 64]
    assert order.batch(7).rows.tolist() == [20, 20, 71, 52, 73, 69, 47, 47, 59, 11, 77, 19]


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_the_ranks_shares_make_up_the_global_batch(world_size: int) -> None:
    order = make_order()
    for step in range(12):
        whole = order.batch(step)
        shares = [order.batch(step, rank, world_size) for rank in range(world_size)]
        assert {len(share.rows) for share in shares} == {12 // world_size}
        positions = np.concatenate([share.positions for share in shares])
        rows = np.concatenate([share.rows for share in shares])
        assert sorted(positions) == sorted(whole.positions), "lost or doubled"
        assert dict(zip(positions, rows, strict=True)) == dict(zip(*whole, strict=True))


def test_ranks_get_sketches_of_similar_length() -> None:
    order = make_order()
    for step in range(20):
        longest = [LENGTHS[order.batch(step, rank, 4).rows].max() for rank in range(4)]
        whole = LENGTHS[order.batch(step).rows]
        assert min(longest) >= whole[-4], "a rank would wait for the others"


def test_a_batch_that_cannot_be_shared_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"train\.batch_size=12 must be a multiple of the 5 "):
        make_order().batch(0, 0, 5)


def test_a_batch_may_be_larger_than_the_split() -> None:
    lengths = np.array([3, 1, 2], dtype=np.int32)
    order = Order(FullStream(3, 0), lengths.__getitem__, 8, 1, 0)
    _, counts = np.unique(order.batch(0).rows, return_counts=True)
    assert sorted(counts) == [2, 3, 3]


def test_no_drawings_is_an_error() -> None:
    with pytest.raises(ValueError, match="no drawing"):
        FullStream(0, 0)
