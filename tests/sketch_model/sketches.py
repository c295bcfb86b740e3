"""Small models and random drawings for the tests of this package."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sketch_model import DataSpec, ModelConfig, SketchRNN
from sketch_model.batch import PackedBatch, SketchBatch, to_stroke5

N_MAX = 24
OFFSET_SCALE = 20.0


def random_drawing(seed: int, length: int) -> NDArray[np.int16]:
    """Random stroke-3 whose last point lifts the pen."""
    random = np.random.default_rng(seed)
    drawing = np.empty((length, 3), np.int16)
    drawing[:, :2] = random.normal(0.0, OFFSET_SCALE, (length, 2)).round()
    drawing[:, 2] = random.random(length) < 0.25
    drawing[-1, 2] = 1
    return drawing


def random_drawings(num: int, seed: int = 0) -> list[NDArray[np.int16]]:
    """Drawings of 1 to N_MAX - 1 points."""
    lengths = np.random.default_rng(seed).integers(1, N_MAX, num)
    return [random_drawing(seed + n, int(length)) for n, length in enumerate(lengths)]


def random_batch(num: int, seed: int = 0, width: int | None = N_MAX) -> SketchBatch:
    packed = PackedBatch.from_sketches(random_drawings(num, seed))
    return to_stroke5(packed, offset_scale=OFFSET_SCALE, width=width)


def small_model(seed: int = 0, **changes: Any) -> SketchRNN:
    """A model with weights large enough that everything matters, in evaluation mode."""
    sizes: dict[str, Any] = {"encoder_size": 7, "decoder_size": 9, "N_z": 5, "M": 3}
    categories = changes.pop("categories", ("test",))
    data = DataSpec(offset_scale=OFFSET_SCALE, N_max=N_MAX, categories=categories, source="random")
    torch.manual_seed(seed)
    model = SketchRNN(ModelConfig(**sizes | changes), data)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()
