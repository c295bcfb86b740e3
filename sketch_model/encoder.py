"""Bidirectional encoder: a sketch in, a normal distribution over the latent vector out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import nn

from sketch_model.annotations import Float, Int, Tensor
from sketch_model.cells import RecurrentCell, build_cell
from sketch_model.config import ModelConfig
from sketch_model.recurrent import dropout_masks, unroll_to_ends
from sketch_model.recurrent.graphs import side_by_side

NUM_COLUMNS: Final = 5
"""Columns of stroke-5."""

INITIAL_STD: Final = 0.001
"""Of the weights to and from the latent vector."""


@dataclass(frozen=True)
class Posterior:
    """q(z | sketch), a normal distribution with independent coordinates."""

    mean: Float[Tensor, "batch N_z"]
    log_variance: Float[Tensor, "batch N_z"]

    def sample(self, noise: Float[Tensor, "batch N_z"]) -> Float[Tensor, "batch N_z"]:
        """z = mean + sigma * noise, with standard normal `noise` (Ha & Eck 2017, eq. 2)."""
        return self.mean + torch.exp(0.5 * self.log_variance) * noise


class Encoder(nn.Module):
    """Reads a sketch in both directions (Ha & Eck 2017, eqs. 1 and 2)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        size = config.encoder_size
        self.dropout = config.recurrent_dropout
        self.forward_cell = build_cell(config.encoder_cell, NUM_COLUMNS, size, config)
        self.backward_cell = build_cell(config.encoder_cell, NUM_COLUMNS, size, config)
        self.mean = latent_linear(2 * size, config.N_z)
        self.log_variance = latent_linear(2 * size, config.N_z)

    def forward(
        self,
        points: Float[Tensor, "batch time 5"],
        lengths: Int[Tensor, " batch"],
        generator: torch.Generator | None = None,
    ) -> Posterior:
        """Padding, the rows from `lengths` on, does not influence the result.

        Args:
            points: stroke-5 without the start row.
            lengths: points of each sketch, at least 1.
            generator: of the dropout masks, while training.
        """
        ahead = points.transpose(0, 1)
        if points.device.type == "cpu":  # elsewhere that would have to wait for the lengths
            ahead = ahead[: int(lengths.max())]
        back = reverse_within_lengths(ahead, lengths)

        def read(cell: RecurrentCell, rows: Tensor) -> Tensor:
            masks = dropout_masks(
                (*rows.shape[:2], cell.size),
                self.dropout if self.training else 0.0,
                device=rows.device,
                generator=generator,
            )
            return unroll_to_ends(cell, rows, lengths, masks=masks)

        ends = side_by_side(
            [lambda: read(self.forward_cell, ahead), lambda: read(self.backward_cell, back)],
            reads=[ahead, back, lengths],
        )
        with torch.autocast(points.device.type, enabled=False):
            summary = torch.cat(ends, dim=-1)
            return Posterior(self.mean(summary), self.log_variance(summary))


def reverse_within_lengths(
    rows: Float[Tensor, "time batch columns"], lengths: Int[Tensor, " batch"]
) -> Float[Tensor, "time batch columns"]:
    """Each sketch backwards from its last point; its padding stays where it is."""
    steps = torch.arange(len(rows), device=rows.device)[:, None]
    sources = torch.where(steps < lengths, lengths - 1 - steps, steps)
    return rows.gather(0, sources[:, :, None].expand_as(rows))


def latent_linear(num_inputs: int, num_outputs: int) -> nn.Linear:
    """A linear map that starts near zero, as the reference's around the latent vector do."""
    linear = nn.Linear(num_inputs, num_outputs)
    nn.init.normal_(linear.weight, std=INITIAL_STD)
    nn.init.zeros_(linear.bias)
    return linear
