"""Sketch-RNN (Ha & Eck 2017): the parts put together, and what a user calls.

Raw drawings go in and come out in drawing units; `DataSpec.offset_scale` of them make the model's
unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sketch_model.annotations import Float, Tensor
from sketch_model.batch import SketchBatch
from sketch_model.config import MAX_OFFSET, Condition, DataSpec, ModelConfig
from sketch_model.decoder import Decoder
from sketch_model.encoder import Encoder, Posterior
from sketch_model.mixture import Mixture
from sketch_model.randomness import LATENT, keyed_normal
from sketch_model.recurrent import Packing
from sketch_model.sampling import TemperatureRule, generate
from sketch_model.strokes import validate_stroke3

_ENCODE_BATCH = 256


@dataclass(frozen=True)
class Prediction:
    """What the model says of a batch.

    Attributes:
        output: of the decoder, a row for each row of the batch after the start.
        posterior: None if the model is not conditional.
        packing: None, or what is left out: `output` is then [rows, 1, outputs] of these rows.
    """

    output: Float[Tensor, "batch time outputs"]
    posterior: Posterior | None
    packing: Packing | None = None

    @property
    def mixture(self) -> Mixture:
        """The distribution of each row that `output` stands for."""
        return Mixture.from_output(self.output)


class SketchRNN(nn.Module):
    """Conditional (a variational autoencoder) or decoder-only Sketch-RNN.

    Attributes:
        config: sizes and kind.
        data: what the numbers mean.
        encoder: None if the model is not conditional.
        decoder: draws.
    """

    def __init__(self, config: ModelConfig, data: DataSpec) -> None:
        super().__init__()
        self.config = config
        self.data = data
        self.encoder = Encoder(config) if config.conditional else None
        self.decoder = Decoder(config, len(data.categories))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.decoder.output.weight.device

    def forward(
        self,
        batch: SketchBatch,
        latent_noise: Float[Tensor, "batch N_z"] | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Prediction:
        """Predicts every row of a batch from the rows before it.

        Args:
            batch: padded to any width of at least its longest sketch.
            latent_noise: standard normal numbers that draw z from the posterior; None takes the
                posterior's mean. Of no use to a decoder-only model.
            generator: of the dropout masks, while training; torch's default one if None.
        """
        posterior, z = None, None
        if self.encoder is not None:
            posterior = self.encoder(batch.targets, batch.lengths, generator)
            z = posterior.mean if latent_noise is None else posterior.sample(latent_noise)
        context = self.decoder.context(z, batch.categories)
        packing = None
        if batch.num_rows is not None and batch.num_rows.device.type == "cpu":
            packing = Packing.of(batch.num_rows, batch.inputs.shape[1])
        output = self.decoder(batch.inputs, context, generator, packing)
        return Prediction(output, posterior, packing)

    @torch.no_grad()
    def encode(
        self, sketches: NDArray[Any] | Sequence[NDArray[Any]]
    ) -> Float[Tensor, "*batch N_z"]:
        """Latent vectors of drawings: means of their posteriors, without dropout.

        Args:
            sketches: stroke-3 in drawing units, one [L, 3] or a list of them.

        Returns:
            float32 [N_z] for one drawing, [B, N_z] for a list, where the model is.

        Raises:
            ValueError: if the model is decoder-only, there is no drawing, or one is longer than
                N_max, empty, not finite or not stroke-3.
        """
        if self.encoder is None:
            raise ValueError(
                "a decoder-only model has no encoder: train one with model.conditional=true, or"
                " complete the drawing with sample(prefix=...)"
            )
        if isinstance(sketches, np.ndarray):
            return self.encode([sketches])[0]
        if not sketches:
            raise ValueError("there must be at least one drawing to encode, got none")
        rows = [self._to_model_units(sketch, f"drawing {n}") for n, sketch in enumerate(sketches)]
        was_training = self.training
        self.eval()
        try:
            chunks = (rows[n : n + _ENCODE_BATCH] for n in range(0, len(rows), _ENCODE_BATCH))
            return torch.cat([self._encode_rows(chunk) for chunk in chunks])
        finally:
            self.train(was_training)

    @torch.no_grad()
    def sample(
        self,
        num: int | None = None,
        *,
        temperature: float = 1.0,
        z: Float[Tensor, "*batch N_z"] | None = None,
        category: str | Sequence[str] | None = None,
        seed: int | None = None,
        prefix: NDArray[Any] | None = None,
        greedy: bool = False,
        max_length: int | None = None,
        temperature_rule: TemperatureRule = TemperatureRule.paper,
    ) -> list[NDArray[np.float32]]:
        """Draws.

        Sketch n depends on `seed` and n alone, up to rounding: a call for more sketches begins with
        those of a call for fewer.

        Args:
            num: how many; by default one, or one per row of `z`.
            temperature: above 0. 1 draws from the model's distribution, less draws what is more
                likely.
            z: latent vectors, one for all or one for each. By default that of `prefix` if there is
                one, else drawn from N(0, I).
            category: name of what is drawn, one for all or one for each; what a model with
                condition=category has to be told, and no other one can be.
            seed: None draws one from torch's default generator.
            prefix: the beginning of a drawing, in stroke-3 and drawing units, to be completed. The
                results include it.
            greedy: takes the likeliest component and pen state, and the component's mean.
            max_length: points after which an unfinished drawing is cut; N_max by default.
            temperature_rule: what temperature does to the standard deviations.

        Returns:
            Stroke-3 drawings in drawing units, float32 [L, 3] each, without an end token. L is 0
            where the model ended a drawing before its first point.

        Raises:
            ValueError: if an argument is outside its bounds, or does not go with the others or
                with the kind of the model.
        """
        max_length = self.data.N_max if max_length is None else max_length
        if max_length < 1:
            raise ValueError(f"max_length={max_length} must be at least 1")
        if not 0 < temperature < float("inf"):
            raise ValueError(
                f"temperature={temperature} must be above 0 and finite; for the likeliest drawing"
                " use greedy=True"
            )
        if seed is None:
            seed = int(torch.randint(1 << 62, ()))
        given = self._given_rows(prefix, max_length)
        if z is None and prefix is not None and self.encoder is not None:
            z = self.encode(prefix)
        num, z = self._latents(num, z, seed)
        rows = generate(
            self.decoder,
            given.expand(num, -1, -1),
            self.decoder.context(z, self._category_indices(category, num)),
            seed=seed,
            max_length=max_length,
            temperature=temperature,
            rule=TemperatureRule(temperature_rule),
            greedy=greedy,
        )
        return [self._to_drawing_units(sketch) for sketch in rows]

    def reconstruct(
        self,
        sketches: Sequence[NDArray[Any]],
        *,
        temperature: float = 1.0,
        category: str | Sequence[str] | None = None,
        seed: int | None = None,
        greedy: bool = False,
    ) -> list[NDArray[np.float32]]:
        """Each drawing, encoded and drawn again; arguments and errors as `encode`, `sample`."""
        z = self.encode(list(sketches))
        return self.sample(
            z=z, temperature=temperature, category=category, seed=seed, greedy=greedy
        )

    def _encode_rows(self, rows: Sequence[Tensor]) -> Tensor:
        assert self.encoder is not None
        lengths = torch.tensor([len(sketch) for sketch in rows], device=self.device)
        padded = nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
        posterior: Posterior = self.encoder(padded, lengths)
        return posterior.mean

    def _given_rows(self, prefix: NDArray[Any] | None, max_length: int) -> Tensor:
        """Start row and prefix, [1, rows, 5]."""
        start = torch.tensor([[0.0, 0.0, 1.0, 0.0, 0.0]], device=self.device)
        if prefix is None:
            return start[None]
        if len(prefix) >= max_length:
            raise ValueError(
                f"a prefix of {len(prefix)} points leaves nothing to draw: it must be shorter than"
                f" max_length={max_length}"
            )
        return torch.cat([start, self._to_model_units(prefix, "prefix")])[None]

    def _latents(self, num: int | None, z: Tensor | None, seed: int) -> tuple[int, Tensor | None]:
        """Number of sketches, and a latent vector for each of them."""
        if num is not None and num < 1:
            raise ValueError(f"num={num} must be at least 1")
        if self.encoder is None:
            if z is not None:
                raise ValueError("a decoder-only model takes no z: leave it out")
            return num or 1, None
        N_z = self.config.N_z
        if z is None:
            num = num or 1
            return num, keyed_normal(seed, LATENT, torch.arange(num, device=self.device), N_z)
        z = torch.as_tensor(z, dtype=torch.float32, device=self.device)
        if z.ndim == 1:
            z = z.expand(num or 1, -1)
        if z.ndim != 2 or z.shape[1] != N_z or len(z) != (num or len(z)) or len(z) == 0:
            raise ValueError(f"z must be [{N_z}] or [{num or 'num'}, {N_z}], got {list(z.shape)}")
        if not z.isfinite().all():
            raise ValueError("z must be finite, got NaN or infinity")
        return len(z), z

    def _category_indices(self, category: str | Sequence[str] | None, num: int) -> Tensor | None:
        """Index of each sketch's category; None if the model is not told."""
        known = self.data.categories
        if self.config.condition is Condition.none:
            if category is not None:
                raise ValueError(
                    f"category={category!r}: this model is not told what it draws; leave it out, or"
                    " train with model.condition=category"
                )
            return None
        if category is None:
            raise ValueError(f"this model draws what it is told to: give category=, of {known}")
        names = [category] * num if isinstance(category, str) else list(category)
        if len(names) != num:
            raise ValueError(f"category must be one name or {num}, got {len(names)}")
        for name in names:
            if name not in known:
                raise ValueError(f"category={name!r} is not one that was trained: {known}")
        return torch.tensor([known.index(name) for name in names], device=self.device)

    def _to_model_units(self, sketch: NDArray[Any], name: str) -> Tensor:
        """Stroke-5 rows of a drawing, without start and end."""
        try:
            validate_stroke3(sketch)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        if len(sketch) > self.data.N_max:
            raise ValueError(
                f"{name} has {len(sketch)} points, more than the model's N_max={self.data.N_max};"
                " simplify it, or train with a larger ingest.N_max"
            )
        offsets = np.clip(sketch[:, :2], -MAX_OFFSET, MAX_OFFSET) / self.data.offset_scale
        pen = sketch[:, 2]
        rows = np.stack([*offsets.T, 1 - pen, pen, np.zeros(len(sketch))], axis=1)
        return torch.from_numpy(rows.astype(np.float32)).to(self.device)

    def _to_drawing_units(self, stroke3: Tensor) -> NDArray[np.float32]:
        array: NDArray[np.float32] = stroke3.cpu().numpy()
        array[:, :2] *= self.data.offset_scale
        return array
