"""Packed integer sketches in, padded, scaled and augmented stroke-5 out, on any device.

A batch travels as int16 stroke-3 rows without padding (about 280 bytes a sketch) and becomes
float32 stroke-5 where the model is.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sketch_model import padding
from sketch_model.annotations import Float, Int, Tensor
from sketch_model.config import Augmentation
from sketch_model.strokes import validate_stroke3


@dataclass(frozen=True)
class PackedBatch:
    """Sketches one after another, without padding, in drawing units.

    Attributes:
        points: stroke-3 rows of all sketches; sketch b is `points[offsets[b]:offsets[b + 1]]`.
        offsets: where each sketch starts, with the total at the end.
        categories: index of each sketch's category.
        positions: place of each sketch in the training order; the key of its randomness.
    """

    points: Int[Tensor, "points 3"]  # int16
    offsets: Int[Tensor, " batch_plus_1"]  # int32
    categories: Int[Tensor, " batch"]  # int16
    positions: Int[Tensor, " batch"]  # int64

    @property
    def num_sketches(self) -> int:
        """B."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Int[Tensor, " batch"]:
        """Points of each sketch, int64."""
        return self.offsets.diff().to(torch.int64)

    def sketches(self) -> list[NDArray[np.int16]]:
        """Each sketch's stroke-3 rows [L, 3]."""
        return np.split(self.points.cpu().numpy(), self.offsets[1:-1].cpu().numpy())

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> PackedBatch:
        """The same batch on another device."""
        moved = (getattr(self, f.name).to(device, non_blocking=non_blocking) for f in fields(self))
        return PackedBatch(*moved)

    @classmethod
    def from_sketches(
        cls,
        sketches: Sequence[NDArray[Any]],
        categories: Sequence[int] | None = None,
        positions: Sequence[int] | None = None,
    ) -> PackedBatch:
        """Packs integer stroke-3 arrays; category 0 and positions 0, 1, ... unless given.

        Raises:
            ValueError: if there is no sketch, one is not a stroke-3 array of integers within
                int16, or `categories` or `positions` has another length.
        """
        if not sketches:
            raise ValueError("a batch needs at least one sketch, got none")
        for index, sketch in enumerate(sketches):
            _check_packable(sketch, index)
        num = len(sketches)
        categories = [0] * num if categories is None else categories
        positions = range(num) if positions is None else positions
        for name, values in (("categories", categories), ("positions", positions)):
            if len(values) != num:
                raise ValueError(
                    f"{name} must have one value per sketch ({num}), got {len(values)}"
                )
        offsets = np.cumsum([0, *map(len, sketches)], dtype=np.int32)
        return cls(
            points=torch.from_numpy(np.concatenate(sketches).astype(np.int16)),
            offsets=torch.from_numpy(offsets),
            categories=torch.tensor(list(categories), dtype=torch.int16),
            positions=torch.tensor(list(positions), dtype=torch.int64),
        )


@dataclass(frozen=True)
class SketchBatch:
    """What the model reads: padded stroke-5 in model units.

    Attributes:
        stroke5: float32. Row 0 is the start (0, 0, 1, 0, 0), rows 1 to the sketch's length are its
            points, and every row after is the end token (0, 0, 0, 0, 1).
        lengths: points of each sketch after dropping, int64; at most T - 1 here, so that every
            sketch has an end token to learn.
        categories: int64.
        positions: int64, as in `PackedBatch`.
        num_rows: rows after the start row that count of each sketch; of those from there on a CPU
            computes none. None is all T.
    """

    stroke5: Float[Tensor, "batch rows 5"]
    lengths: Int[Tensor, " batch"]
    categories: Int[Tensor, " batch"]
    positions: Int[Tensor, " batch"]
    num_rows: Int[Tensor, " batch"] | None = None

    @property
    def inputs(self) -> Float[Tensor, "batch time 5"]:
        """What the decoder is fed: every row but the last."""
        return self.stroke5[:, :-1]

    @property
    def targets(self) -> Float[Tensor, "batch time 5"]:
        """What the decoder predicts and the encoder reads: every row but the start."""
        return self.stroke5[:, 1:]

    def take(self, sketches: slice) -> SketchBatch:
        """Some of the sketches."""
        parts = (getattr(self, field.name) for field in fields(self))
        return SketchBatch(*(None if p is None else p[sketches].contiguous() for p in parts))  # type: ignore[arg-type]


def to_stroke5(
    packed: PackedBatch,
    *,
    offset_scale: float,
    width: int | None = None,
    augmentation: Augmentation | None = None,
    seed: int = 0,
) -> SketchBatch:
    """Pads, scales and augments a packed batch on the device it is on.

    Offsets are clipped to `MAX_OFFSET` drawing units and divided by `offset_scale`. The distortion
    of a sketch depends on `seed` and its position only, not on the batch around it. Points that are
    dropped are merged as integers, so every device gives the same sums.

    Args:
        packed: sketches in drawing units.
        offset_scale: drawing units per model unit (the training split's standard deviation).
        width: T, rows after the start row. By default one more than the longest sketch that is
            left after dropping.
        augmentation: None for evaluation.
        seed: of the augmentation.

    Raises:
        ValueError: if `offset_scale` is not positive, or a sketch has no room for its end token
            in `width` rows (judged before dropping, so that it does not depend on chance).
    """
    if not 0.0 < offset_scale < float("inf"):
        raise ValueError(f"offset_scale must be positive and finite, got {offset_scale}")
    if width is not None:
        _check_width(packed.lengths, width)
    pad = _choose_padding(packed.points.device)
    stroke5, lengths = pad(
        packed.points,
        packed.offsets,
        packed.positions,
        offset_scale=offset_scale,
        width=width,
        augmentation=augmentation,
        seed=seed,
    )
    return SketchBatch(
        stroke5=stroke5,
        lengths=lengths,
        categories=packed.categories.to(torch.int64),
        positions=packed.positions,
    )


def _choose_padding(device: torch.device) -> Callable[..., tuple[Tensor, Tensor]]:
    """The compiled loop on the CPU, if numba is there; otherwise torch. Both give the same bits."""
    if device.type == "cpu" and _has_numba():
        from sketch_model import compiled_padding

        return compiled_padding.pad
    return padding.pad


@cache
def _has_numba() -> bool:
    return importlib.util.find_spec("numba") is not None


def _check_packable(sketch: NDArray[Any], index: int) -> None:
    try:
        validate_stroke3(sketch)
        if not np.issubdtype(sketch.dtype, np.integer):
            raise ValueError(
                f"it must hold integers, got {sketch.dtype}; round or rescale it first"
            )
        bounds = np.iinfo(np.int16)
        if sketch.min() < bounds.min or sketch.max() > bounds.max:
            raise ValueError(f"its offsets must lie within int16, got {np.abs(sketch).max()}")
    except ValueError as error:
        raise ValueError(f"sketch {index}: {error}") from None


def _check_width(lengths: Int[Tensor, " batch"], width: int) -> None:
    longest = int(lengths.max())
    if longest + 1 > width:
        raise ValueError(
            f"a sketch of {longest} points needs {longest + 1} rows, end token included, but "
            f"width={width}; leave longer sketches out, or raise N_max"
        )
