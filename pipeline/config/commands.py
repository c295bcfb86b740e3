"""What `evaluate` and `inspect` are asked."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pipeline.config.error import UserError
from sketch_model.config import at_least, within


@dataclass(kw_only=True)
class EvaluateConfig:
    """How the test split is scored."""

    latent_samples: int = 4
    """Draws of z per drawing that L_R and the bound are averaged over."""
    batch_size: int = 250
    """Drawings that are scored together; no figure depends on it."""

    def __post_init__(self) -> None:
        at_least("evaluate.latent_samples", self.latent_samples, 1)
        at_least("evaluate.batch_size", self.batch_size, 1)


class Split(StrEnum):
    """What a drawing is for."""

    train = "train"
    valid = "valid"
    test = "test"


@dataclass(kw_only=True)
class InspectConfig:
    """What is shown of a data set: its manifest, unless one of row, id and rejects is given."""

    row: int | None = None
    """A drawing's place in its split, counted from 0."""
    split: Split | None = None
    """The row's split; null is train."""
    id: int | None = None
    """A drawing's key_id, looked for in every split."""
    picture: str = ""
    """File for a picture of the drawings of row or id: .png or .svg."""
    rejects: int = 0
    """How many rejects of each reason are shown."""

    def __post_init__(self) -> None:
        at_least("inspect.rejects", self.rejects, 0)
        choices = {"row": self.row, "id": self.id, "rejects": self.rejects or None}
        chosen = [f"inspect.{name}" for name, value in choices.items() if value is not None]
        if len(chosen) > 1:
            raise UserError(f"{' and '.join(chosen)} are shown one at a time: give one of them")
        if self.row is not None:
            at_least("inspect.row", self.row, 0)
        elif self.split is not None:
            raise UserError(
                f"inspect.split={self.split} is of a row: give inspect.row too; inspect.id looks"
                " in every split"
            )
        if self.id is not None:
            within("inspect.id", self.id, 0, 2**64 - 1)
        if self.picture and self.row is None and self.id is None:
            raise UserError(
                f"inspect.picture={self.picture} is of drawings: give inspect.row or inspect.id too"
            )
        if self.picture and Path(self.picture).suffix not in (".png", ".svg"):
            raise UserError(f"inspect.picture={self.picture} must end in .png or .svg")
