"""Packed points to padded, scaled and augmented stroke-5, in torch: the reference, on any device.

`sketch_model.compiled_padding` does the same on the CPU, to the bit.

Shapes: B sketches, P points of all of them together, T rows after the start row.
"""

from __future__ import annotations

import torch

from sketch_model.annotations import Bool, Float, Int, Tensor
from sketch_model.config import MAX_OFFSET, Augmentation
from sketch_model.randomness import DROP, SCALE, keyed_uniform


def pad(
    points: Int[Tensor, "points 3"],
    offsets: Int[Tensor, " batch_plus_1"],
    positions: Int[Tensor, " batch"],
    *,
    offset_scale: float,
    width: int | None,
    augmentation: Augmentation | None,
    seed: int,
) -> tuple[Float[Tensor, "batch rows 5"], Int[Tensor, " batch"]]:
    """Stroke-5 of T + 1 rows, and the points of each sketch that are left after dropping.

    The arguments are those of `sketch_model.batch.to_stroke5`, which see; `width` has room.
    """
    device, num_points, num_sketches = points.device, len(points), len(positions)
    offsets = offsets.to(torch.int64)
    sketch_indices = torch.arange(num_sketches, device=device)
    sketch_of_point = sketch_indices.repeat_interleave(offsets.diff(), output_size=num_points)

    emitted = torch.ones(num_points, dtype=torch.bool, device=device)
    scale = torch.full((num_sketches, 2), 1.0 / offset_scale, device=device)
    if augmentation is not None:
        index = torch.arange(num_points, device=device) - offsets[sketch_of_point]
        uniform = keyed_uniform(seed, DROP, positions[sketch_of_point], index)
        emitted = ~(_droppable(points, index) & (uniform < augmentation.drop_probability))
        scale *= _random_scale(positions, augmentation.scale_factor, seed)

    # A dropped point counts to the row of the last point kept: that is the merging of offsets.
    num_emitted = torch.nn.functional.pad(emitted.cumsum(0), (1, 0))
    emitted_before = num_emitted[offsets]
    lengths = emitted_before.diff()
    rows = num_emitted[1:] - emitted_before[sketch_of_point]  # 1 is the first row after the start
    if width is None:
        width = int(lengths.max()) + 1
    clipped = points.to(torch.int32).clamp(-MAX_OFFSET, MAX_OFFSET)
    stroke3 = _sum_rows(clipped, sketch_of_point * (width + 1) + rows, num_sketches, width)
    return _to_five_columns(stroke3, scale, lengths), lengths


def _droppable(
    points: Int[Tensor, "points 3"], index: Int[Tensor, " points"]
) -> Bool[Tensor, " points"]:
    """Which points may be merged into the last point kept before them.

    The reference walks along the sketch and counts points since the last pen lift. Merging never
    changes the pen of the point kept, so the walk is the same as this: a point may be dropped if
    it and the three points before it are of one sketch and all have the pen down.

    Args:
        points: stroke-3 rows of all sketches.
        index: of each point in its sketch.
    """
    pen_down = torch.nn.functional.pad(points[:, 2] == 0, (3, 0))
    droppable = index >= 3
    for shift in range(4):
        droppable &= pen_down[shift : shift + len(index)]
    return droppable


def _random_scale(
    positions: Int[Tensor, " batch"], scale_factor: float, seed: int
) -> Float[Tensor, "batch 2"]:
    axes = torch.arange(2, device=positions.device)
    uniform = keyed_uniform(seed, SCALE, positions[:, None], axes)
    return 1.0 + scale_factor * (2.0 * uniform - 1.0)


def _sum_rows(
    points: Int[Tensor, "points 3"], rows: Int[Tensor, " points"], num_sketches: int, width: int
) -> Int[Tensor, "batch rows 3"]:
    """Adds every point to its row of an empty [num_sketches, width + 1, 3] table."""
    table = torch.zeros(num_sketches * (width + 1) * 3, dtype=torch.int32, device=points.device)
    columns = torch.arange(3, device=points.device)
    # Flat, because torch's index_add_ on rows of a matrix is several times slower on the CPU.
    table.index_add_(0, (rows[:, None] * 3 + columns).flatten(), points.flatten())
    return table.view(num_sketches, width + 1, 3)


def _to_five_columns(
    stroke3: Int[Tensor, "batch rows 3"],
    scale: Float[Tensor, "batch 2"],
    lengths: Int[Tensor, " batch"],
) -> Float[Tensor, "batch rows 5"]:
    """Scales offsets and spells out the pen: down, lifted, or end after `lengths` points."""
    num_sketches, num_rows, _ = stroke3.shape
    row = torch.arange(num_rows, device=stroke3.device)
    ended = row > lengths[:, None]
    stroke5 = torch.empty(num_sketches, num_rows, 5, device=stroke3.device)
    torch.mul(stroke3[:, :, :2], scale[:, None], out=stroke5[:, :, :2])
    stroke5[:, :, 3] = stroke3[:, :, 2]
    stroke5[:, :, 4] = ended
    stroke5[:, :, 2] = 1.0 - stroke5[:, :, 3] - stroke5[:, :, 4]
    return stroke5
