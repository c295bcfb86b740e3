"""Drawings as a recogniser sees them: small and grey.

Pixels show what a drawing looks like and not how it is written down. A model's drawings are not of
whole numbers, nor simplified as people's are, and no judge should tell them apart by that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sketch_model.annotations import Int, Tensor
from sketch_model.geometry import CANVAS, fit_to_canvas

SIZE: Final = 32
_SUPERSAMPLING = 2


def rasterize(sketches: Sequence[NDArray[Any]]) -> Int[Tensor, "batch SIZE SIZE"]:
    """Each drawing, filling its square, as uint8: 0 is paper and 255 is ink.

    Args:
        sketches: stroke-3 [L, 3], in any unit; L = 0 gives an empty square.
    """
    pictures = np.empty((len(sketches), SIZE, SIZE), dtype=np.uint8)
    for picture, sketch in zip(pictures, sketches, strict=True):
        picture[:] = np.asarray(_draw(sketch))
    return torch.from_numpy(pictures)


def _draw(sketch: NDArray[Any]) -> Image.Image:
    side = SIZE * _SUPERSAMPLING
    picture = Image.new("L", (side, side))
    pen = ImageDraw.Draw(picture)
    for line in fit_to_canvas(sketch):
        points = (line * (side / CANVAS)).ravel().tolist()
        if len(line) > 1:
            pen.line(points, fill=255, width=_SUPERSAMPLING)
        else:
            pen.point(points, fill=255)
    return picture.reduce(_SUPERSAMPLING)
