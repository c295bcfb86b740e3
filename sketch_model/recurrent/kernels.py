"""What a step kernel is: everything of one step of a cell but its matrix products.

A driver (`driver`) allocates the buffers of all steps, binds a set of kernels to them once, and
then alternates products with calls of the kernel. A set of kernels is a module, `compiled_lstm` for
the CPU or `triton_lstm` for a GPU, with the names of `StepKernels`.

Forward, at each step: u = operands[step] @ weight, of which the kernel makes c, h and the next
step's operand. Backward, from the last step on: the kernel turns the gradients of h and c into that
of u, which the driver multiplies back into the gradient of the h before.

Little but u and c is kept for the way back, where the gates are computed again: u is in the dtype
of the products, so under bf16 it takes half the memory of the gates, and it is the same u to the
bit.

Shapes: T steps, B batch, N units, G = 4 N gates in the order i, j, f, o, K columns of an operand.
P is the dtype of the products, S that of state, gates and sums (float32, or float64 throughout).
All buffers are contiguous. Where the first extent is `T or 1`, it is either all steps or only the
last one, and is indexed by `step % extent` (`T + 1 or 2` likewise): so nothing is kept where no
gradients are wanted, and `outputs` of extent 1 end up with each sketch's last output.

Rows are sketches. At every step the first `num_rows` of them take part, fewer and fewer (or all);
the other rows are neither read nor written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

from sketch_model.annotations import Tensor

ForwardStep = Callable[[int, int], None]
"""Takes (step, num_rows)."""

BackwardStep = Callable[[int, int, int], None]
"""Takes (step, num_rows, first): the gradients of u go to `grad_u[first : first + num_rows]`."""


class ForwardBuffers(NamedTuple):
    """What a step reads and writes going forward."""

    u: Tensor | list[Tensor]
    """[T or 1, B, G] or T or 1 of [num_rows or more, G], P, read: the product of this step."""
    offset: Tensor
    """[B or 1, G], S, read: added to u; with one row, to every sketch's."""
    masks: Tensor | None
    """[T, B, N], S, read: multiplies the candidates."""
    parameters: tuple[Tensor, ...]
    """S, read. Layer norm: gain [G] and shift [G] of the gates, gain [N] and shift [N] of c."""
    c: Tensor
    """[T + 1 or 2, B, N], S: read at `step`, written at `step + 1`."""
    statistics: Tensor | None
    """[T or 1, B, NUM_STATISTICS, 2], S, written. Layer norm's five, of i, j, f, o and c, are mean
    and 1 / deviation."""
    outputs: Tensor
    """[T or 1, B, N], S, written: h."""
    operands: Tensor
    """[T + 1, B, K], P: h is written to [step + 1, :, :N]; the other columns are not touched."""


class BackwardBuffers(NamedTuple):
    """What a step reads and writes going back."""

    u: Tensor | list[Tensor]
    """P, read: as forward."""
    offset: Tensor
    """[B or 1, G], S, read: as forward."""
    masks: Tensor | None
    """[T, B, N], S, read: as forward."""
    parameters: tuple[Tensor, ...]
    """S, read: as forward."""
    c: Tensor
    """[T + 1, B, N], S, read: as forward."""
    statistics: Tensor | None
    """[T, B, NUM_STATISTICS, 2], S, read: as forward."""
    grad_outputs: Tensor | None
    """[T, B, N], S, read: added to `grad_h`."""
    grad_h: Tensor
    """[B, N], P, read: the part of the gradient of this step's h that comes from later steps."""
    grad_c: Tensor
    """[B, N], S: of the new c on entry, of the old one on return."""
    grad_u: Tensor
    """[many, G], P, written."""
    grad_offset: Tensor | None
    """[B or 1, G], S: the gradients of u are added, each sketch's to its row or to the only one.
    None: nothing is added up."""
    grad_parameters: tuple[Tensor, ...]
    """[B or 1, G or N] each, S: added to in the same way."""


@runtime_checkable
class StepKernels(Protocol):
    """A cell's step on one kind of device.

    The forget bias is in `offset`, or with layer norm in the gates' shift.
    """

    NUM_STATISTICS: int
    """Pairs of them that are kept per sketch and step; 0 is none."""

    SUMS_PER_SKETCH: bool
    """Whether sums over sketches need a row for each, to be added up afterwards."""

    def bind_forward(self, buffers: ForwardBuffers) -> ForwardStep:
        """The step going forward."""

    def bind_backward(self, buffers: BackwardBuffers) -> BackwardStep:
        """The step going back."""
