"""A step's batch has the rows that it says, and is augmented as the configuration says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.config import TrainConfig
from pipeline.training.rows import NEAR_END, rows_of_step
from sketch_model.batch import PackedBatch, to_stroke5
from sketch_model.config import Augmentation, DataSpec

LENGTHS = (3, 30, 17)
TRAIN = TrainConfig(pad_every=4, seed=5, augmentation=Augmentation(drop_probability=0.3))


@pytest.fixture
def packed() -> PackedBatch:
    rng = np.random.default_rng(0)
    return PackedBatch.from_sketches(
        [rng.integers(-9, 10, (num, 3)) * (1, 1, 0) for num in LENGTHS]
    )


def data(N_max: int) -> DataSpec:
    return DataSpec(offset_scale=3.0, N_max=N_max, categories=("cat",), source="random")


@pytest.mark.parametrize("step", [0, 4, 400])
def test_at_one_step_in_some_all_rows_count(packed: PackedBatch, step: int) -> None:
    batch = rows_of_step(packed, step, TRAIN, data(60))
    assert batch.stroke5.shape == (3, 61, 5)
    assert batch.num_rows is None


@pytest.mark.parametrize(("N_max", "width"), [(60, 30 + 1 + NEAR_END), (31, 31)])
def test_at_the_others_rows_end_soon_after_each_sketch(
    packed: PackedBatch, N_max: int, width: int
) -> None:
    """The batch is as wide as its longest sketch needs before points are dropped."""
    batch = rows_of_step(packed, 401, TRAIN, data(N_max))
    assert batch.stroke5.shape == (3, 1 + width, 5)
    assert batch.num_rows is not None
    assert batch.num_rows.tolist() == [min(n + 1 + NEAR_END, width) for n in batch.lengths.tolist()]
    assert not batch.lengths.equal(packed.lengths), "nothing was dropped"


def test_points_are_those_of_the_seed(packed: PackedBatch) -> None:
    expected = to_stroke5(
        packed, offset_scale=3.0, width=60, augmentation=TRAIN.augmentation, seed=TRAIN.seed
    )
    for step in (0, 1):
        stroke5 = rows_of_step(packed, step, TRAIN, data(60)).stroke5
        torch.testing.assert_close(stroke5, expected.stroke5[:, : stroke5.shape[1]], rtol=0, atol=0)
