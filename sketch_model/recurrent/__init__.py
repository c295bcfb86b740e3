"""Unrolling a cell over time: the place where the way of doing it is chosen.

Everything in here is time-major, because a step then is one contiguous block.
"""

from __future__ import annotations

import torch

from sketch_model.annotations import Float, Int, Tensor
from sketch_model.cells import LSTMCell, LSTMState
from sketch_model.recurrent.dropout import dropout_masks
from sketch_model.recurrent.fused import unroll_fused

__all__ = ["dropout_masks", "last_outputs", "unroll"]


def unroll(
    cell: LSTMCell,
    inputs: Float[Tensor, "time batch features"],
    state: LSTMState,
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
    product_dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    with torch.autocast(device, enabled=False):
        return unroll_fused(cell, inputs, state, constant, masks, product_dtype)


def last_outputs(
    outputs: Float[Tensor, "time batch units"], lengths: Int[Tensor, " batch"]
) -> Float[Tensor, "batch units"]:
    """Each sketch's output at its last step, `lengths - 1`."""
    return outputs[lengths - 1, torch.arange(len(lengths), device=outputs.device)]
