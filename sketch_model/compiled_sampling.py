"""`sketch_model.sampling` compiled for the CPU: the same sketches, up to rounding.

A step is a product and a kernel of the cell (`recurrent.stepper`), a product for the output, and a
kernel that draws a row of it for every sketch. Weights are put together once per call.

Needs numba, so import it where it is used.
"""

from __future__ import annotations

import math
from typing import Final, no_type_check

import numpy as np
import torch

from sketch_model.annotations import Float, Tensor
from sketch_model.compiled_math import compiled
from sketch_model.compiled_randomness import mix_key, uniform
from sketch_model.decoder import Decoder
from sketch_model.encoder import NUM_COLUMNS
from sketch_model.mixture import MAX_MEAN, MAX_RHO_LOGIT, MAX_SIGMA, MIN_SIGMA, NUM_PEN_STATES
from sketch_model.randomness import SAMPLE, _stream_offset
from sketch_model.recurrent.stepper import make_stepper, move_rows, takes
from sketch_model.sampling import UNIFORMS_PER_STEP, TemperatureRule

_LIFTED: Final = 1
_END: Final = 2
_LOG_SIGMAS: Final = math.log(MIN_SIGMA), math.log(MAX_SIGMA)


@torch.no_grad()
def generate(
    decoder: Decoder,
    given: Float[Tensor, "batch given 5"],
    context: Float[Tensor, "batch context"] | None,
    *,
    seed: int,
    max_length: int,
    temperature: float,
    rule: TemperatureRule,
    greedy: bool,
) -> list[Float[Tensor, "points 3"]]:
    """As `sampling.generate_eager`, in float32 on a CPU, from a cell that has a stepper."""
    assert takes(decoder.cell)
    batch_size, num_given, _ = given.shape
    with torch.autocast("cpu", enabled=False):
        state = decoder.initial_state(context, batch_size)
    stepper = make_stepper(decoder.cell, state, context, NUM_COLUMNS)
    for row in given[:, :-1].unbind(1):
        stepper.inputs.copy_(row)
        stepper.step()
    stepper.inputs.copy_(given[:, -1])

    sketches = given.new_zeros(batch_size, max_length, 3)
    sketches[:, : num_given - 1] = given[:, 1:, [0, 1, 3]]
    lengths = np.full(batch_size, max_length)
    active = np.arange(batch_size)
    outputs = given.new_empty(batch_size, decoder.output.out_features)
    stream, spread = np.uint64(_stream_offset(seed, SAMPLE)), rule.spread(temperature)
    weight, bias = decoder.output.weight.t(), decoder.output.bias
    arrays = outputs.numpy(), stepper.inputs.numpy(), sketches.numpy()
    for step in range(num_given - 1, max_length):
        stepper.step()
        torch.addmm(bias, stepper.h[: len(active)], weight, out=outputs[: len(active)])
        going_on = _draw(step, stream, temperature, spread, greedy, active, *arrays)
        num = int(going_on.sum())
        if num == len(active):
            continue
        lengths[active[~going_on]] = step
        # Those beyond the new end who go on take the places of those before it who do not.
        targets = np.flatnonzero(~going_on[:num])
        sources = num + np.flatnonzero(going_on[num:])
        active[targets] = active[sources]
        active = active[:num]
        move_rows(stepper, torch.from_numpy(sources), torch.from_numpy(targets), num)
        if num == 0:
            break
    return [rows[:length] for rows, length in zip(sketches, lengths.tolist(), strict=True)]


@compiled
@no_type_check
def _draw(step, stream, temperature, spread, greedy, active, outputs, inputs, sketches):
    """Writes each sketch's next row to `inputs` and, if it is no end, `sketches`; who goes on."""
    M = (outputs.shape[1] - NUM_PEN_STATES) // 6
    going_on = np.ones(len(active), np.bool_)
    for b in range(len(active)):
        y = outputs[b]
        if greedy:
            component = np.argmax(y[NUM_PEN_STATES : NUM_PEN_STATES + M])
            pen = np.argmax(y[:NUM_PEN_STATES])
            along = across = np.float32(0)
        else:
            key, counter = mix_key(stream, active[b]), UNIFORMS_PER_STEP * step
            component = _draw_index(y, NUM_PEN_STATES, M, temperature, uniform(key, counter))
            pen = _draw_index(y, 0, NUM_PEN_STATES, temperature, uniform(key, counter + 1))
            radius = math.sqrt(-2.0 * math.log1p(-uniform(key, counter + 2)))
            angle = 2.0 * math.pi * uniform(key, counter + 3)
            along, across = radius * math.cos(angle), radius * math.sin(angle)
        at = NUM_PEN_STATES + component
        rho = _clamp(y[at + 5 * M], MAX_RHO_LOGIT)
        correlated = math.tanh(rho) * along + across / math.cosh(rho)
        dx = _clamp(y[at + M], MAX_MEAN) + spread * _sigma(y[at + 3 * M]) * along
        dy = _clamp(y[at + 2 * M], MAX_MEAN) + spread * _sigma(y[at + 4 * M]) * correlated
        inputs[b, 0], inputs[b, 1] = dx, dy
        inputs[b, 2:] = 0
        inputs[b, 2 + pen] = 1
        if pen == _END:
            going_on[b] = False
        else:
            row = sketches[active[b], step]
            row[0], row[1], row[2] = dx, dy, pen == _LIFTED
    return going_on


@compiled
@no_type_check
def _clamp(x, bound):
    return min(max(x, -bound), bound)


@compiled
@no_type_check
def _sigma(log_sigma):
    return math.exp(min(max(log_sigma, _LOG_SIGMAS[0]), _LOG_SIGMAS[1]))


@compiled
@no_type_check
def _draw_index(y, first, num, temperature, share):
    """Draws from softmax(logits / temperature), the logits being y[first : first + num]."""
    top = y[first]
    for n in range(1, num):
        top = max(top, y[first + n])
    total = 0.0
    for n in range(num):
        total += math.exp((y[first + n] - top) / temperature)
    threshold, running = share * total, 0.0
    for n in range(num):
        running += math.exp((y[first + n] - top) / temperature)
        if running > threshold:
            return n
    return num - 1
