"""What the step kernels of a HyperLSTM are, beside those of the layer-norm LSTM (`kernels`).

    a = x W_x + offset
    u = m_0..3 * a + m_4..7 * r + m_8..11        r = h W_h

where m_0..11 are the modulations of a step: scales of a, scales of r, and shifts, of the gates
i, j, f, o each. What follows is the step of a layer-norm LSTM.

Shapes as in `kernels`, of the main cell; F inputs per step.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from sketch_model.annotations import Tensor
from sketch_model.recurrent.kernels import BackwardStep, ForwardStep, StepKernels


class ModulationForward(NamedTuple):
    """What `bind_modulate`'s step reads and writes."""

    modulations: Tensor
    """[12, B, N], P, read: m of this step."""
    r: Tensor
    """[T or 1, B, G], P, read: h W_h."""
    inputs: Tensor
    """[T, B, F], S, read."""
    input_weight: Tensor
    """[F, G], S, read."""
    offset: Tensor
    """[B or 1, G], S, read: added to x W_x; with one row, to every sketch's."""
    u: Tensor
    """[1, B, G], S, written."""


class ModulationBackward(NamedTuple):
    """What `bind_demodulate`'s step reads and writes; rows of `first`... as in `kernels`."""

    modulations: Tensor
    """As forward."""
    r: Tensor
    """[T, B, G], P, read: as forward."""
    inputs: Tensor
    """As forward."""
    input_weight: Tensor
    """As forward."""
    offset: Tensor
    """As forward."""
    grad_u: Tensor
    """[B, G], S, read."""
    grad_modulations: Tensor
    """[12, B, N], P, written."""
    grad_r: Tensor
    """[many, G], P, written from row `first` on."""
    grad_a: Tensor
    """[many, G], P, written from row `first` on: of x W_x + offset."""
    grad_offset: Tensor
    """[B or 1, G], S: the gradients of x W_x + offset are added."""


@runtime_checkable
class HyperKernels(StepKernels, Protocol):
    """Kernels of the layer-norm LSTM, and the two between them."""

    def bind_modulate(self, buffers: ModulationForward) -> ForwardStep:
        """Makes u of the modulations."""

    def bind_demodulate(self, buffers: ModulationBackward) -> BackwardStep:
        """Makes the gradients of the modulations, r and the inputs' part of that of u."""
