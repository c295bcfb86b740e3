"""Autoregressive decoder: rows so far, and a context, in; the next row's distribution out."""

from __future__ import annotations

import torch
from torch import nn

from sketch_model.annotations import Float, Int, Tensor
from sketch_model.cells import State, build_cell
from sketch_model.config import Condition, ModelConfig
from sketch_model.encoder import NUM_COLUMNS, latent_linear
from sketch_model.mixture import Mixture, output_size
from sketch_model.projection import project
from sketch_model.recurrent import Packing, dropout_masks, unroll, unroll_packed


class Decoder(nn.Module):
    """Ha & Eck 2017, section 3.2; without a latent vector if the model is not conditional.

    What is the same at every step, the latent vector and the embedding of the category as far as
    the model has them, is called the context. The output layer's bias starts at zero (the reference
    draws it at random, for want of an initialiser rather than on purpose).
    """

    def __init__(self, config: ModelConfig, num_categories: int) -> None:
        super().__init__()
        self.recurrent_dropout = config.recurrent_dropout
        self.input_dropout = config.input_dropout
        self.output_dropout = config.output_dropout
        context_size = config.N_z if config.conditional else 0
        self.category_embedding = None
        if config.condition is Condition.category:
            context_size += config.category_embedding_size
            self.category_embedding = nn.Embedding(num_categories, config.category_embedding_size)
        self.cell = build_cell(
            config.decoder_cell, NUM_COLUMNS + context_size, config.decoder_size, config
        )
        self.initial = latent_linear(context_size, self.cell.state_size) if context_size else None
        self.output = nn.Linear(config.decoder_size, output_size(config.M))
        nn.init.xavier_uniform_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def context(
        self, z: Float[Tensor, "batch N_z"] | None, categories: Int[Tensor, " batch"] | None
    ) -> Float[Tensor, "batch context"] | None:
        """[z ; embedding of the category], as far as the model has them; None if it has neither.

        Args:
            z: None if the model is not conditional.
            categories: indices; only read with condition=category.
        """
        if self.category_embedding is None:
            return z
        assert categories is not None
        embedding: Tensor = self.category_embedding(categories)
        return embedding if z is None else torch.cat([z, embedding], dim=-1)

    def initial_state(
        self, context: Float[Tensor, "batch context"] | None, batch_size: int
    ) -> State:
        """tanh of a linear map of the context; zero without one."""
        if self.initial is None or context is None:
            return self.cell.zero_state(batch_size)
        return self.cell.split_state(torch.tanh(self.initial(context)))

    def forward(
        self,
        rows: Float[Tensor, "batch time 5"],
        context: Float[Tensor, "batch context"] | None,
        generator: torch.Generator | None = None,
        packing: Packing | None = None,
    ) -> Float[Tensor, "computed_batch computed_time outputs"]:
        """What `Mixture.from_output` reads of each next row, the true rows being fed.

        In float32 also under autocast, but for the products of the recurrence. In memory the
        outputs come first and the sketches last, so that losses work on contiguous slabs per
        parameter rather than on M numbers at a time.

        Args:
            rows: stroke-5 from the start row on (teacher forcing).
            context: as `context` gives it.
            generator: of the dropout masks, while training.
            packing: the rows to compute, by default all of [batch, time]. The result then is
                [rows, 1, outputs].
        """
        batch_size, num_steps, _ = rows.shape
        inputs = rows.transpose(0, 1)
        computed = (num_steps, batch_size) if packing is None else (packing.num_rows,)

        def masks(shape: tuple[int, ...], probability: float) -> Tensor | None:
            return dropout_masks(
                shape,
                probability if self.training else 0.0,
                device=rows.device,
                generator=generator,
            )

        candidate_masks = masks((*computed, self.cell.size), self.recurrent_dropout)
        input_masks = masks((num_steps, batch_size, self.cell.input_size), self.input_dropout)
        output_masks = masks((*computed, self.cell.size), self.output_dropout)
        with torch.autocast(rows.device.type, enabled=False):
            state = self.initial_state(context, batch_size)
        if input_masks is not None:  # the context is then another one at every step
            if context is not None:
                inputs = torch.cat([inputs, context.expand(num_steps, -1, -1)], dim=-1)
            inputs, context = inputs * input_masks, None
        arguments = {"constant": context, "masks": candidate_masks}
        if packing is None:
            hidden = unroll(self.cell, inputs, state, **arguments)
        else:
            hidden = unroll_packed(self.cell, inputs, state, packing, **arguments)[None]
        if output_masks is not None:
            hidden = hidden * output_masks
        return project(hidden, self.output.weight, self.output.bias).permute(2, 1, 0)

    def step(
        self,
        row: Float[Tensor, "batch 5"],
        context: Float[Tensor, "batch context"] | None,
        state: State,
    ) -> tuple[Mixture, State]:
        """Distribution of the row after `row`, and the state there; for sampling, no dropout."""
        inputs = row if context is None else torch.cat([row, context], dim=-1)
        state = self.cell(inputs, state)
        return Mixture.from_output(self.output(state.h)), state
