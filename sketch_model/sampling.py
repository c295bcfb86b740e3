"""Drawing from the decoder, a batch of sketches at a time (Ha & Eck 2017, section 3.4).

Shapes: B sketches, M components.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import math
from enum import StrEnum
from typing import Final

import torch

from sketch_model.annotations import Float, Int, Tensor
from sketch_model.decoder import Decoder
from sketch_model.mixture import Mixture
from sketch_model.randomness import SAMPLE, keyed_uniform
from sketch_model.recurrent import stepper

UNIFORMS_PER_STEP: Final = 4
_END: Final = 4  # column of stroke-5

_LOG = logging.getLogger("sketch_model")


class TemperatureRule(StrEnum):
    """What temperature tau does to the standard deviations of the offsets."""

    paper = "paper"
    """sigma^2 tau (Ha & Eck 2017, eq. 8)."""
    magenta = "magenta"
    """sigma^2 tau^2, as the reference implementation in Python has it."""

    def spread(self, temperature: float) -> float:
        """What standard deviations are multiplied by."""
        return math.sqrt(temperature) if self is TemperatureRule.paper else temperature


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
    """Continues stroke-5 rows until each sketch has ended or has `max_length` points.

    A sketch that has ended leaves the batch. Random numbers are keyed by (seed, index of the
    sketch, number of the point), so they do not depend on the others. In float32 on a CPU, where
    there is numba, `compiled_sampling` does what `generate_eager` does.

    Args:
        decoder: takes the steps.
        given: the start row and any points to continue, in model units.
        context: what the decoder is told at every step; None if it takes none.
        seed: of the random numbers.
        max_length: points of a sketch, those given included.
        temperature: above 0.
        rule: for the standard deviations.
        greedy: no random numbers; `temperature` and `rule` change nothing.

    Returns:
        Stroke-3 rows of each sketch in model units, the given ones included.
    """
    is_compiled = (
        given.device.type == "cpu"
        and given.dtype == decoder.output.weight.dtype == torch.float32
        and importlib.util.find_spec("numba") is not None
        and stepper.takes(decoder.cell)
    )
    _report(type(decoder.cell).__name__, given.device.type, is_compiled)
    way = generate_eager
    if is_compiled:
        from sketch_model import compiled_sampling

        way = compiled_sampling.generate
    return way(
        decoder,
        given,
        context,
        seed=seed,
        max_length=max_length,
        temperature=temperature,
        rule=rule,
        greedy=greedy,
    )


@functools.cache
def _report(cell: str, device: str, is_compiled: bool) -> None:
    """Says each choice once."""
    way = "compiled steps" if is_compiled else "eager steps"
    _LOG.info("sampling from %s on %s: %s", cell, device, way)


def generate_eager(
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
    """The readable reference, on any device; as `generate`."""
    batch_size, num_given, _ = given.shape
    state = decoder.initial_state(context, batch_size)
    for step in range(num_given - 1):
        _, state = decoder.step(given[:, step], context, state)
    row = given[:, -1]
    sketches = given.new_zeros(batch_size, max_length, 5)
    sketches[:, : num_given - 1] = given[:, 1:]
    lengths = torch.full((batch_size,), max_length, device=given.device)
    active = torch.arange(batch_size, device=given.device)

    for step in range(num_given - 1, max_length):
        mixture, state = decoder.step(row, context, state)
        if greedy:
            row = most_likely_row(mixture)
        else:
            counters = torch.arange(UNIFORMS_PER_STEP, device=given.device)
            counters += UNIFORMS_PER_STEP * step
            uniforms = keyed_uniform(seed, SAMPLE, active[:, None], counters)
            row = draw_row(mixture, uniforms, temperature, rule)
        sketches[active, step] = row
        going_on = row[:, _END] == 0
        if not going_on.all():
            lengths[active[~going_on]] = step
            active, row = active[going_on], row[going_on]
            state = type(state)(*(part[going_on] for part in state))
            context = None if context is None else context[going_on]
            if len(active) == 0:
                break
    stroke3 = sketches[:, :, [0, 1, 3]]
    return [rows[:length] for rows, length in zip(stroke3, lengths.tolist(), strict=True)]


def draw_row(
    mixture: Mixture,
    uniforms: Float[Tensor, "batch 4"],
    temperature: float,
    rule: TemperatureRule,
) -> Float[Tensor, "batch 5"]:
    """One stroke-5 row per sketch.

    Logits are divided by the temperature, for components and pen states alike (eq. 8).

    Args:
        mixture: over [batch].
        uniforms: in [0, 1): for the component, the pen state and, two, the offset.
        temperature: above 0.
        rule: for the standard deviations.
    """
    component = _draw_index(mixture.weight_logits, temperature, uniforms[:, 0])
    pen = _draw_index(mixture.pen_logits, temperature, uniforms[:, 1])
    # Box & Muller 1958: two uniforms, two independent normals. 1 - u is never 0, unlike u.
    radius = torch.sqrt(-2.0 * torch.log1p(-uniforms[:, 2]))
    angle = 2.0 * math.pi * uniforms[:, 3]
    along, across = radius * torch.cos(angle), radius * torch.sin(angle)
    spread = rule.spread(temperature)

    rho_logit = _pick(mixture.rho_logit, component)
    sigma_x = spread * _pick(mixture.log_sigma_x, component).exp()
    sigma_y = spread * _pick(mixture.log_sigma_y, component).exp()
    dx = _pick(mixture.mean_x, component) + sigma_x * along
    correlated = torch.tanh(rho_logit) * along + across / torch.cosh(rho_logit)
    dy = _pick(mixture.mean_y, component) + sigma_y * correlated
    return _to_row(dx, dy, pen)


def most_likely_row(mixture: Mixture) -> Float[Tensor, "batch 5"]:
    """Mean of the likeliest component, and the likeliest pen state."""
    component = mixture.weight_logits.argmax(dim=-1)
    dx, dy = _pick(mixture.mean_x, component), _pick(mixture.mean_y, component)
    return _to_row(dx, dy, mixture.pen_logits.argmax(dim=-1))


def _to_row(
    dx: Float[Tensor, " batch"], dy: Float[Tensor, " batch"], pen: Int[Tensor, " batch"]
) -> Float[Tensor, "batch 5"]:
    states = torch.nn.functional.one_hot(pen, 3)
    return torch.cat([dx[:, None], dy[:, None], states.to(dx.dtype)], dim=-1)


def _pick(
    parameter: Float[Tensor, "batch M"], component: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    return parameter.gather(1, component[:, None])[:, 0]


def _draw_index(
    logits: Float[Tensor, "batch choices"], temperature: float, uniforms: Float[Tensor, " batch"]
) -> Int[Tensor, " batch"]:
    """Draws from softmax(logits / temperature) by inverting the cumulative distribution."""
    # The greatest is subtracted first, so that no temperature divides it to infinity.
    logits = (logits - logits.amax(dim=-1, keepdim=True)) / temperature
    cumulative = torch.softmax(logits, dim=-1).cumsum(dim=-1)
    # The last sum may miss 1 by rounding, and an index must not fall off the end for that.
    thresholds = uniforms * cumulative[:, -1]
    return (cumulative <= thresholds[:, None]).sum(dim=-1).clamp(max=logits.shape[-1] - 1)
