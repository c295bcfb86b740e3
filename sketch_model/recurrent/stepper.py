"""Cells going forward one step at a time, without gradients: for sampling on a CPU.

As in the drivers (`driver`, `hyper`), what is the same at every step is multiplied once, what
changes is multiplied together with h, and everything but products is done by step kernels. But the
buffers are of a single step, whose results are those that the next one begins with, and sketches
may leave in between.

Shapes as in `kernels`; F inputs that change from step to step, H units of a HyperLSTM's small cell.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeGuard

import torch

from sketch_model.annotations import Float, Int, Tensor
from sketch_model.cells import (
    NUM_MODULATIONS,
    HyperLSTMCell,
    HyperLSTMState,
    LayerNormLSTMCell,
    LayerNormLSTMState,
    LSTMCell,
    LSTMState,
    State,
)
from sketch_model.recurrent.driver import stack_weights
from sketch_model.recurrent.kernels import ForwardBuffers
from sketch_model.recurrent.modulation import ModulationForward
from sketch_model.recurrent.products import Product, bind_product
from sketch_model.recurrent.terms import collect_terms

_MIN_PACKED_ROWS: Final = 4
"""With fewer, packing a matrix takes about as long as it saves over a sketch of 200 points."""

SteppedCell = LSTMCell | LayerNormLSTMCell | HyperLSTMCell
"""Cells that have a stepper."""


def takes(cell: torch.nn.Module) -> TypeGuard[SteppedCell]:
    """Whether `make_stepper` has a stepper for this cell."""
    return isinstance(cell, SteppedCell)


def make_stepper(
    cell: SteppedCell,
    state: State,
    constant: Float[Tensor, "batch constant"] | None,
    num_inputs: int,
) -> GatedStepper | HyperStepper:
    """State of a batch, and how it is advanced, with weights that are prepared once.

    Args:
        cell: takes [inputs ; constant] at each step.
        state: before the first step.
        constant: what is the same at every step.
        num_inputs: numbers of what changes.
    """
    if isinstance(cell, HyperLSTMCell):
        assert isinstance(state, HyperLSTMState)
        return HyperStepper(cell, state, constant, num_inputs)
    assert isinstance(state, LSTMState | LayerNormLSTMState)
    return GatedStepper(cell, state, constant, num_inputs)


def move_rows(
    stepper: GatedStepper | HyperStepper,
    sources: Int[Tensor, " moved"],
    targets: Int[Tensor, " moved"],
    num_rows: int,
) -> None:
    """Puts sketches in the places of others, and drops those that are then beyond `num_rows`."""
    for tensor in stepper.rows:
        tensor[targets] = tensor[sources]
    stepper.num_rows = num_rows


class GatedStepper:
    """Of an LSTM, with or without layer norm.

    Attributes:
        num_rows: sketches that are still there, the first of the rows.
        inputs: [B, F], to be written before a step.
        h: [B, N], what the cell has put out.
        rows: tensors, [B, ...], of all that a sketch takes along if it moves.
    """

    def __init__(
        self,
        cell: LSTMCell | LayerNormLSTMCell,
        state: LSTMState | LayerNormLSTMState,
        constant: Tensor | None,
        num_inputs: int,
    ) -> None:
        self.num_rows, size = state.h.shape
        weight = cell.input_weight.detach()
        joint = stack_weights(cell.hidden_weight.detach(), weight[:num_inputs], weight.dtype)
        self._multiply = _bind_product(joint, self.num_rows)
        operands = state.c.new_zeros(2, self.num_rows, len(joint))
        self._operand = operands[1]  # where a kernel that takes step 0 writes
        self._operand[:, :size] = state.h
        self._changing = self._operand[:, size : size + num_inputs]
        self.inputs = state.c.new_empty(self.num_rows, num_inputs)
        self._u = state.c.new_empty(self.num_rows, 4 * size)
        terms = _bind_terms(cell, _multiply_once(weight[num_inputs:], constant))
        self._kernel = _BoundKernel(terms, self._u, state.c, operands)
        self.h = self._kernel.h
        self.rows = [self.inputs, self._operand, *self._kernel.rows]

    def step(self) -> None:
        """Reads `inputs`, writes `h`."""
        num = self.num_rows
        self._changing[:num] = self.inputs[:num]
        self._multiply(self._operand[:num], self._u[:num])
        self._kernel.run(num)


class HyperStepper:
    """Of a HyperLSTM; attributes as of `GatedStepper`."""

    def __init__(
        self, cell: HyperLSTMCell, state: HyperLSTMState, constant: Tensor | None, num_inputs: int
    ) -> None:
        from sketch_model.recurrent import compiled_hyper

        self.num_rows, size = state.h.shape
        num_rows, hyper_size, small = self.num_rows, cell.hyper_size, cell.hyper_cell
        new = state.c.new_empty
        inputs_at = hyper_size + size
        input_weight, small_weight = cell.input_weight.detach(), small.input_weight.detach()
        changing, constant_weight, hidden = small_weight.tensor_split([num_inputs, cell.input_size])
        joint = stack_weights(
            torch.cat([small.hidden_weight.detach(), hidden]), changing, hidden.dtype
        )
        self._multiply_small = _bind_product(joint, num_rows)
        self._multiply_hidden = _bind_product(cell.hidden_weight.detach(), num_rows)
        self._embedding_weight = cell.embedding_weight.detach()
        self._embedding_bias = torch.nn.functional.pad(
            cell.embedding_bias.detach(), (0, self._embedding_weight.shape[1] // 3)
        )
        self._modulation_weight = cell.modulation_weight.detach()

        # The kernels write h to the first columns of their operands. The main cell's are the same
        # memory as the small one's, H columns further on.
        shape = torch.Size((2, num_rows, len(joint)))
        memory = state.c.new_zeros(shape.numel() + hyper_size)
        operands, main_operands = memory[:-hyper_size].view(shape), memory[hyper_size:].view(shape)
        self._operand = operands[1]
        self._operand[:, :hyper_size] = state.hyper_h
        self._operand[:, hyper_size:inputs_at] = state.h
        self._hyper_h = self._operand[:, :hyper_size]
        self._old_h = self._operand[:, hyper_size:inputs_at]
        self._changing = self._operand[:, inputs_at : inputs_at + num_inputs]

        self._hyper_u, self._r = new(num_rows, 4 * hyper_size), new(num_rows, 4 * size)
        self._embeddings = new(num_rows, len(self._embedding_bias))
        self._modulations = new(NUM_MODULATIONS, num_rows, size)
        self.inputs, u = new(num_rows, num_inputs), new(num_rows, 4 * size)
        offset = _multiply_once(input_weight[num_inputs:], constant)
        self._modulate = compiled_hyper.bind_modulate(
            ModulationForward(
                modulations=self._modulations,
                r=self._r[None],
                inputs=self.inputs[None],
                input_weight=input_weight[:num_inputs],
                offset=offset,
                u=u[None],
            )
        )
        small_terms = _bind_terms(small, _multiply_once(constant_weight, constant))
        self._small = _BoundKernel(small_terms, self._hyper_u, state.hyper_c, operands)
        main_terms = _bind_terms(cell, _multiply_once(input_weight, None))
        self._main = _BoundKernel(main_terms, u, state.c, main_operands)
        self.h = self._main.h
        self.rows = [self.inputs, self._operand, *self._small.rows, *self._main.rows]
        self.rows += [offset] if len(offset) > 1 else []

    def step(self) -> None:
        """Reads `inputs`, writes `h`."""
        num = self.num_rows
        embeddings = self._embeddings[:num]
        self._changing[:num] = self.inputs[:num]
        self._multiply_small(self._operand[:num], self._hyper_u[:num])
        self._multiply_hidden(self._old_h[:num], self._r[:num])
        self._small.run(num)
        torch.addmm(
            self._embedding_bias, self._hyper_h[:num], self._embedding_weight, out=embeddings
        )
        by_group = embeddings.view(num, NUM_MODULATIONS, -1).transpose(0, 1)
        torch.bmm(by_group, self._modulation_weight, out=self._modulations[:, :num])
        self._modulate(0, num)
        self._main.run(num)


class _BoundTerms(NamedTuple):
    """What a cell hands to its kernels beside the state."""

    kernels: Any
    offset: Tensor  # [B or 1, G]
    parameters: tuple[Tensor, ...]


class _BoundKernel:
    """A kernel that takes the step from old c to new c, and then makes it the old one.

    Not in place: the compiler vectorizes only what does not overlap.
    """

    def __init__(self, terms: _BoundTerms, u: Tensor, c: Tensor, operands: Tensor) -> None:
        both = torch.stack([c, c])
        self._old, self._new = both
        self.h = torch.empty_like(c)
        self.rows = [self._old] + ([terms.offset] if len(terms.offset) > 1 else [])
        num_statistics = terms.kernels.NUM_STATISTICS
        self._step = terms.kernels.bind_forward(
            ForwardBuffers(
                u=u[None],
                offset=terms.offset,
                masks=None,
                parameters=terms.parameters,
                c=both,
                statistics=c.new_empty(1, len(c), num_statistics, 2) if num_statistics else None,
                outputs=self.h[None],
                operands=operands,
            )
        )

    def run(self, num_rows: int) -> None:
        self._step(0, num_rows)
        self._old[:num_rows] = self._new[:num_rows]


def _bind_product(matrix: Tensor, num_rows: int) -> Product:
    def multiply(left: Tensor, out: Tensor) -> None:
        torch.mm(left, matrix, out=out)

    return bind_product(matrix, num_rows) if num_rows >= _MIN_PACKED_ROWS else multiply


def _multiply_once(weight: Tensor, constant: Tensor | None) -> Tensor:
    """What the constant inputs add to every step, [B or 1, G]."""
    return weight.new_zeros(1, weight.shape[1]) if constant is None else constant @ weight


@torch.no_grad()
def _bind_terms(cell: SteppedCell, offset: Tensor) -> _BoundTerms:
    """With the kernels of the cell, and an offset that is added to its bias."""
    from sketch_model.recurrent import compiled_layer_norm, compiled_lstm

    bias, parameters = collect_terms(cell)
    kernels = compiled_lstm if isinstance(cell, LSTMCell) else compiled_layer_norm
    return _BoundTerms(kernels, offset + bias, parameters)
