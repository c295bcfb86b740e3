"""All steps of a HyperLSTM going forward, and what they leave for the way back.

Shapes as in `kernels`, of the main cell; F inputs per step, H units and E embedding numbers of the
small cell, K columns of its operands.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from sketch_model.annotations import Tensor
from sketch_model.cells import NUM_MODULATIONS
from sketch_model.recurrent.driver import Plan
from sketch_model.recurrent.kernels import ForwardBuffers
from sketch_model.recurrent.modulation import ModulationForward
from sketch_model.recurrent.products import bind_product, round_rows


class Arguments(NamedTuple):
    """What the unrolling is a function of."""

    inputs: Tensor  # [T, B, F]
    masks: Tensor | None  # [T, B, N]
    h: Tensor  # [B, N]
    hyper_h: Tensor  # [B, H]
    c: Tensor  # [B, N]
    hyper_c: Tensor  # [B, H]
    hyper_weight: Tensor  # [K, 4 H], of operands [hyper h ; h ; x ; zeros]
    hyper_offset: Tensor  # [B or 1, 4 H]
    hidden_weight: Tensor  # [N, G]
    input_weight: Tensor  # [F, G]
    offset: Tensor  # [B or 1, G], added to x W_x
    bias: Tensor  # [1, G]
    embedding_weight: Tensor  # [H, 12 E]
    embedding_bias: Tensor  # [12 E]
    modulation_weight: Tensor  # [12, E, N]
    hyper_gate_gain: Tensor  # [4 H]
    hyper_gate_shift: Tensor  # [4 H], with the forget bias
    hyper_memory_gain: Tensor  # [H]
    hyper_memory_shift: Tensor  # [H]
    gate_gain: Tensor  # [G]
    gate_shift: Tensor  # [G], with the forget bias
    memory_gain: Tensor  # [N]
    memory_shift: Tensor  # [N]


class History(NamedTuple):
    """What the way back needs of the way forward. Without gradients T is 1 but for the operands."""

    operands: Tensor  # [T + 1, B, K], P
    main_operands: Tensor  # the same memory from column H of the first row on
    hyper_u: Tensor  # [T, B, 4 H], P
    hyper_c: Tensor  # [T + 1, B, H], S
    hyper_statistics: Tensor  # [T, B, 5, 2], S
    embeddings: Tensor  # [T, B, 12 E], P
    r: Tensor  # [T, B, G], P
    c: Tensor  # [T + 1, B, N], S
    statistics: Tensor  # [T, B, 5, 2], S


class ProductWeights(NamedTuple):
    """The weights of the recurrence, in the dtype of the products."""

    hyper: Tensor
    hidden: Tensor
    embedding: Tensor
    embedding_bias: Tensor
    modulation: Tensor

    @classmethod
    def of(cls, arguments: Arguments, dtype: torch.dtype) -> ProductWeights:
        """Those of the arguments, rounded."""
        return cls(
            arguments.hyper_weight.to(dtype),
            arguments.hidden_weight.to(dtype),
            arguments.embedding_weight.to(dtype),
            arguments.embedding_bias.to(dtype),
            arguments.modulation_weight.to(dtype),
        )


def allocate(plan: Plan, arguments: Arguments) -> History:
    """Room for the history, with the initial state and the inputs in their places."""
    num_steps, batch_size, num_features = arguments.inputs.shape
    size, hyper_size = arguments.h.shape[1], arguments.hyper_h.shape[1]
    num_kept = num_steps if plan.keep_history else 1
    num_statistics = plan.kernels.NUM_STATISTICS
    state = arguments.h.new_empty

    def product(*shape: int) -> Tensor:
        return arguments.h.new_empty(shape, dtype=plan.product_dtype)

    # A kernel writes h to the first columns of its cell's operands. So both cells' operands are the
    # same memory, the main one's from H columns further on.
    shape = torch.Size((num_steps + 1, batch_size, len(arguments.hyper_weight)))
    memory = product(shape.numel() + hyper_size)
    operands = memory[:-hyper_size].view(shape)
    inputs_at = hyper_size + size
    operands[0, :, :hyper_size] = arguments.hyper_h
    operands[0, :, hyper_size:inputs_at] = arguments.h
    operands[:-1, :, inputs_at : inputs_at + num_features] = arguments.inputs
    operands[:, :, inputs_at + num_features :] = 0
    history = History(
        operands=operands,
        main_operands=memory[hyper_size:].view(shape),
        hyper_u=product(num_kept, batch_size, 4 * hyper_size),
        hyper_c=state(num_kept + 1, batch_size, hyper_size),
        hyper_statistics=state(num_kept, batch_size, num_statistics, 2),
        embeddings=product(num_kept, batch_size, len(arguments.embedding_bias)),
        r=product(num_kept, batch_size, 4 * size),
        c=state(num_kept + 1, batch_size, size),
        statistics=state(num_kept, batch_size, num_statistics, 2),
    )
    history.hyper_c[0], history.c[0] = arguments.hyper_c, arguments.c
    return history


def run_forward(plan: Plan, arguments: Arguments, history: History) -> Tensor:
    """All steps: fills in the history and gives h, [T, B, N], or with `ends_only` [1, B, N]."""
    num_steps, batch_size, _ = arguments.inputs.shape
    size, hyper_size = arguments.h.shape[1], arguments.hyper_h.shape[1]
    outputs = arguments.h.new_empty(1 if plan.ends_only else num_steps, batch_size, size)
    u = arguments.h.new_empty(1, batch_size, 4 * size)
    modulations = history.r.new_empty(NUM_MODULATIONS, batch_size, size)
    kernels: Any = plan.kernels
    hyper_step = kernels.bind_forward(hyper_buffers(arguments, history))
    modulate = kernels.bind_modulate(modulation_buffers(arguments, history, modulations, u))
    main_step = kernels.bind_forward(main_buffers(arguments, history, u, outputs))
    weights = ProductWeights.of(arguments, plan.product_dtype)
    multiply_small = bind_product(weights.hyper, batch_size)
    multiply_hidden = bind_product(weights.hidden, batch_size)
    for step, num_rows in enumerate(plan.num_rows):
        at = step % len(history.r)
        next_operand = history.operands[step + 1, :num_rows]
        rounded = history.operands[step, : round_rows(num_rows, batch_size)]
        multiply_small(rounded, history.hyper_u[at, :num_rows])
        hyper_step(step, num_rows)
        hyper_h, embeddings = next_operand[:, :hyper_size], history.embeddings[at, :num_rows]
        torch.addmm(weights.embedding_bias, hyper_h, weights.embedding, out=embeddings)
        torch.bmm(by_modulation(embeddings), weights.modulation, out=modulations[:, :num_rows])
        h = rounded[:, hyper_size : hyper_size + size]
        multiply_hidden(h, history.r[at, :num_rows])
        modulate(step, num_rows)
        main_step(step, num_rows)
    return outputs


def by_modulation(rows: Tensor) -> Tensor:
    """[rows, 12 E] seen as [12, rows, E]."""
    groups: Tensor = torch.unflatten(rows, 1, (NUM_MODULATIONS, -1))
    return groups.transpose(0, 1)


def hyper_buffers(arguments: Arguments, history: History) -> ForwardBuffers:
    """Of the small cell's step; its output is needed as an operand only."""
    return ForwardBuffers(
        u=history.hyper_u,
        offset=arguments.hyper_offset,
        masks=None,
        parameters=arguments[-8:-4],
        c=history.hyper_c,
        statistics=history.hyper_statistics,
        outputs=arguments.h.new_empty(1, *arguments.hyper_h.shape),
        operands=history.operands,
    )


def modulation_buffers(
    arguments: Arguments, history: History, modulations: Tensor, u: Tensor
) -> ModulationForward:
    """Of what is between the two steps."""
    return ModulationForward(
        modulations=modulations,
        r=history.r,
        inputs=arguments.inputs,
        input_weight=arguments.input_weight,
        offset=arguments.offset,
        u=u,
    )


def main_buffers(
    arguments: Arguments, history: History, u: Tensor, outputs: Tensor
) -> ForwardBuffers:
    """Of the main cell's step."""
    return ForwardBuffers(
        u=u,
        offset=arguments.bias,
        masks=arguments.masks,
        parameters=arguments[-4:],
        c=history.c,
        statistics=history.statistics,
        outputs=outputs,
        operands=history.main_operands,
    )
