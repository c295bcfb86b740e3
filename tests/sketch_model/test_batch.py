from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sketch_model import batch, compiled_padding, padding
from sketch_model.batch import PackedBatch, to_stroke5
from sketch_model.config import Augmentation
from sketch_model.randomness import DROP, keyed_uniform
from sketch_model.strokes import polylines_to_stroke3, stroke5_to_stroke3
from tests.numerics.sketch_rnn_numpy import drop_points

Sketch = NDArray[np.int16]


def random_sketches(num: int, seed: int = 0, lift_share: float = 0.15) -> list[Sketch]:
    generator = np.random.default_rng(seed)
    sketches = []
    for _ in range(num):
        sketch = generator.integers(-80, 81, (int(generator.integers(1, 60)), 3))
        sketch[:, 2] = generator.random(len(sketch)) < lift_share
        sketch[-1, 2] = generator.random() < 0.5  # an unfinished one must not leak into the next
        sketches.append(sketch.astype(np.int16))
    return sketches


def assert_drops_as_in_sequence(pad: Any, sketches: list[Sketch], probability: float) -> None:
    augmentation = Augmentation(scale_factor=0.0, drop_probability=probability)
    positions = [7 * index + 3 for index in range(len(sketches))]
    packed = PackedBatch.from_sketches(sketches, positions=positions)
    stroke5, lengths = pad(
        packed.points,
        packed.offsets,
        packed.positions,
        offset_scale=1.0,
        width=None,
        augmentation=augmentation,
        seed=5,
    )
    counters = torch.arange(max(map(len, sketches)))
    uniform = keyed_uniform(5, DROP, packed.positions[:, None], counters)
    num_dropped = 0
    for index, sketch in enumerate(sketches):
        u = uniform[index, : len(sketch)].tolist()
        expected = drop_points(sketch, u, np.float32(probability))
        got = stroke5_to_stroke3(stroke5[index, 1:].numpy())
        np.testing.assert_array_equal(got, expected)
        assert lengths[index] == len(expected)
        num_dropped += len(sketch) - len(expected)
    assert num_dropped > 0


@pytest.mark.parametrize("pad", [padding.pad, compiled_padding.pad], ids=["torch", "compiled"])
@pytest.mark.parametrize("probability", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("lift_share", [0.0, 0.02, 0.15])
def test_points_drop_as_in_a_walk_over_random_sketches(
    pad: Any, probability: float, lift_share: float
):
    assert_drops_as_in_sequence(pad, random_sketches(1000, lift_share=lift_share), probability)


@pytest.mark.real_data
@pytest.mark.parametrize("pad", [padding.pad, compiled_padding.pad], ids=["torch", "compiled"])
def test_points_drop_as_in_a_walk_over_real_sketches(pad: Any, quickdraw_root: Path):
    sketches = []
    with (quickdraw_root / "full/simplified/cat.ndjson").open() as lines:
        for line in lines:
            strokes = json.loads(line)["drawing"]
            sketches.append(polylines_to_stroke3([np.array(stroke).T for stroke in strokes]))
    assert len(sketches) > 1000
    assert_drops_as_in_sequence(pad, sketches, 0.1)


def test_layout_is_start_points_then_end_tokens():
    sketches = [np.array([[3, -4, 0], [5, 6, 1]], np.int16), np.array([[1, 2, 1]], np.int16)]
    batch = to_stroke5(
        PackedBatch.from_sketches(sketches, categories=[2, 0], positions=[8, 9]), offset_scale=2.0
    )
    start, end = [0, 0, 1, 0, 0], [0, 0, 0, 0, 1]
    expected = [
        [start, [1.5, -2, 1, 0, 0], [2.5, 3, 0, 1, 0], end],
        [start, [0.5, 1, 0, 1, 0], end, end],
    ]
    assert batch.stroke5.tolist() == expected
    assert batch.stroke5.dtype == torch.float32
    assert batch.lengths.tolist() == [2, 1]
    assert batch.categories.tolist() == [2, 0]
    assert batch.positions.tolist() == [8, 9]
    assert torch.equal(batch.inputs, batch.stroke5[:, :-1])
    assert torch.equal(batch.targets, batch.stroke5[:, 1:])


def test_a_sketch_does_not_depend_on_the_batch_around_it():
    sketches = random_sketches(40)
    arguments = {"offset_scale": 30.0, "width": 80, "augmentation": Augmentation(), "seed": 4}
    whole = to_stroke5(PackedBatch.from_sketches(sketches, positions=range(100, 140)), **arguments)
    order = np.random.default_rng(1).permutation(40)
    for part in np.split(order, [13, 14]):
        chosen = [sketches[index] for index in part]
        packed = PackedBatch.from_sketches(chosen, positions=[100 + int(i) for i in part])
        alone = to_stroke5(packed, **arguments)
        assert torch.equal(alone.stroke5, whole.stroke5[part])
        assert torch.equal(alone.lengths, whole.lengths[part])


def test_seed_and_position_change_the_augmentation():
    sketches = random_sketches(1) * 3
    packed = PackedBatch.from_sketches(sketches, positions=[0, 1, 0])
    arguments = {"offset_scale": 30.0, "width": 80, "augmentation": Augmentation()}
    first, second = (to_stroke5(packed, seed=seed, **arguments).stroke5 for seed in (0, 1))
    assert torch.equal(first[0], first[2])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], second[0])


