"""How drawings are judged beyond their likelihood."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.config.error import UserError
from sketch_model.config import at_least


@dataclass(kw_only=True)
class QualityConfig:
    """The recogniser that judges drawings, and what it is shown."""

    recogniser: str = ""
    """Folder of the recogniser; empty is the folder `recogniser` of data_dir. If there is none,
    evaluate leaves its figures out and says so."""
    num_steps: int = 1000
    """Of the recogniser's training."""
    drawings_per_category: int = 2000
    """That the recogniser is trained on, at most."""
    num_drawings: int = 500
    """That every figure of a model is of, at most: half of the test split if that is less."""
    num_neighbours: int = 20_000
    """Training drawings that a copy is looked for among, at most."""
    temperatures: list[float] = field(default_factory=lambda: [0.25, 0.5, 1.0])
    """That are drawn at."""

    def __post_init__(self) -> None:
        at_least("quality.num_steps", self.num_steps, 1)
        at_least("quality.drawings_per_category", self.drawings_per_category, 2)
        at_least("quality.num_drawings", self.num_drawings, 2)
        at_least("quality.num_neighbours", self.num_neighbours, 1)
        temperatures = list(self.temperatures)
        if (
            not temperatures
            or len(set(temperatures)) < len(temperatures)
            or not all(0 < temperature < float("inf") for temperature in temperatures)
        ):
            raise UserError(
                f"quality.temperatures={temperatures} must be at least one number above 0, each of"
                " them once"
            )
