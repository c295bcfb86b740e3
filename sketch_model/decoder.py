"""Autoregressive decoder: rows so far, and a latent vector, in; the next row's distribution out."""

from __future__ import annotations

import torch
from torch import nn

from sketch_model.annotations import Float, Tensor
from sketch_model.cells import LSTMState, build_cell
from sketch_model.config import ModelConfig
from sketch_model.encoder import NUM_COLUMNS, latent_linear
from sketch_model.mixture import Mixture, output_size
from sketch_model.recurrent import dropout_masks, unroll


class Decoder(nn.Module):
    """Ha & Eck 2017, section 3.2; without a latent vector if the model is not conditional.

    The output layer's bias starts at zero (the reference draws it at random, for want of an
    initialiser rather than on purpose).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        N_z = config.N_z if config.conditional else 0
        self.dropout = config.recurrent_dropout
        self.cell = build_cell(config.cell, NUM_COLUMNS + N_z, config.decoder_size)
        self.initial = latent_linear(N_z, self.cell.state_size) if config.conditional else None
        self.output = nn.Linear(config.decoder_size, output_size(config.M))
        nn.init.xavier_uniform_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def initial_state(self, z: Float[Tensor, "batch N_z"] | None, batch_size: int) -> LSTMState:
        """tanh of a linear map of z; zero without z."""
        if self.initial is None or z is None:
            return self.cell.zero_state(batch_size)
        return self.cell.split_state(torch.tanh(self.initial(z)))

    def forward(
        self,
        rows: Float[Tensor, "batch time 5"],
        z: Float[Tensor, "batch N_z"] | None,
        generator: torch.Generator | None = None,
    ) -> Mixture:
        """Distribution of each next row, the true rows being fed (teacher forcing).

        In float32 also under autocast, but for the products of the recurrence: bf16 keeps about
        three digits, too few for means and a log-sum-exp over components.

        Args:
            rows: stroke-5 from the start row on.
            z: None if the model is not conditional.
            generator: of the dropout masks, while training.
        """
        batch_size, num_steps, _ = rows.shape
        masks = dropout_masks(
            (num_steps, batch_size, self.cell.size),
            self.dropout if self.training else 0.0,
            device=rows.device,
            generator=generator,
        )
        with torch.autocast(rows.device.type, enabled=False):
            state = self.initial_state(z, batch_size)
        hidden = unroll(self.cell, rows.transpose(0, 1), state, constant=z, masks=masks)
        with torch.autocast(rows.device.type, enabled=False):
            # Outputs first, rows last: the losses then work on contiguous slabs per parameter
            # rather than on M numbers at a time.
            output = torch.addmm(
                self.output.bias[:, None], self.output.weight, hidden.flatten(0, 1).t()
            )
        return Mixture.from_output(output.view(-1, num_steps, batch_size).permute(2, 1, 0))

    def step(
        self,
        row: Float[Tensor, "batch 5"],
        z: Float[Tensor, "batch N_z"] | None,
        state: LSTMState,
    ) -> tuple[Mixture, LSTMState]:
        """Distribution of the row after `row`, and the state there; for sampling, no dropout."""
        state = self.cell(row if z is None else torch.cat([row, z], dim=-1), state)
        return Mixture.from_output(self.output(state.h)), state
