"""What defines a model, without torch: plain dataclasses that a config file maps onto."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

_Choice = TypeVar("_Choice", bound=StrEnum)

MAX_OFFSET = 1000
"""Offsets are clipped to this many drawing units either way, as in the reference."""


def at_least(name: str, value: float, bound: float) -> None:
    """Raises ValueError naming the field, its value and the bound, unless value >= bound."""
    if not value >= bound:
        raise ValueError(f"{name}={value} must be at least {bound}")


def within(name: str, value: float, low: float, high: float) -> None:
    """Raises ValueError naming the field, its value and the bounds, unless low <= value <= high."""
    if not low <= value <= high:
        raise ValueError(f"{name}={value} must lie between {low} and {high}")


def choose(name: str, choices: type[_Choice], value: Any) -> _Choice:
    """The choice that is called `value`; raises ValueError with those there are."""
    try:
        return choices(value)
    except ValueError:
        there_are = ", ".join(choices)
        raise ValueError(f"{name}={value!r} must be one of {there_are}") from None


class Cell(StrEnum):
    """Recurrent cells of the encoder and the decoder."""

    lstm = "lstm"
    layer_norm = "layer_norm"
    """LSTM with layer normalization."""
    hyper = "hyper"
    """HyperLSTM: a small LSTM scales and shifts the gates of the main one at every step."""


class Condition(StrEnum):
    """What the decoder is told beside the latent vector."""

    none = "none"
    category = "category"
    """A learnt embedding of the drawing's category."""


@dataclass(kw_only=True)
class ModelConfig:
    """Sizes and kind of a Sketch-RNN; the defaults are the reference implementation's."""

    conditional: bool = True
    """With an encoder and a latent vector; False is the paper's decoder-only model, which reads
    neither the encoder's cell and size nor N_z."""
    encoder_cell: Cell = Cell.lstm
    """Of both directions."""
    encoder_size: int = 256
    """Units of the encoder, per direction."""
    decoder_cell: Cell = Cell.lstm
    """Of the decoder."""
    decoder_size: int = 512
    """Units of the decoder."""
    hyper_size: int = 256
    """Hyper cells only: units of the small LSTM."""
    hyper_embedding_size: int = 32
    """Hyper cells only: numbers that the small LSTM gives for each scale and shift of a gate."""
    N_z: int = 128
    """Size of the latent vector."""
    M: int = 20
    """Components of the mixture over the next pen offset."""
    condition: Condition = Condition.none
    """What the decoder is told beside the latent vector."""
    category_embedding_size: int = 32
    """condition=category only."""
    recurrent_dropout: float = 0.10
    """Probability of dropping an element of a cell's candidate (the reference keeps 0.90)."""
    input_dropout: float = 0.0
    """Probability of dropping an element of what the decoder's cell reads."""
    output_dropout: float = 0.0
    """Probability of dropping an element of what the decoder's cell puts out."""

    def __post_init__(self) -> None:
        self.encoder_cell = choose("model.encoder_cell", Cell, self.encoder_cell)
        self.decoder_cell = choose("model.decoder_cell", Cell, self.decoder_cell)
        self.condition = choose("model.condition", Condition, self.condition)
        for name in _SIZES:
            at_least(f"model.{name}", getattr(self, name), 1)
        for name in ("recurrent_dropout", "input_dropout", "output_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"model.{name}={getattr(self, name)} must be in [0, 1):"
                    " it is the probability of dropping, not of keeping"
                )
        self._refuse_unread()

    def _refuse_unread(self) -> None:
        """Raises ValueError for a size that was set and that no part of the model would read.

        A decoder-only model reads nothing of the encoder either, but those sizes are no mistake:
        a preset (conf/model) is for both kinds.
        """
        cells = [self.decoder_cell, *([self.encoder_cell] if self.conditional else [])]
        unread: dict[str, str] = {}
        if Cell.hyper not in cells:
            unread |= dict.fromkeys(_OF_HYPER_CELLS, "decoder_cell=hyper")
        if self.condition != Condition.category:
            unread["category_embedding_size"] = "condition=category"
        for name, remedy in unread.items():
            if (value := getattr(self, name)) != getattr(ModelConfig, name):
                raise ValueError(
                    f"model.{name}={value} is not read by this model: leave it out, or set"
                    f" model.{remedy}"
                )


_OF_HYPER_CELLS = ("hyper_size", "hyper_embedding_size")
_SIZES = ("encoder_size", "decoder_size", *_OF_HYPER_CELLS, "N_z", "M", "category_embedding_size")


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """What a model's numbers mean: learnt from this data, in this unit."""

    offset_scale: float
    """Standard deviation of the training split's offsets: the model's unit of length."""
    N_max: int
    """Rows of the longest sequence, end token included; the divisor of the losses."""
    categories: tuple[str, ...]
    source: str


@dataclass(kw_only=True)
class Augmentation:
    """Distortions of a training sketch (reference implementation; the paper has scaling only)."""

    scale_factor: float = 0.15
    """x and y are each multiplied by a factor drawn from [1 - scale_factor, 1 + scale_factor]."""
    drop_probability: float = 0.10
    """Chance of merging an inner point of a stroke into its predecessor."""

    def __post_init__(self) -> None:
        within("augmentation.scale_factor", self.scale_factor, 0.0, 1.0)
        within("augmentation.drop_probability", self.drop_probability, 0.0, 1.0)
