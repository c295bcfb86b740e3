"""A model as what draws: in the pixels of Quick, Draw!, where a drawing's larger side is 255."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config import UserError
from pipeline.drawing.arguments import MAX_DRAWINGS
from sketch_model.config import Condition
from sketch_model.magenta import GOOGLE
from sketch_model.model import SketchRNN

Sketch = NDArray[Any]

GOOGLE_UNITS_PER_PIXEL: Final = 2.25
"""Google trained its released decoders on drawings larger than the public ones; how much larger is
not said. At this factor real sheep, monkeys, bears and birds are likeliest on average (each for
itself at 3, 2.25, 1.5 and 2)."""


@dataclass(frozen=True)
class Artist:
    """What the operations ask to draw; an error of the model's is one of the user's here.

    Attributes:
        model: in evaluation mode.
        address: where it comes from, as the user said.
        temperature: of all that is drawn.
        seed: of all that is drawn.
    """

    model: SketchRNN
    address: str
    temperature: float
    seed: int

    @property
    def units_per_pixel(self) -> float:
        """Drawing units of the model per pixel of Quick, Draw!."""
        return GOOGLE_UNITS_PER_PIXEL if self.model.data.source == GOOGLE else 1.0

    @property
    def is_told(self) -> bool:
        """Whether the model is told the category of what it draws."""
        return self.model.config.condition is Condition.category

    @property
    def all_words(self) -> str:
        """What a drawing is called if the model is not told what it draws."""
        return " or ".join(self.model.data.categories)

    def describe(self, operation: str, *how: str) -> str:
        """A line on how a page came about."""
        temperature = f"temperature {self.temperature:g}"
        return " · ".join([operation, self.address, *how, temperature, f"seed {self.seed}"])

    def require_encoder(self, operation: str) -> None:
        """Raises UserError if the operation takes a latent vector and the model has none."""
        if self.model.encoder is None:
            raise UserError(
                f"{operation} takes a latent vector, and {self.address} has a decoder only, without"
                " any: use `sample`, or `complete`, which goes on with a drawing; a model trained"
                " with model.conditional=true can do it"
            )

    def encode(self, sketches: Sequence[Sketch]) -> Tensor:
        """Latent vectors [n, N_z] of drawings in pixels."""
        try:
            return self.model.encode([self._to_units(sketch) for sketch in sketches])
        except ValueError as error:
            raise UserError(str(error)) from error

    def draw(
        self,
        num: int,
        *,
        z: Tensor | None = None,
        category: str | Sequence[str] | None = None,
        prefix: Sketch | None = None,
    ) -> list[Sketch]:
        """`num` drawings in pixels; as `SketchRNN.sample`."""
        if num > MAX_DRAWINGS:
            raise UserError(
                f"{num:,} drawings are more than {MAX_DRAWINGS:,}, which is what fits in memory:"
                " ask several times, with another --seed each"
            )
        try:
            drawn = self.model.sample(
                num,
                temperature=self.temperature,
                seed=self.seed,
                z=z,
                category=category,
                prefix=None if prefix is None else self._to_units(prefix),
            )
        except ValueError as error:
            raise UserError(str(error)) from error
        return [_scale(sketch, 1 / self.units_per_pixel) for sketch in drawn]

    def _to_units(self, sketch: Sketch) -> Sketch:
        return _scale(sketch, self.units_per_pixel)


def _scale(sketch: Sketch, factor: float) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = sketch.astype(np.float32)
    scaled[:, :2] *= factor
    return scaled
