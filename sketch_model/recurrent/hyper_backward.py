"""All steps of a HyperLSTM going back.

Shapes as in `hyper_forward`.
"""

from __future__ import annotations

from typing import Any, Final

import torch

from sketch_model.annotations import Tensor
from sketch_model.cells import NUM_MODULATIONS
from sketch_model.recurrent.driver import (
    Plan,
    add_product,
    chunk_rows,
    chunks,
    gather_rows,
    pad_rows,
    scatter_rows,
    transpose,
)
from sketch_model.recurrent.hyper_forward import (
    Arguments,
    History,
    ProductWeights,
    by_modulation,
    hyper_buffers,
    main_buffers,
    modulation_buffers,
)
from sketch_model.recurrent.kernels import BackwardBuffers, ForwardBuffers
from sketch_model.recurrent.modulation import ModulationBackward
from sketch_model.recurrent.products import bind_product, round_rows

_CHUNK: Final = 16
"""Steps of a whole batch whose gradients are multiplied into those of the weights together; more
where sketches have ended."""


class WayBack:
    """Buffers of the way back, the kernels bound to them, and the gradients of the weights.

    Args:
        plan: as of the way forward.
        arguments: as of the way forward.
        history: what the way forward left.
        grad_outputs: [T, B, N], or with `ends_only` [B, N].
        with_inputs: whether the inputs' gradient is wanted too.
    """

    def __init__(
        self,
        plan: Plan,
        arguments: Arguments,
        history: History,
        grad_outputs: Tensor,
        *,
        with_inputs: bool,
    ) -> None:
        self.num_rows, self.arguments, self.history = plan.num_rows, arguments, history
        self.size, self.hyper_size = arguments.h.shape[1], arguments.hyper_h.shape[1]
        self.sums_per_sketch = plan.kernels.SUMS_PER_SKETCH
        self.weights = ProductWeights.of(arguments, plan.product_dtype)
        self._bind_products()
        self._u = arguments.h.new_empty(1, len(arguments.h), 4 * self.size)
        self.main = self._main_buffers(plan, grad_outputs)
        self.hyper = self._hyper_buffers()
        self.modulation = self._modulation_buffers()
        self.grad_embeddings = self._packed_rows(history.embeddings)
        self.grad_weights = ProductWeights(
            *(torch.zeros_like(weight, dtype=arguments.h.dtype) for weight in self.weights)
        )
        self.grad_input_weight = torch.zeros_like(arguments.input_weight)
        self.grad_inputs = torch.zeros_like(arguments.inputs) if with_inputs else None
        kernels: Any = plan.kernels
        self._modulate = kernels.bind_modulate(
            modulation_buffers(arguments, history, self.modulation.modulations, self._u)
        )
        self._main_step = kernels.bind_backward(self.main)
        self._demodulate = kernels.bind_demodulate(self.modulation)
        self._hyper_step = kernels.bind_backward(self.hyper)

    def _bind_products(self) -> None:
        """By the transposed weights of the recurrence: to the gradients of h and of hyper h."""
        hyper_h_at, h_at, _ = self._columns()
        hyper_weight, batch_size = self.weights.hyper.t(), len(self.arguments.h)
        self._multiply_r_to_h = bind_product(self.weights.hidden.t(), batch_size)
        self._add_hyper_u_to_h = bind_product(hyper_weight[:, h_at], batch_size, adds=True)
        self._multiply_hyper_u_to_hyper_h = bind_product(hyper_weight[:, hyper_h_at], batch_size)

    def run(self) -> tuple[Tensor | None, ...]:
        """All steps, from the last on; gives the gradients in the order of `Arguments`."""
        for start, stop in chunks(self.num_rows, _CHUNK * len(self.arguments.h)):
            end = first = sum(self.num_rows[start:stop])
            for step in reversed(range(start, stop)):
                first -= self.num_rows[step]
                self._take_step(step, self.num_rows[step], first)
            self._gather(start, stop, end)
        return self._gradients()

    def _take_step(self, step: int, num_rows: int, first: int) -> None:
        """From the gradients of a step's states to those of the states before."""
        history, modulation, weights = self.history, self.modulation, self.weights
        rows = slice(first, first + num_rows)
        embeddings = by_modulation(history.embeddings[step, :num_rows])
        modulations = modulation.modulations[:, :num_rows]
        torch.bmm(embeddings, weights.modulation, out=modulations)
        self._modulate(step, num_rows)
        self._main_step(step, num_rows, 0)
        self._demodulate(step, num_rows, first)

        grad_modulations = modulation.grad_modulations[:, :num_rows]
        grad_embeddings, grad_hyper_h = self.grad_embeddings[rows], self.hyper.grad_h[:num_rows]
        grad_by_modulation = by_modulation(grad_embeddings)
        torch.bmm(grad_modulations, weights.modulation.transpose(1, 2), out=grad_by_modulation)
        _add_products(self.grad_weights.modulation, embeddings.transpose(1, 2), grad_modulations)
        grad_hyper_h.addmm_(grad_embeddings, weights.embedding.t())
        self._hyper_step(step, num_rows, first)

        grad_h = self.main.grad_h[:num_rows]
        rounded = slice(first, first + round_rows(num_rows, len(self.arguments.h)))
        grad_hyper_u = self.hyper.grad_u[rounded]
        self._multiply_r_to_h(modulation.grad_r[rounded], grad_h)
        self._add_hyper_u_to_h(grad_hyper_u, grad_h)
        self._multiply_hyper_u_to_hyper_h(grad_hyper_u, grad_hyper_h)

    def _gather(self, start: int, stop: int, end: int) -> None:
        """Gradients of the weights from these steps, which take up `end` rows."""
        hyper_h_at, h_at, x_at = self._columns()
        operands = self.history.operands
        rows = gather_rows(operands, self.num_rows, start, stop)
        next_hyper_h = gather_rows(operands[1:], self.num_rows, start, stop)[:, hyper_h_at]
        grad_hyper_u, grad_embeddings, grad_r, grad_a = (
            pad_rows(grads, end, len(rows))
            for grads in (
                self.hyper.grad_u,
                self.grad_embeddings,
                self.modulation.grad_r,
                self.modulation.grad_a,
            )
        )
        columns = transpose(rows)
        add_product(self.grad_weights.hyper, columns, grad_hyper_u)
        add_product(self.grad_weights.hidden, columns[h_at], grad_r)
        add_product(self.grad_weights.embedding, transpose(next_hyper_h), grad_embeddings)
        grad_bias = self.grad_weights.embedding_bias
        grad_bias += grad_embeddings.sum(0, dtype=grad_bias.dtype)
        add_product(self.grad_input_weight, columns[x_at], grad_a)
        if self.grad_inputs is not None:
            grad_x = grad_a @ self.arguments.input_weight.to(grad_a.dtype).t()
            grad_x += grad_hyper_u @ self.weights.hyper[x_at].t()
            scatter_rows(grad_x, self.num_rows, start, stop, self.grad_inputs)

    def _columns(self) -> tuple[slice, slice, slice]:
        """Of hyper h, h and x in an operand; the rows of the small cell's weight likewise."""
        h_end = self.hyper_size + self.size
        x_end = h_end + len(self.arguments.input_weight)
        return slice(0, self.hyper_size), slice(self.hyper_size, h_end), slice(h_end, x_end)

    def _gradients(self) -> tuple[Tensor | None, ...]:
        arguments, main, hyper = self.arguments, self.main, self.hyper
        gradients = {
            "inputs": self.grad_inputs,
            "h": main.grad_h.to(arguments.h.dtype),
            "hyper_h": hyper.grad_h.to(arguments.h.dtype),
            "c": main.grad_c,
            "hyper_c": hyper.grad_c,
            "hyper_weight": self.grad_weights.hyper,
            "hyper_offset": _sum_to(hyper.grad_offset, arguments.hyper_offset),
            "hidden_weight": self.grad_weights.hidden,
            "input_weight": self.grad_input_weight,
            "offset": self.modulation.grad_offset.sum_to_size(arguments.offset.shape),
            "bias": _sum_to(main.grad_offset, arguments.bias),
            "embedding_weight": self.grad_weights.embedding,
            "embedding_bias": self.grad_weights.embedding_bias,
            "modulation_weight": self.grad_weights.modulation,
        }
        sums = (*hyper.grad_parameters, *main.grad_parameters)
        for name, grad in zip(Arguments._fields[-len(sums) :], sums, strict=True):
            gradients[name] = grad.sum(0)
        return tuple(gradients.get(name) for name in Arguments._fields)

    def _main_buffers(self, plan: Plan, grad_outputs: Tensor) -> BackwardBuffers:
        h = self.arguments.h
        grad_h = torch.zeros_like(h, dtype=plan.product_dtype)
        if plan.ends_only:
            grad_h.copy_(grad_outputs)
        return self._backward_buffers(
            main_buffers(self.arguments, self.history, self._u, outputs=self._u),
            None if plan.ends_only else grad_outputs.contiguous(),
            grad_h,
            torch.empty_like(self._u[0]),
        )

    def _hyper_buffers(self) -> BackwardBuffers:
        hyper_u = self.history.hyper_u
        return self._backward_buffers(
            hyper_buffers(self.arguments, self.history),
            None,
            torch.zeros_like(self.arguments.hyper_h, dtype=hyper_u.dtype),
            self._packed_rows(hyper_u),
        )

    def _modulation_buffers(self) -> ModulationBackward:
        arguments, r = self.arguments, self.history.r
        modulations = r.new_empty(NUM_MODULATIONS, len(arguments.h), self.size)
        return ModulationBackward(
            *modulation_buffers(arguments, self.history, modulations, self._u)[:5],
            grad_u=self.main.grad_u,
            grad_modulations=torch.empty_like(modulations),
            grad_r=self._packed_rows(r),
            grad_a=self._packed_rows(r),
            grad_offset=self._sums(arguments.offset),
        )

    def _backward_buffers(
        self, forward: ForwardBuffers, grad_outputs: Tensor | None, grad_h: Tensor, grad_u: Tensor
    ) -> BackwardBuffers:
        return BackwardBuffers(
            *forward[:6],
            grad_outputs=grad_outputs,
            grad_h=grad_h,
            grad_c=torch.zeros_like(forward.c[0]),
            grad_u=grad_u,
            grad_offset=self._sums(forward.offset),
            grad_parameters=tuple(self._sums(p[None]) for p in forward.parameters),
        )

    def _packed_rows(self, history: Tensor) -> Tensor:
        """Room for the gradients of a chunk of steps."""
        _, batch_size, num_columns = history.shape
        return history.new_empty(chunk_rows(self.num_rows, batch_size, _CHUNK), num_columns)

    def _sums(self, rows: Tensor) -> Tensor:
        """Zeros for the gradient of `rows`."""
        num_sums = len(self.arguments.h) if self.sums_per_sketch else 1
        return rows.new_zeros(max(num_sums, len(rows)), rows.shape[1])


def _add_products(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left @ right, for each of a batch of matrices."""
    if right.dtype == total.dtype:
        total.baddbmm_(left, right)
    else:
        total += torch.bmm(left, right)


def _sum_to(grad: Tensor | None, like: Tensor) -> Tensor:
    assert grad is not None  # the buffers of both cells have one
    return grad.sum_to_size(like.shape)