def test_scaling_multiplies_each_axis_of_a_sketch_by_one_factor():
    sketches = [np.array([[10, 20, 0], [-30, 5, 1]], np.int16)] * 4000
    augmentation = Augmentation(scale_factor=0.2, drop_probability=0.0)
    batch = to_stroke5(
        PackedBatch.from_sketches(sketches), offset_scale=1.0, augmentation=augmentation
    )
    factors = batch.stroke5[:, 1:3, :2] / torch.tensor([[10.0, 20.0], [-30.0, 5.0]])
    torch.testing.assert_close(factors[:, 0], factors[:, 1])
    per_axis = factors[:, 0]
    assert per_axis.min() >= 0.8
    assert per_axis.max() <= 1.2
    torch.testing.assert_close(per_axis.mean(0), torch.ones(2), atol=0.01, rtol=0)
    expected_std = 0.2 / 3**0.5
    torch.testing.assert_close(per_axis.std(0), torch.full((2,), expected_std), atol=0.005, rtol=0)
    assert abs(float(torch.corrcoef(per_axis.T)[0, 1])) < 0.08


def test_augmentation_keeps_where_every_sketch_ends():
    sketches = random_sketches(200)
    augmentation = Augmentation(scale_factor=0.0, drop_probability=0.6)
    batch = to_stroke5(
        PackedBatch.from_sketches(sketches), offset_scale=1.0, augmentation=augmentation
    )
    expected = [sketch[:, :2].sum(0, dtype=int).tolist() for sketch in sketches]
    assert batch.stroke5[:, :, :2].sum(1).tolist() == expected


def test_every_sketch_has_an_end_token_and_pens_are_one_hot():
    packed = PackedBatch.from_sketches(random_sketches(300))
    for augmentation in (None, Augmentation()):
        batch = to_stroke5(packed, offset_scale=1.0, augmentation=augmentation)
        pens = batch.stroke5[:, :, 2:]
        assert (pens[:, -1, 2] == 1).all()
        assert (pens.sum(2) == 1).all()
        assert ((pens == 0) | (pens == 1)).all()
        assert batch.targets.shape[1] == int(batch.lengths.max()) + 1


def test_offsets_are_clipped_before_they_are_scaled():
    sketch = np.array([[30_000, -30_000, 0], [1000, -1001, 1]], np.int16)
    batch = to_stroke5(PackedBatch.from_sketches([sketch]), offset_scale=10.0)
    assert batch.stroke5[0, 1:3, :2].tolist() == [[100, -100], [100, -100]]


def test_width_leaves_room_for_the_end_token():
    packed = PackedBatch.from_sketches([np.array([[1, 1, 0]] * 9 + [[1, 1, 1]], np.int16)])
    assert to_stroke5(packed, offset_scale=1.0, width=11).stroke5.shape == (1, 12, 5)
    with pytest.raises(ValueError, match=r"10 points needs 11 rows.*width=10; .*raise N_max"):
        to_stroke5(packed, offset_scale=1.0, width=10)


def test_packing_keeps_sketches_and_moves_between_devices():
    sketches = random_sketches(5)
    packed = PackedBatch.from_sketches(sketches)
    assert packed.num_sketches == 5
    assert packed.lengths.tolist() == [len(sketch) for sketch in sketches]
    assert packed.points.dtype == torch.int16
    assert packed.offsets.tolist() == np.cumsum([0, *map(len, sketches)]).tolist()
    for got, expected in zip(packed.sketches(), sketches, strict=True):
        np.testing.assert_array_equal(got, expected)
    assert packed.to("meta").points.device.type == "meta"


