"""The readable reference: a loop over the cell."""

from __future__ import annotations

import torch

from sketch_model.annotations import Float, Tensor
from sketch_model.cells import RecurrentCell, State


def unroll_eager(
    cell: RecurrentCell,
    inputs: Float[Tensor, "time batch features"],
    state: State,
    *,
    constant: Float[Tensor, "batch constant"] | None = None,
    masks: Float[Tensor, "time batch units"] | None = None,
) -> Float[Tensor, "time batch units"]:
    """Hidden outputs of a cell over all steps; arguments as in `recurrent.unroll`."""
    outputs = []
    for step, changing in enumerate(inputs):
        x = changing if constant is None else torch.cat([changing, constant], dim=-1)
        state = cell(x, state, None if masks is None else masks[step])
        outputs.append(state.h)
    return torch.stack(outputs)
