"""Unrolling a cell over time: the place where the way of doing it is chosen.

Everything in here is time-major, because a step then is one contiguous block.
"""

from __future__ import annotations

import torch

from sketch_model.annotations import Float, Int, Tensor
from sketch_model.cells import LSTMCell, LSTMState, RecurrentCell, State
from sketch_model.recurrent.dropout import dropout_masks
from sketch_model.recurrent.eager import unroll_eager
from sketch_model.recurrent.fused import unroll_fused

__all__ = ["dropout_masks", "unroll", "unroll_to_ends"]


def unroll(
    cell: RecurrentCell,
    inputs: Float[Tensor, "time batch features"],
    state: State,
    *,
    constant: Float[Tensor, "batch constant"] | None = None,
    masks: Float[Tensor, "time batch units"] | None = None,
) -> Float[Tensor, "time batch units"]:
    """Hidden outputs of a cell over all steps, the same as `eager.unroll_eager` gives, faster.

    The matrix products of the recurrence run in autocast's dtype where autocast is on; state,
    gates and outputs are float32 in any case.

    Args:
        cell: takes [inputs ; constant] at each step.
        inputs: what changes from step to step.
        state: before the first step.
        constant: what is the same at every step (the latent vector), multiplied once.
        masks: dropout of the candidates (`dropout_masks`); None is no dropout.

    Raises:
        ValueError: if `inputs` and `constant` together are not as wide as the cell's input.
    """
    width = inputs.shape[-1] + (0 if constant is None else constant.shape[-1])
    if width != cell.input_size:
        raise ValueError(f"the cell takes {cell.input_size} inputs per step, got {width}")
    device = inputs.device.type
    if not (isinstance(cell, LSTMCell) and isinstance(state, LSTMState)):
        return unroll_eager(cell, inputs, state, constant=constant, masks=masks)
    product_dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    with torch.autocast(device, enabled=False):
        return unroll_fused(cell, inputs, state, constant, masks, product_dtype)


def unroll_to_ends(
    cell: RecurrentCell,
    inputs: Float[Tensor, "time batch features"],
    lengths: Int[Tensor, " batch"],
    *,
    masks: Float[Tensor, "time batch units"] | None = None,
) -> Float[Tensor, "batch units"]:
    """Each sketch's output at its last step, `lengths - 1`, from a zero state.

    What stands in `inputs` and `masks` from `lengths` on does not influence the result.

    Args:
        cell: as in `unroll`.
        inputs: as in `unroll`.
        lengths: steps of each sketch, at least 1.
        masks: as in `unroll`.
    """
    outputs = unroll(cell, inputs, cell.zero_state(inputs.shape[1]), masks=masks)
    return outputs[lengths - 1, torch.arange(len(lengths), device=outputs.device)]
