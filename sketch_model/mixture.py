"""The decoder's output: pen states, and a mixture of bivariate normals over the next offset.

Ha & Eck 2017, eqs. 3 to 6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch

from sketch_model.annotations import Float, Tensor

NUM_PEN_STATES: Final = 3

MIN_SIGMA: Final = 1e-7
"""Lower bound of a standard deviation, in model units (a drawing's unit is 0.01 to 0.05 of one).

Six to nine per cent of real offsets are exactly 0 along an axis, so without a bound the density
there has none either. This one is below every component in Google's released decoders: the least
has 4e-7, the least that matters to a loss 1e-5."""

MAX_SIGMA: Final = 1e4
"""Upper bound of a standard deviation, in model units: far beyond any offset."""

MIN_RHO_COMPLEMENT: Final = 1e-6
"""Lower bound of 1 - rho^2. tanh rounds to 1 in float32, where the density would be infinite."""

MAX_MEAN: Final = 1e6
"""Bound of a mean either way, in model units: far beyond any offset, and so that squares of
distances in the least standard deviations are finite in float32."""

MAX_RHO_LOGIT: Final = math.acosh(MIN_RHO_COMPLEMENT**-0.5)  # 1 - tanh(r)^2 = cosh(r)^-2
LOG_2_PI: Final = math.log(2.0 * math.pi)


def output_size(num_components: int) -> int:
    """Numbers that the decoder puts out per step: 6 M + 3."""
    return NUM_PEN_STATES + 6 * num_components


@dataclass(frozen=True)
class Mixture:
    """Distribution of the next row, with its parameters within their bounds.

    Attributes:
        pen_logits: of pen down, pen lifted, end of sketch.
        weight_logits: of the components.
        mean_x: in model units, as are the others; within [-MAX_MEAN, MAX_MEAN].
        mean_y: like `mean_x`.
        log_sigma_x: log standard deviation, within [log MIN_SIGMA, log MAX_SIGMA].
        log_sigma_y: like `log_sigma_x`.
        rho_logit: arctanh of the correlation, bounded so that 1 - rho^2 >= MIN_RHO_COMPLEMENT.
    """

    pen_logits: Float[Tensor, "*rows 3"]
    weight_logits: Float[Tensor, "*rows M"]
    mean_x: Float[Tensor, "*rows M"]
    mean_y: Float[Tensor, "*rows M"]
    log_sigma_x: Float[Tensor, "*rows M"]
    log_sigma_y: Float[Tensor, "*rows M"]
    rho_logit: Float[Tensor, "*rows M"]

    @classmethod
    def from_output(cls, output: Float[Tensor, "*rows outputs"]) -> Mixture:
        """Reads the decoder's output, [pen | weights | mean x, y | log sigma x, y | rho logit].

        Beyond a bound the gradient is zero.
        """
        num_components = (output.shape[-1] - NUM_PEN_STATES) // 6
        pen_logits, *parts = torch.split(output, [NUM_PEN_STATES] + 6 * [num_components], dim=-1)
        weights, mean_x, mean_y, log_sigma_x, log_sigma_y, rho_logit = parts
        log_bounds = math.log(MIN_SIGMA), math.log(MAX_SIGMA)
        return cls(
            pen_logits=pen_logits,
            weight_logits=weights,
            mean_x=mean_x.clamp(-MAX_MEAN, MAX_MEAN),
            mean_y=mean_y.clamp(-MAX_MEAN, MAX_MEAN),
            log_sigma_x=log_sigma_x.clamp(*log_bounds),
            log_sigma_y=log_sigma_y.clamp(*log_bounds),
            rho_logit=rho_logit.clamp(-MAX_RHO_LOGIT, MAX_RHO_LOGIT),
        )


def offset_nll(mixture: Mixture, offset: Float[Tensor, "*rows 2"]) -> Float[Tensor, "*rows"]:
    """Negative log-likelihood of each offset, in nats (Ha & Eck 2017, eq. 9, inner sum).

    With rho = tanh(r) and a, b the offset along x and y in standard deviations from the mean, the
    quadratic form of the bivariate normal is

        (a^2 - 2 rho a b + b^2) / (1 - rho^2) = (a cosh r - b sinh r)^2 + b^2

    and 1 / sqrt(1 - rho^2) = cosh r: no difference of nearly equal numbers, no division.

    Padding is not masked here.

    Args:
        mixture: over the same rows as `offset`.
        offset: (dx, dy) in model units.
    """
    a = (offset[..., :1] - mixture.mean_x) * torch.exp(-mixture.log_sigma_x)
    b = (offset[..., 1:] - mixture.mean_y) * torch.exp(-mixture.log_sigma_y)
    cosh = torch.cosh(mixture.rho_logit)
    across = a * cosh - b * torch.sinh(mixture.rho_logit)
    exponent = torch.addcmul(b * b, across, across)
    log_density = torch.log(cosh) - mixture.log_sigma_x - mixture.log_sigma_y - 0.5 * exponent
    log_weights = torch.log_softmax(mixture.weight_logits, dim=-1)
    return LOG_2_PI - torch.logsumexp(log_weights + log_density, dim=-1)


def pen_nll(mixture: Mixture, pen: Float[Tensor, "*rows 3"]) -> Float[Tensor, "*rows"]:
    """Cross-entropy of each row's pen state, in nats (eq. 9, second line).

    Args:
        mixture: over the same rows as `pen`.
        pen: one-hot (down, lifted, end).
    """
    return -(torch.log_softmax(mixture.pen_logits, dim=-1) * pen).sum(dim=-1)
