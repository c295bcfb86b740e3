"""Sketch-RNN in NumPy float64, written from the formulas alone: what the torch code is tested with.

Nothing in here imports the package. Probabilities are multiplied out as the paper has them, without
the bounds and the log-space forms of the package, and cells work on the reference's state vectors,
gate by gate, so that the two have as little in common as two programs for the same model can.
Row vectors, y = x W + b; gates in the order i, j, f, o; [a ; b] is concatenation in that order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def sigmoid(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x))


def softmax(x: Array) -> Array:
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


class Cell(Protocol):
    """A cell takes steps from state vector to state vector, and shows a part of it."""

    @property
    def state_size(self) -> int: ...

    def step(self, x: Array, state: Array, mask: Array | float = 1.0) -> Array: ...

    def shown(self, state: Array) -> Array: ...


@dataclass
class LSTM:
    """State vector [c ; h]."""

    input_weight: Array  # [X, 4 N]
    hidden_weight: Array  # [N, 4 N]
    bias: Array  # [4 N]

    @property
    def state_size(self) -> int:
        return 2 * len(self.hidden_weight)

    def step(self, x: Array, state: Array, mask: Array | float = 1.0) -> Array:
        c, h = np.split(state, 2, axis=-1)
        joint = np.concatenate([self.input_weight, self.hidden_weight])
        u = np.concatenate([x, h], axis=-1) @ joint + self.bias
        i, j, f, o = np.split(u, 4, axis=-1)
        c = c * sigmoid(f + 1.0) + sigmoid(i) * (np.tanh(j) * mask)
        return np.concatenate([c, np.tanh(c) * sigmoid(o)], axis=-1)

    def shown(self, state: Array) -> Array:
        return state[..., len(self.hidden_weight) :]


@dataclass
class LayerNorm:
    gain: Array
    shift: Array

    def __call__(self, u: Array) -> Array:
        mean = u.mean(axis=-1, keepdims=True)
        variance = ((u - mean) ** 2).mean(axis=-1, keepdims=True)
        return self.gain * (u - mean) / np.sqrt(variance + 1e-3) + self.shift


@dataclass
class LayerNormLSTM:
    """State vector [h ; c]: the other order."""

    input_weight: Array  # [X, 4 N]
    hidden_weight: Array  # [N, 4 N]
    gate_norms: Sequence[LayerNorm]  # of i, j, f, o, over N each
    memory_norm: LayerNorm  # over N

    @property
    def state_size(self) -> int:
        return 2 * len(self.hidden_weight)

    def step(self, x: Array, state: Array, mask: Array | float = 1.0) -> Array:
        h, c = np.split(state, 2, axis=-1)
        joint = np.concatenate([self.input_weight, self.hidden_weight])
        u = np.split(np.concatenate([x, h], axis=-1) @ joint, 4, axis=-1)
        h, c = finish(u, self.gate_norms, self.memory_norm, c, mask)
        return np.concatenate([h, c], axis=-1)

    def shown(self, state: Array) -> Array:
        return state[..., : len(self.hidden_weight)]


def finish(
    u: Sequence[Array],
    gate_norms: Sequence[LayerNorm],
    memory_norm: LayerNorm,
    c: Array,
    mask: Array | float,
) -> tuple[Array, Array]:
    """New h and c from the pre-activations of i, j, f, o; c itself is not normalised."""
    i, j, f, o = (norm(gate) for norm, gate in zip(gate_norms, u, strict=True))
    c = c * sigmoid(f + 1.0) + sigmoid(i) * (np.tanh(j) * mask)
    return np.tanh(memory_norm(c)) * sigmoid(o), c


@dataclass
class HyperGate:
    """What the small cell does to one gate."""

    input_scale: tuple[Array, Array, Array]  # A [H, E], e [E], D [E, N], for x W_xh
    hidden_scale: tuple[Array, Array, Array]  # the same for h W_hh
    shift: tuple[Array, Array]  # B_z [H, E], B_d [E, N]
    bias: Array  # [N], the static one

    def __call__(self, hyper_h: Array, from_x: Array, from_h: Array) -> Array:
        def scale(A: Array, e: Array, D: Array) -> Array:
            return (hyper_h @ A + e) @ D

        beta = (hyper_h @ self.shift[0]) @ self.shift[1]
        scaled = scale(*self.hidden_scale) * from_h + beta
        return scale(*self.input_scale) * from_x + scaled + self.bias


@dataclass
class HyperLSTM:
    """State vector [h ; hyper h ; c ; hyper c]."""

    small: LayerNormLSTM  # reads [x ; h]
    input_weight: Array  # [X, 4 N]
    hidden_weight: Array  # [N, 4 N]
    gates: Sequence[HyperGate]  # i, j, f, o
    gate_norms: Sequence[LayerNorm]
    memory_norm: LayerNorm

    @property
    def state_size(self) -> int:
        return 2 * len(self.hidden_weight) + self.small.state_size

    def step(self, x: Array, state: Array, mask: Array | float = 1.0) -> Array:
        N, H = len(self.hidden_weight), len(self.small.hidden_weight)
        h, hyper_h, c, hyper_c = np.split(state, [N, N + H, 2 * N + H], axis=-1)
        small = self.small.step(
            np.concatenate([x, h], axis=-1), np.concatenate([hyper_h, hyper_c], axis=-1)
        )
        hyper_h, hyper_c = np.split(small, 2, axis=-1)
        from_x = np.split(x @ self.input_weight, 4, axis=-1)
        from_h = np.split(h @ self.hidden_weight, 4, axis=-1)
        u = [gate(hyper_h, from_x[y], from_h[y]) for y, gate in enumerate(self.gates)]
        h, c = finish(u, self.gate_norms, self.memory_norm, c, mask)
        return np.concatenate([h, hyper_h, c, hyper_c], axis=-1)

    def shown(self, state: Array) -> Array:
        return state[..., : len(self.hidden_weight)]


def last_hidden(cell: Cell, points: Array, masks: Array | None = None) -> Array:
    """h after all of `points`, [L, 5], from a zero state; `masks` are [at least L, N]."""
    state = np.zeros(cell.state_size)
    for step, point in enumerate(points):
        state = cell.step(point, state, 1.0 if masks is None else masks[step])
    return cell.shown(state)


def encode(
    forward: Cell,
    backward: Cell,
    mean: tuple[Array, Array],
    log_variance: tuple[Array, Array],
    points: Array,
    masks: tuple[Array, Array] | tuple[None, None] = (None, None),
) -> tuple[Array, Array]:
    """Mean and log-variance of one sketch, [L, 5] without start and end rows."""
    summary = np.concatenate(
        [last_hidden(forward, points, masks[0]), last_hidden(backward, points[::-1], masks[1])]
    )
    return summary @ mean[0] + mean[1], summary @ log_variance[0] + log_variance[1]


@dataclass
class DecoderMasks:
    """Of dropout, a row for each step."""

    input: Array  # [T, X]
    candidate: Array  # [T, N]
    output: Array  # [T, N]


def decode(
    cell: Cell,
    output: tuple[Array, Array],
    rows: Array,
    context: Array | None = None,
    initial: tuple[Array, Array] | None = None,
    masks: DecoderMasks | None = None,
) -> Array:
    """Outputs [T, 6 M + 3] for the input rows [T, 5] of one sketch.

    `context` is z, and whatever else stands beside it at every step.
    """
    state = np.zeros(cell.state_size)
    if context is not None and initial is not None:
        state = np.tanh(context @ initial[0] + initial[1])
    outputs = []
    for step, row in enumerate(rows):
        x = row if context is None else np.concatenate([row, context])
        if masks is None:
            state = cell.step(x, state)
            shown = cell.shown(state)
        else:
            state = cell.step(x * masks.input[step], state, masks.candidate[step])
            shown = cell.shown(state) * masks.output[step]
        outputs.append(shown @ output[0] + output[1])
    return np.stack(outputs)


@dataclass
class Parameters:
    """What an output row means; every array is [..., M] but `pen`, [..., 3]."""

    pen: Array
    weight: Array
    mean_x: Array
    mean_y: Array
    sigma_x: Array
    sigma_y: Array
    rho: Array


def read_output(output: Array, temperature: float = 1.0, *, magenta: bool = False) -> Parameters:
    """Pen logits first; temperature divides logits and multiplies variances (paper, eq. 8).

    In the reference implementation it multiplies standard deviations.
    """
    M = (output.shape[-1] - 3) // 6
    weight, mean_x, mean_y, log_x, log_y, rho = (
        output[..., 3 + n * M : 3 + (n + 1) * M] for n in range(6)
    )
    spread = temperature if magenta else np.sqrt(temperature)
    return Parameters(
        pen=softmax(output[..., :3] / temperature),
        weight=softmax(weight / temperature),
        mean_x=mean_x,
        mean_y=mean_y,
        sigma_x=np.exp(log_x) * spread,
        sigma_y=np.exp(log_y) * spread,
        rho=np.tanh(rho),
    )


def offset_density(p: Parameters, dx: Array, dy: Array) -> Array:
    """Density of the mixture at (dx, dy), each [...]."""
    a = (dx[..., None] - p.mean_x) / p.sigma_x
    b = (dy[..., None] - p.mean_y) / p.sigma_y
    complement = 1.0 - p.rho**2
    form = a**2 + b**2 - 2.0 * p.rho * a * b
    normal = np.exp(-form / (2.0 * complement))
    normal /= 2.0 * np.pi * p.sigma_x * p.sigma_y * np.sqrt(complement)
    return (p.weight * normal).sum(axis=-1)


def normal_cdf(x: Array) -> Array:
    return 0.5 + 0.5 * np.vectorize(math.erf, otypes=[float])(x / math.sqrt(2.0))


def cdf_of_dx(p: Parameters, dx: Array) -> Array:
    """P(first coordinate <= dx), uniform over [0, 1] if dx is drawn from the mixture."""
    return (p.weight * normal_cdf((dx[..., None] - p.mean_x) / p.sigma_x)).sum(axis=-1)


def cdf_of_dy_given_dx(p: Parameters, dx: Array, dy: Array) -> Array:
    """P(second coordinate <= dy | first = dx), uniform and independent of the one of dx."""
    a = (dx[..., None] - p.mean_x) / p.sigma_x
    weight = p.weight * np.exp(-(a**2) / 2.0) / p.sigma_x
    weight /= weight.sum(axis=-1, keepdims=True)
    mean = p.mean_y + p.rho * p.sigma_y * a
    sigma = p.sigma_y * np.sqrt(1.0 - p.rho**2)
    return (weight * normal_cdf((dy[..., None] - mean) / sigma)).sum(axis=-1)


@dataclass
class SketchNats:
    """Nats of one sketch."""

    offsets: float
    pen: float
    pen_to_end: float
    pen_real: float


def sketch_nats(
    output: Array,
    targets: Array,
    floor: float = 0.0,
    pen_weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> SketchNats:
    """Losses of one sketch: `output` [T, 6 M + 3], `targets` [T, 5]."""
    p = read_output(output)
    is_real = 1.0 - targets[:, 4]
    num_real = int(is_real.sum())
    offsets = -np.log(offset_density(p, targets[:, 0], targets[:, 1]) + floor) * is_real
    pen = -(np.array(pen_weights) * targets[:, 2:] * np.log(p.pen)).sum(axis=-1)
    return SketchNats(
        offsets=offsets.sum(),
        pen=pen.sum(),
        pen_to_end=pen[: num_real + 1].sum(),
        pen_real=pen[:num_real].sum(),
    )


def kl_nats(mean: Array, log_variance: Array) -> float:
    return float(-0.5 * (1.0 + log_variance - mean**2 - np.exp(log_variance)).sum())


def kl_weight(step: int, kl_weight: float, kl_weight_start: float, kl_decay_rate: float) -> float:
    """Before the update `step`, counted from 0; arguments named as the reference's."""
    return kl_weight - (kl_weight - kl_weight_start) * kl_decay_rate**step


