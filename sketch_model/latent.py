"""Walking through latent space."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import torch

from sketch_model.annotations import Float, Tensor
from sketch_model.randomness import LATENT, keyed_normal

Path = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From one latent vector to another: `lerp` or `slerp`."""

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


def interpolate_between_four(
    corners: Float[Tensor, "4 N_z"],
    num_rows: int,
    num_columns: int,
    path: Path = slerp,
) -> Float[Tensor, "rows columns N_z"]:
    """A grid of latent vectors whose corners are four of them (Ha & Eck 2017, figure 6, left).

    Down both sides first, then from side to side.

    Args:
        corners: top left, top right, bottom left, bottom right.
        num_rows: at least 2.
        num_columns: at least 2.
        path: `slerp` or `lerp`.

    Raises:
        ValueError: if there are fewer than two rows or columns.
    """
    if num_rows < 2 or num_columns < 2:
        raise ValueError(
            f"a grid of {num_rows} by {num_columns} must be at least 2 by 2: corners are included"
        )
    top_left, top_right, bottom_left, bottom_right = corners
    down, across = torch.linspace(0, 1, num_rows), torch.linspace(0, 1, num_columns)
    lefts = path(top_left, bottom_left, down.to(corners))
    rights = path(top_right, bottom_right, down.to(corners))
    return torch.stack(
        [path(*ends, across.to(corners)) for ends in zip(lefts, rights, strict=True)]
    )


def analogy(
    start: Float[Tensor, " N_z"], gained: Float[Tensor, " N_z"], lost: Float[Tensor, " N_z"]
) -> Float[Tensor, " N_z"]:
    """start + (gained - lost): what is to `start` as `gained` is to `lost` (figure 6, right)."""
    return start + (gained - lost)


def vary(
    z: Float[Tensor, " N_z"], num: int, *, spread: float, seed: int
) -> Float[Tensor, "num N_z"]:
    """Latent vectors around one, `sqrt(1 - spread^2) z + spread e` with e from N(0, I).

    Were z drawn from N(0, I), so would they be, whatever the spread: at 1 nothing of z is left.

    Raises:
        ValueError: unless `spread` is from 0 to 1.
    """
    if not 0 <= spread <= 1:
        raise ValueError(f"spread={spread} must lie between 0 and 1: 0 is z, 1 forgets it")
    noise = draw_prior(num, len(z), seed=seed).to(z)
    return math.sqrt(1.0 - spread**2) * z + spread * noise


def draw_prior(num: int, N_z: int, *, seed: int) -> Float[Tensor, "num N_z"]:
    """Latent vectors from N(0, I), those of `SketchRNN.sample` for the same seed."""
    return keyed_normal(seed, LATENT, torch.arange(num), N_z)
