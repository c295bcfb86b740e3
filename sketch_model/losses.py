"""Losses, their weights over training, and the bound on a sketch's likelihood.

Ha & Eck 2017, section 3.3. Everything is in nats.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sketch_model.annotations import Bool, Float, Tensor
from sketch_model.batch import SketchBatch
from sketch_model.encoder import Posterior
from sketch_model.mixture import NUM_PEN_STATES
from sketch_model.model import Prediction
from sketch_model.row_nll import row_nll


@dataclass(frozen=True, kw_only=True)
class Losses:
    """Nats of each sketch, and the paper's losses made of them.

    The losses are means over the batch, so those of several batches are to be averaged with the
    batches' sizes as weights.

    Attributes:
        offset_nats: of the offsets, over the real rows (N_s).
        pen_nats: of the pen, over the rows of the batch that count, end tokens included.
        kl_nats: divergence of the posterior from N(0, I), summed over N_z; 0 if not conditional.
        pen_nats_to_end: of the pen, up to and including the first end token. No gradient.
        pen_nats_real: of the pen, over the real rows. No gradient.
        floored_offset_nats: as `offset_nats`, with the density floor that was asked for.
        weighted_pen_nats: as `pen_nats`, with the weights of pen states that were asked for.
        N_max: divisor of the reconstruction losses.
        N_z: divisor of L_KL; 1 if not conditional.
    """

    offset_nats: Float[Tensor, " batch"]
    pen_nats: Float[Tensor, " batch"]
    kl_nats: Float[Tensor, " batch"]
    pen_nats_to_end: Float[Tensor, " batch"]
    pen_nats_real: Float[Tensor, " batch"]
    floored_offset_nats: Float[Tensor, " batch"]
    weighted_pen_nats: Float[Tensor, " batch"]
    N_max: int
    N_z: int

    @property
    def L_s(self) -> Float[Tensor, ""]:
        """Offsets: over the real rows, divided by N_max (eq. 9), with the floor."""
        return self.floored_offset_nats.mean() / self.N_max

    @property
    def L_p(self) -> Float[Tensor, ""]:
        """Pen: over the rows of the batch, divided by N_max (eq. 9), with the weights.

        The paper's sum goes to N_max. Rows beyond the batch's width are not computed, so that a
        batch may be as narrow as its longest sketch: after the end token the pen loss of a trained
        model is next to nothing. For the paper's number exactly, give the batch a width of N_max.
        """
        return self.weighted_pen_nats.mean() / self.N_max

    @property
    def L_R(self) -> Float[Tensor, ""]:
        """Reconstruction, L_s + L_p."""
        return self.L_s + self.L_p

    @property
    def L_R_masked(self) -> Float[Tensor, ""]:
        """L_R as the reference gives it outside training: no pen loss from the end token on.

        Without weights of pen states.
        """
        return self.L_s + self.pen_nats_real.mean() / self.N_max

    @property
    def L_KL(self) -> Float[Tensor, ""]:
        """Divergence per latent dimension (eq. 10), without a floor."""
        return self.kl_nats.mean() / self.N_z

    @property
    def bound_nats(self) -> Float[Tensor, " batch"]:
        """Negative evidence lower bound of each sketch, with the z that was drawn.

        No floors, no weights of pen states, and the pen up to the first end token: comparable
        between runs whatever their w_KL, N_z, M and N_max. Offsets are in model units: add
        2 N_s log(offset_scale) to compare between scales.
        """
        return (self.offset_nats + self.pen_nats_to_end + self.kl_nats).detach()


def sketch_losses(
    prediction: Prediction,
    batch: SketchBatch,
    N_max: int,
    *,
    floor: float = 0.0,
    pen_weights: Sequence[float] = (1.0, 1.0, 1.0),
) -> Losses:
    """Losses of a prediction for `batch`.

    Args:
        prediction: what the model gave for `batch`.
        batch: the rows after the start row are the targets.
        N_max: what the losses are divided by.
        floor: added to the density of an offset in L_s (not in the bound). The reference
            implementation adds 1e-6, which limits the loss of a row to 13.8 nats.
        pen_weights: what the pen's loss of a row is multiplied by in L_p (nowhere else) if its true
            state is pen down, pen lifted or end of sketch. The paper (section 3.2) discusses
            hand-tuned ones, such as (1, 10, 100), and pads to N_max instead.

    Raises:
        ValueError: if the batch is wider than N_max, `floor` is negative, or `pen_weights` are not
            three finite numbers of at least 0, one of them above.
    """
    targets = batch.targets
    width = targets.shape[1]
    if width > N_max:
        raise ValueError(
            f"the batch has {width} rows and N_max={N_max}; leave longer sketches out, or raise"
            " N_max"
        )
    if floor < 0:
        raise ValueError(f"floor={floor} must be at least 0")
    _check_pen_weights(pen_weights)
    offset_rows, pen_rows = _row_nats(prediction, batch)
    rows = torch.arange(width, device=targets.device)
    is_real = rows < batch.lengths[:, None]
    if batch.num_rows is not None:
        pen_rows = pen_rows * (rows < batch.num_rows[:, None])
    offset_nats, pen_nats = offset_rows.sum(dim=1), pen_rows.sum(dim=1)
    posterior = prediction.posterior
    with torch.no_grad():
        pen_nats_real = (pen_rows * is_real).sum(dim=1)
        pen_nats_to_end = (pen_rows * (rows <= batch.lengths[:, None])).sum(dim=1)
    return Losses(
        offset_nats=offset_nats,
        pen_nats=pen_nats,
        kl_nats=torch.zeros_like(pen_nats_real) if posterior is None else kl_nats(posterior),
        pen_nats_to_end=pen_nats_to_end,
        pen_nats_real=pen_nats_real,
        floored_offset_nats=_floored(offset_rows, is_real, floor) if floor > 0 else offset_nats,
        weighted_pen_nats=_weighted(pen_rows, targets[..., 2:], pen_weights),
        N_max=N_max,
        N_z=1 if posterior is None else posterior.mean.shape[-1],
    )


def _row_nats(
    prediction: Prediction, batch: SketchBatch
) -> tuple[Float[Tensor, "batch time"], Float[Tensor, "batch time"]]:
    """Of offsets and pens, 0 in rows that were left out."""
    targets, lengths = batch.targets, batch.lengths
    if prediction.packing is None:
        return row_nll(prediction.output, targets, lengths)
    places = sketches, steps = prediction.packing.places
    num = len(steps)
    row_targets = targets.new_zeros(len(prediction.output), 1, targets.shape[2])
    row_targets[:num, 0] = targets[places]
    is_real = lengths.new_zeros(len(prediction.output))
    is_real[:num] = steps < lengths[sketches]
    nats = row_nll(prediction.output, row_targets, is_real)
    offset_rows, pen_rows = (
        each.new_zeros(targets.shape[:2]).index_put(places, each[:num, 0]) for each in nats
    )
    return offset_rows, pen_rows


def _check_pen_weights(pen_weights: Sequence[float]) -> None:
    is_valid = len(pen_weights) == NUM_PEN_STATES and all(0 <= w < math.inf for w in pen_weights)
    if not (is_valid and any(pen_weights)):
        raise ValueError(
            f"pen_weights={list(pen_weights)} must be {NUM_PEN_STATES} finite numbers of at least"
            " 0, not all of them 0: for pen down, pen lifted and end of sketch"
        )


def _floored(
    offset_rows: Float[Tensor, "batch time"], is_real: Bool[Tensor, "batch time"], floor: float
) -> Float[Tensor, " batch"]:
    log_floor = offset_rows.new_full((), math.log(floor))
    return -(torch.logaddexp(-offset_rows, log_floor) * is_real).sum(dim=1)


def _weighted(
    pen_rows: Float[Tensor, "batch time"],
    pen: Float[Tensor, "batch time 3"],
    pen_weights: Sequence[float],
) -> Float[Tensor, " batch"]:
    if all(weight == 1 for weight in pen_weights):
        return pen_rows.sum(dim=1)
    down, lifted, end = pen_weights
    weights = down * pen[..., 0] + lifted * pen[..., 1] + end * pen[..., 2]
    return (pen_rows * weights).sum(dim=1)


def kl_nats(posterior: Posterior) -> Float[Tensor, " batch"]:
    """KL divergence of each posterior from N(0, I), summed over N_z (eq. 10 times N_z)."""
    mean, log_variance = posterior.mean, posterior.log_variance
    return -0.5 * (1.0 + log_variance - mean.square() - log_variance.exp()).sum(dim=-1)


def kl_weight(step: int, *, w_KL: float, eta_min: float, R: float) -> float:
    """Weight of the KL term at an optimizer step, w_KL (1 - (1 - eta_min) R^step) (eq. 12).

    Args:
        step: number of updates made before.
        w_KL: weight at the end.
        eta_min: share of it at step 0. The reference's kl_weight_start = 0.01 with kl_weight = 0.5
            is eta_min = 0.02.
        R: decay per step of what is missing.
    """
    return w_KL * (1.0 - (1.0 - eta_min) * R**step)


def floored_kl(L_KL: Float[Tensor, ""], KL_min: float) -> Float[Tensor, ""]:
    """max(L_KL, KL_min) (eq. 12), without gradient below the floor.

    Of the mean over the whole batch: where a batch is divided over processes, reduce L_KL first.
    """
    return L_KL.clamp(min=KL_min)
