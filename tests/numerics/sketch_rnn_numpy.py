"""Sketch-RNN in NumPy float64, written from the formulas alone: what the torch code is tested with.

Nothing in here imports the package. Probabilities are multiplied out as the paper has them, without
the bounds and the log-space forms of the package, so that the two have as little in common as two
programs for the same model can. Row vectors, y = x W + b; gates in the order i, j, f, o.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass
class CellWeights:
    input_weight: Array  # [X, 4 N]
    hidden_weight: Array  # [N, 4 N]
    bias: Array  # [4 N]


def sigmoid(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x))


def softmax(x: Array) -> Array:
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def lstm_step(
    weights: CellWeights, x: Array, c: Array, h: Array, mask: Array | float = 1.0
) -> tuple[Array, Array]:
    joint = np.concatenate([weights.input_weight, weights.hidden_weight])
    u = np.concatenate([x, h], axis=-1) @ joint + weights.bias
    size = h.shape[-1]
    i, j, f, o = (u[..., n * size : (n + 1) * size] for n in range(4))
    c = c * sigmoid(f + 1.0) + sigmoid(i) * (np.tanh(j) * mask)
    return c, np.tanh(c) * sigmoid(o)


def last_hidden(weights: CellWeights, points: Array) -> Array:
    """h after all of `points`, [L, 5], from a zero state."""
    size = len(weights.hidden_weight)
    c, h = np.zeros(size), np.zeros(size)
    for point in points:
        c, h = lstm_step(weights, point, c, h)
    return h


def encode(
    forward: CellWeights,
    backward: CellWeights,
    mean: tuple[Array, Array],
    log_variance: tuple[Array, Array],
    points: Array,
) -> tuple[Array, Array]:
    """Mean and log-variance of one sketch, [L, 5] without start and end rows."""
    summary = np.concatenate([last_hidden(forward, points), last_hidden(backward, points[::-1])])
    return summary @ mean[0] + mean[1], summary @ log_variance[0] + log_variance[1]


def decode(
    cell: CellWeights,
    output: tuple[Array, Array],
    rows: Array,
    z: Array | None = None,
    initial: tuple[Array, Array] | None = None,
) -> Array:
    """Outputs [T, 6 M + 3] for the input rows [T, 5] of one sketch."""
    size = len(cell.hidden_weight)
    c, h = np.zeros(size), np.zeros(size)
    if z is not None and initial is not None:
        state = np.tanh(z @ initial[0] + initial[1])
        c, h = state[:size], state[size:]
    outputs = []
    for row in rows:
        x = row if z is None else np.concatenate([row, z])
        c, h = lstm_step(cell, x, c, h)
        outputs.append(h @ output[0] + output[1])
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


def read_output(output: Array, temperature: float = 1.0) -> Parameters:
    """Pen logits first; temperature divides logits and multiplies variances (paper, eq. 8)."""
    M = (output.shape[-1] - 3) // 6
    weight, mean_x, mean_y, log_x, log_y, rho = (
        output[..., 3 + n * M : 3 + (n + 1) * M] for n in range(6)
    )
    spread = np.sqrt(temperature)
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


@dataclass
class SketchNats:
    """Nats of one sketch."""

    offsets: float
    pen: float
    pen_to_end: float
    pen_real: float


def sketch_nats(output: Array, targets: Array, floor: float = 0.0) -> SketchNats:
    """Losses of one sketch: `output` [T, 6 M + 3], `targets` [T, 5]."""
    p = read_output(output)
    is_real = 1.0 - targets[:, 4]
    num_real = int(is_real.sum())
    offsets = -np.log(offset_density(p, targets[:, 0], targets[:, 1]) + floor) * is_real
    pen = -(targets[:, 2:] * np.log(p.pen)).sum(axis=-1)
    return SketchNats(
        offsets=offsets.sum(),
        pen=pen.sum(),
        pen_to_end=pen[: num_real + 1].sum(),
        pen_real=pen[:num_real].sum(),
    )


def kl_nats(mean: Array, log_variance: Array) -> float:
    return float(-0.5 * (1.0 + log_variance - mean**2 - np.exp(log_variance)).sum())


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