def learning_rate(
    step: int, learning_rate: float, decay_rate: float, min_learning_rate: float
) -> float:
    """Likewise."""
    return (learning_rate - min_learning_rate) * decay_rate**step + min_learning_rate


def slerp(start: Array, stop: Array, share: float) -> Array:
    unit_product = (start / np.linalg.norm(start)) @ (stop / np.linalg.norm(stop))
    w = np.arccos(unit_product)
    return np.sin((1 - share) * w) / np.sin(w) * start + np.sin(share * w) / np.sin(w) * stop


def to_stroke5(stroke3: Array, width: int) -> Array:
    """[width + 1, 5] with the start row; offsets as given."""
    rows = np.zeros((width + 1, 5))
    rows[0, 2] = 1.0
    length = len(stroke3)
    rows[1 : length + 1, :2] = stroke3[:, :2]
    rows[1 : length + 1, 2] = 1.0 - stroke3[:, 2]
    rows[1 : length + 1, 3] = stroke3[:, 2]
    rows[length + 1 :, 4] = 1.0
    return rows


def drop_points(stroke3: Array, uniforms: Sequence[float], probability: float) -> Array:
    """Augmentation by merging points, one left-to-right pass; a uniform for every point."""
    kept: list[list[float]] = []
    kept_pen, n = 1.0, 0
    for (dx, dy, pen), u in zip(stroke3.tolist(), uniforms, strict=True):
        n = 0 if pen == 1 or kept_pen == 1 else n + 1
        if pen == 0 and kept_pen == 0 and n > 2 and u < probability:
            kept[-1][0] += dx
            kept[-1][1] += dy
        else:
            kept.append([dx, dy, pen])
            kept_pen = pen
    return np.array(kept)