@pytest.mark.parametrize(
    ("sketches", "message"),
    [
        ([], "at least one sketch"),
        ([np.zeros((2, 3), np.float32)], "sketch 0: it must hold integers, got float32"),
        ([np.array([[40_000, 0, 1]])], "sketch 0: .*within int16, got 40000"),
        ([np.array([[1, 0, 1]]), np.array([[1, 0, 2]])], "sketch 1: .*must be 0 or 1, got 2"),
        ([np.zeros((0, 3), np.int16)], "sketch 0: .*at least one row"),
    ],
)
def test_what_cannot_be_packed_is_refused(sketches: list[Sketch], message: str):
    with pytest.raises(ValueError, match=message):
        PackedBatch.from_sketches(sketches)


def test_categories_need_one_value_per_sketch():
    with pytest.raises(ValueError, match=r"categories must have one value per sketch \(2\), got 1"):
        PackedBatch.from_sketches(random_sketches(2), categories=[0])


@pytest.mark.parametrize("offset_scale", [0.0, -1.0, float("nan"), float("inf")])
def test_offset_scale_must_be_positive(offset_scale: float):
    with pytest.raises(ValueError, match="offset_scale must be positive and finite"):
        to_stroke5(PackedBatch.from_sketches(random_sketches(1)), offset_scale=offset_scale)


@pytest.mark.parametrize("width", [None, 61, 250])
@pytest.mark.parametrize("num", [1, 2, 100])
@pytest.mark.parametrize(
    "augmentation",
    [
        None,
        Augmentation(),
        Augmentation(drop_probability=0.0),
        Augmentation(scale_factor=0.0, drop_probability=1.0),
        Augmentation(scale_factor=1.0, drop_probability=0.5),
    ],
)
def test_compiled_padding_gives_the_bits_of_the_reference(
    width: int | None, num: int, augmentation: Augmentation | None
):
    for seed in range(12):
        sketches = random_sketches(num, seed=seed, lift_share=[0.0, 0.02, 0.15][seed % 3])
        sketches[0][:2, 0] = 30_000, -30_000  # beyond MAX_OFFSET
        sketches[-1] = sketches[-1][:1]
        positions = np.random.default_rng(seed).integers(0, 2**62, num).tolist()
        packed = PackedBatch.from_sketches(sketches, positions=positions)
        (expected, expected_lengths), (got, lengths) = (
            pad(
                packed.points,
                packed.offsets,
                packed.positions,
                offset_scale=37.123,
                width=width,
                augmentation=augmentation,
                seed=seed - 3,
            )
            for pad in (padding.pad, compiled_padding.pad)
        )
        assert torch.equal(got.view(torch.int32), expected.view(torch.int32))  # -0.0 is not 0.0
        assert torch.equal(lengths, expected_lengths)
        assert (got.dtype, lengths.dtype) == (expected.dtype, expected_lengths.dtype)


def test_points_that_are_a_view_are_padded_the_same():
    packed = PackedBatch.from_sketches(random_sketches(20))
    strided = PackedBatch(
        points=packed.points.repeat_interleave(2, dim=0)[::2],
        offsets=packed.offsets.repeat_interleave(2)[::2],
        categories=packed.categories,
        positions=packed.positions.repeat_interleave(2)[::2],
    )
    arguments = {"offset_scale": 30.0, "augmentation": Augmentation()}
    assert torch.equal(
        to_stroke5(strided, **arguments).stroke5, to_stroke5(packed, **arguments).stroke5
    )


@pytest.mark.parametrize("has_numba", [True, False])
def test_the_reference_pads_where_there_is_no_numba(monkeypatch: Any, has_numba: bool):
    monkeypatch.setattr(batch, "_has_numba", lambda: has_numba)
    chosen = batch._choose_padding(torch.device("cpu"))
    assert chosen is (compiled_padding.pad if has_numba else padding.pad)
    assert batch._choose_padding(torch.device("cuda")) is padding.pad


def test_the_package_works_without_numba():
    code = """
import sys; sys.modules["numba"] = None
import numpy as np
from sketch_model.batch import PackedBatch, to_stroke5
to_stroke5(PackedBatch.from_sketches([np.ones((3, 3), np.int16)]), offset_scale=1.0)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu_makes_the_same_batch():
    packed = PackedBatch.from_sketches(random_sketches(500))
    arguments = {"offset_scale": 30.0, "augmentation": Augmentation(drop_probability=0.5)}
    here, there = to_stroke5(packed, **arguments), to_stroke5(packed.to("cuda"), **arguments)
    assert torch.equal(there.lengths.cpu(), here.lengths)
    torch.testing.assert_close(there.stroke5.cpu(), here.stroke5, rtol=1e-6, atol=0)
