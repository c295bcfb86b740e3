"""Who takes part in the comparison of training steps, and what each computes of a batch."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.models import PlainSketchRNN, Way, plain_loss
from pipeline.config import LossConfig
from sketch_model.batch import SketchBatch
from sketch_model.config import Cell, DataSpec, ModelConfig
from sketch_model.losses import floored_kl, kl_weight, sketch_losses
from sketch_model.model import SketchRNN
from sketch_model.randomness import LATENT, keyed_normal

Loss = Callable[[SketchBatch, int], Tensor]


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A model, and how it is trained.

    Attributes:
        way: of a peer to go through time; None is this project's.
        encoder: its cell.
        decoder: its cell.
        bf16: whether under bf16 autocast.
        narrow: whether few rows are padding, as training has it; a peer's batches are pooled by
            length instead. Otherwise all rows are there, to N_max.
        keeps_memory: whether the C library is told to keep large blocks.
        sizes: fields of ModelConfig that differ from the default model's.
    """

    way: Way | None = None
    encoder: Cell = Cell.lstm
    decoder: Cell = Cell.lstm
    bf16: bool = False
    narrow: bool = False
    keeps_memory: bool = False
    sizes: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What a table calls it."""
        cells = self.encoder if self.encoder is self.decoder else f"{self.encoder}+{self.decoder}"
        parts: list[str] = [self.way or "SketchRNN"]
        if self.way not in (Way.library, Way.packed):
            parts.append(cells)
        parts.append("bf16" if self.bf16 else "fp32")
        parts += [self.batches] * self.narrow + ["memory kept"] * self.keeps_memory
        return ", ".join(parts)

    @property
    def batches(self) -> str:
        """What narrow ones are called."""
        return "as trained" if self.way is None else "pooled"

    @property
    def model_config(self) -> ModelConfig:
        """The default model's, but for cells and sizes."""
        return ModelConfig(encoder_cell=self.encoder, decoder_cell=self.decoder, **self.sizes)

    def to_json(self) -> str:
        """For a process of its own."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Contender:
        """What `to_json` wrote."""
        content = json.loads(text)
        way = content.pop("way")
        cells = {name: Cell(content.pop(name)) for name in ("encoder", "decoder")}
        return cls(way=None if way is None else Way(way), **cells, **content)

    def build(self, data: DataSpec) -> tuple[nn.Module, Loss]:
        """A model, and its loss for a batch at a step; the weighting is training's default."""
        torch.manual_seed(0)
        if self.way is None:
            own = SketchRNN(self.model_config, data)
            return own, _own_loss(own, self.bf16)
        plain = PlainSketchRNN(self.model_config, self.way)
        return plain, _plain_loss(plain, self.bf16, data.N_max)


def _own_loss(model: SketchRNN, bf16: bool) -> Loss:
    """As `pipeline.training.module` has it."""

    def compute(batch: SketchBatch, step: int) -> Tensor:
        generator = torch.Generator().manual_seed(step)
        noise = keyed_normal(0, LATENT, batch.positions, model.config.N_z)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            prediction = model(batch, noise, generator=generator)
            losses = sketch_losses(prediction, batch, model.data.N_max)
            w_KL, KL_min = _weigh(step)
            return losses.L_R + w_KL * floored_kl(losses.L_KL, KL_min)

    return compute


def _plain_loss(model: PlainSketchRNN, bf16: bool, N_max: int) -> Loss:
    def compute(batch: SketchBatch, step: int) -> Tensor:
        noise = keyed_normal(0, LATENT, batch.positions, model.config.N_z)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return plain_loss(model(batch, noise), batch, N_max, *_weigh(step))

    return compute


def _weigh(step: int) -> tuple[float, float]:
    """w_KL at a step, and KL_min."""
    loss = LossConfig()
    return kl_weight(step, w_KL=loss.w_KL, eta_min=loss.eta_min, R=loss.R), loss.KL_min
