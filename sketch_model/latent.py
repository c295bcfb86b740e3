"""Walking through latent space."""

from __future__ import annotations

from typing import Final

import torch

from sketch_model.annotations import Float, Tensor

_MIN_SINE: Final = 1e-4
"""Below this sine of the angle, slerp is lerp: the difference is beyond float32, and at an angle
of 0 or pi the formula divides by zero."""


def lerp(
    start: Float[Tensor, " N_z"], stop: Float[Tensor, " N_z"], shares: Float[Tensor, " num"]
) -> Float[Tensor, "num N_z"]:
    """Points on the straight line from `start` (share 0) to `stop` (share 1)."""
    shares = shares[:, None]
    return (1.0 - shares) * start + shares * stop


def slerp(
    start: Float[Tensor, " N_z"], stop: Float[Tensor, " N_z"], shares: Float[Tensor, " num"]
) -> Float[Tensor, "num N_z"]:
    """Points on the great arc from `start` (share 0) to `stop` (share 1).

        sin((1 - t) w) / sin w * start + sin(t w) / sin w * stop

    where w is the angle between them (Shoemake 1985; White 2016). Between vectors of one direction,
    opposite ones (whose arc is undefined) and a zero vector (whose angle is) it is `lerp`.
    """
    if start.norm() == 0 or stop.norm() == 0:
        return lerp(start, stop, shares)
    unit_start, unit_stop = start / start.norm(), stop / stop.norm()
    # Kahan's form: arccos of the cosine loses half the digits of a small angle.
    angle = 2.0 * torch.atan2((unit_start - unit_stop).norm(), (unit_start + unit_stop).norm())
    sine = torch.sin(angle)
    if sine < _MIN_SINE:
        return lerp(start, stop, shares)
    shares = shares[:, None]
    return (torch.sin((1.0 - shares) * angle) * start + torch.sin(shares * angle) * stop) / sine


def interpolate(
    start: Float[Tensor, " N_z"], stop: Float[Tensor, " N_z"], num: int
) -> Float[Tensor, "num N_z"]:
    """`num` latent vectors from `start` to `stop`, both included, evenly spaced by `slerp`.

    Raises:
        ValueError: if `num` is below 2.
    """
    if num < 2:
        raise ValueError(f"num={num} must be at least 2: both ends are included")
    return slerp(start, stop, torch.linspace(0.0, 1.0, num, dtype=start.dtype, device=start.device))
