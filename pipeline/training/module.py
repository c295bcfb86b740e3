"""One optimizer step and one validation, as Lightning calls them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.distributed import ReduceOp

from pipeline.config import RECIPE_BATCH_SIZE, Config, LearningRateScale, Precision, UserError
from pipeline.permutation import derive_key
from pipeline.training.rows import rows_of_step
from sketch_model.batch import PackedBatch, SketchBatch, to_stroke5
from sketch_model.losses import Losses, floored_kl, kl_nats, kl_weight, sketch_losses
from sketch_model.model import SketchRNN
from sketch_model.randomness import LATENT, keyed_normal

OBJECTIVE = "objective"
"""What the best checkpoint is chosen by: L_R + w_KL max(L_KL, KL_min) on the valid split."""

_DROPOUT, _VALIDATION = 1, 2


class NotFinite(UserError):
    """A loss or a gradient is NaN or infinite; of a training step, `SketchModule.batch` has its
    batch, and the weights are those before it."""


class SketchModule(pl.LightningModule):
    """A Sketch-RNN with its objective and its optimizer.

    All randomness of a step is keyed: augmentation and z by (seed, position in the order of
    training), dropout by (seed, step, share). A resumed run needs no saved generator.

    Each of W processes takes every W-th sketch of a batch, and computes them in A =
    trainer.accumulate parts, each every A-th of its own. Part a of process r is share r + W a of
    W A: whatever W and A are, the same product gives the same shares and, up to rounding, the same
    training. Without dropout, so does any.
    """

    def __init__(self, config: Config, model: SketchRNN, identity: dict[str, Any]) -> None:
        super().__init__()
        self.config = config
        self.model = model
        self.identity = identity
        self.batch: PackedBatch | None = None
        """What this process trains on in this step; None between steps."""
        self.figures: dict[str, Tensor] = {}
        """Losses of the last training step, over all processes, on the CPU."""
        self.gradient_norm = math.nan
        """L2 norm of the last step's gradient, before clipping."""
        self.validation: dict[str, float] = {}
        """Figures of the last validation."""
        self.stop_requested = False
        """Set from outside, on any process, to end all of them after a step."""
        self.stop_agreed = False
        """Whether one was asked to; after a step all processes answer alike."""
        self._sums: Tensor | None = None
        self._earlier: list[Tensor] = []
        """Sums of the gradients of a step's parts but the last."""

    def w_KL(self, step: int) -> float:
        """Weight of the KL term at a step."""
        loss = self.config.loss
        return kl_weight(step, w_KL=loss.w_KL, eta_min=loss.eta_min, R=loss.R)

    @property
    def KL_min(self) -> float:
        """The floor of L_KL; without a latent vector there is nothing to hold up."""
        return self.config.loss.KL_min if self.model.config.conditional else 0.0

    def on_train_start(self) -> None:
        """Makes sure that all processes go on from one checkpoint.

        Raises:
            UserError: if they do not.
        """
        step = self.global_step
        first, last = self._joint(torch.tensor([-step, step], device=self.device), ReduceOp.MAX)
        if -first != last:
            raise UserError(
                f"processes of this run would go on from different steps, {-int(first)} to"
                f" {int(last)}: runs_dir={self.config.runs_dir} must be on storage that all"
                " machines see"
            )

    def training_step(self, packed: PackedBatch, batch_index: int) -> Tensor:
        """The loss of one batch: L_R + w(step) max(L_KL, KL_min), L_R with loss.pen_weights.

        L_p is over the rows that `rows_of_step` gives.

        With trainer.accumulate, all parts but the last are computed and differentiated here, and
        the last one's backward pass begins with their gradients. Which side of its floor L_KL is on
        is a matter of the whole batch: the encoder then runs over all parts beforehand.

        Raises:
            NotFinite: if it is not finite.
        """
        self.batch = packed
        batch = rows_of_step(packed, self.global_step, self.config.train, self.model.data)
        *earlier, last = _divided(batch, self.config.trainer.accumulate)
        L_KL = self._joint_L_KL([*earlier, last]) if earlier and self.KL_min > 0 else None
        self._earlier = [torch.zeros_like(p) for p in self.parameters()] if earlier else []
        figures = []
        for number, part in enumerate(earlier):
            losses = self._part_losses(part, number)
            figures.append(_figures(losses))
            self._differentiate(self._objective(losses, L_KL))
        losses = self._part_losses(last, len(earlier))
        figures.append(_figures(losses))
        self._agree(torch.stack(figures).mean(dim=0))
        return self._objective(losses, self.figures["L_KL"] if L_KL is None else L_KL)

    def _part_losses(self, part: SketchBatch, number: int) -> Losses:
        config = self.config
        return self._losses(
            part, config.train.seed, self._generator(number), config.loss.pen_weights
        )

    def _generator(self, part: int) -> torch.Generator:
        """Of the dropout masks of a part; the encoder's come first."""
        share = self.global_rank + self.trainer.world_size * part
        generator = torch.Generator(self.device)
        generator.manual_seed(
            derive_key(self.config.train.seed, _DROPOUT, self.global_step, share) >> 1  # < 2**63
        )
        return generator

    def _joint_L_KL(self, parts: list[SketchBatch]) -> Tensor:
        encoder = self.model.encoder
        assert encoder is not None
        with torch.no_grad():
            nats = [
                kl_nats(encoder(part.targets, part.lengths, self._generator(number))).mean()
                for number, part in enumerate(parts)
            ]
        own = torch.stack(nats).mean() / self.model.config.N_z
        return self._joint(own, ReduceOp.SUM).cpu() / self.trainer.world_size

    def _objective(self, losses: Losses, joint_L_KL: Tensor | None) -> Tensor:
        """Of a part, as its share of the process's mean; without `joint_L_KL` there is no floor."""
        L_KL = losses.L_KL if joint_L_KL is None else self._floored(losses.L_KL, joint_L_KL)
        loss = losses.L_R + self.w_KL(self.global_step) * L_KL
        return loss / self.config.trainer.accumulate

    def _differentiate(self, loss: Tensor) -> None:
        """Adds to the gradients of earlier parts, which no other process waits for."""
        scaled = loss if self._scaler is None else self._scaler.scale(loss)
        with torch.autocast(self.device.type, enabled=False):
            gradients = torch.autograd.grad(scaled, [*self.parameters()])
        torch._foreach_add_(self._earlier, gradients)

    @property
    def _scaler(self) -> torch.amp.GradScaler | None:
        """Of the loss, in fp16."""
        return getattr(self.trainer.precision_plugin, "scaler", None)

    def on_before_backward(self, loss: Tensor) -> None:
        """Has the last part's gradients added to those of the parts before it."""
        if self._earlier:
            for parameter, gradient in zip(self.parameters(), self._earlier, strict=True):
                parameter.grad = gradient
            self._earlier = []

    def _agree(self, own: Tensor) -> None:
        """Over all processes: the losses, whether they are finite, and whether to stop."""
        stop = own.new_tensor([float(self.stop_requested)])
        joint = self._joint(torch.cat([own, stop]), ReduceOp.SUM).cpu()
        L_R, L_s, L_p, L_KL = (joint[:4] / self.trainer.world_size).unbind()
        loss = L_R + self.w_KL(self.global_step) * floored_kl(L_KL, self.KL_min)
        self.figures = {"loss": loss, "L_R": L_R, "L_s": L_s, "L_p": L_p, "L_KL": L_KL}
        self._check_finite("loss", float(loss), self._whereabouts())
        self.stop_agreed = bool(joint[4] > 0)

    def _joint(self, tensor: Tensor, op: ReduceOp.RedOpType) -> Tensor:
        """In place, without the barrier that Lightning's own reduction begins with."""
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(tensor, op)
        return tensor

    def _losses(
        self,
        batch: SketchBatch,
        seed: int,
        generator: torch.Generator | None = None,
        pen_weights: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> Losses:
        noise = None
        if self.model.config.conditional:
            noise = keyed_normal(seed, LATENT, batch.positions, self.model.config.N_z)
        prediction = self.model(batch, noise, generator=generator)
        return sketch_losses(prediction, batch, self.model.data.N_max, pen_weights=pen_weights)

    def _check_finite(self, what: str, value: float, where: str) -> None:
        """Ends the run before a checkpoint is spoilt; all processes see the same value."""
        train = self.config.train
        if not math.isfinite(value):
            clip = "clip_norm" if train.clip_norm else "clip_value"
            raise NotFinite(
                f"the {what} is {value} at step {self.global_step}: lower train.learning_rate (now"
                f" {train.learning_rate}) or train.{clip} ({getattr(train, clip)}); {where}."
                " The last checkpoint is not affected"
            )

    def _whereabouts(self) -> str:
        assert self.batch is not None
        positions = self.batch.positions
        return (
            f"positions {int(positions.min())} to {int(positions.max())} of the order were in the"
            " batch"
        )

    def _floored(self, L_KL: Tensor, joint: Tensor) -> Tensor:
        """The floor applies to the mean over all shares, the gradient to each one's own."""
        excess = L_KL - L_KL.detach()  # 0, with the gradient of L_KL
        return floored_kl(joint, self.KL_min) + (excess if joint > self.KL_min else 0.0 * excess)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Measures the gradient and clips it; one that is not finite must not reach the weights.

        In fp16 it may have been scaled too much: the scaler leaves the step out and halves.
        Lightning's own clipping refuses a fused optimizer under autocast.

        Raises:
            NotFinite: if it is not finite.
        """
        train, parameters = self.config.train, [*self.parameters()]
        norm = torch.nn.utils.get_total_norm(p.grad for p in parameters if p.grad is not None)
        self.gradient_norm = float(norm)
        if self._scaler is None or self._scaler.get_scale() <= 1.0:
            self._check_finite("gradient's norm", self.gradient_norm, self._whereabouts())
        if train.clip_norm:
            torch.nn.utils.clip_grads_with_norm_(parameters, train.clip_norm, norm)
        elif train.clip_value:
            torch.nn.utils.clip_grad_value_(parameters, train.clip_value)

    def on_validation_epoch_start(self) -> None:
        """Begins new sums."""
        self.batch = None
        self._sums = torch.zeros(5, dtype=torch.float64, device=self.device)

    def validation_step(self, packed: PackedBatch, batch_index: int) -> None:
        """Adds up L_s, L_p, L_KL, the bound and the count, over rows to N_max (eq. 9).

        One z is drawn per drawing, the same at every validation. Pen states count alike whatever
        loss.pen_weights: weighted, a figure is no likelihood and compares with no other run's.
        """
        data = self.model.data
        batch = to_stroke5(packed, offset_scale=data.offset_scale, width=data.N_max)
        losses = self._losses(batch, derive_key(self.config.train.seed, _VALIDATION))
        num = len(batch.lengths)
        assert self._sums is not None
        self._sums += torch.stack(
            [
                losses.L_s.double() * num,
                losses.L_p.double() * num,
                losses.L_KL.double() * num,
                losses.bound_nats.double().sum(),
                losses.L_s.new_tensor(num, dtype=torch.float64),
            ]
        )

    def on_validation_epoch_end(self) -> None:
        """Means over the whole split, and the objective that the best checkpoint is chosen by.

        The objective is the loss with w_KL at its final value: it means the same at every step.
        """
        assert self._sums is not None
        sums = self._joint(self._sums, ReduceOp.SUM)
        L_s, L_p, L_KL, bound = (sums[:4] / sums[4]).tolist()
        weighted = self.config.loss.w_KL * max(L_KL, self.KL_min)
        self.validation = {
            "L_R": L_s + L_p,
            "L_s": L_s,
            "L_p": L_p,
            "L_KL": L_KL,
            "bound_nats": bound,
            OBJECTIVE: L_s + L_p + weighted,
        }
        self._check_finite("loss", self.validation[OBJECTIVE], "the validation gave it")

    def configure_optimizers(self) -> Any:
        """Adam, with a rate that falls per step from learning_rate to min_learning_rate."""
        train = self.config.train
        rate = train.learning_rate * _rate_scale(train.scale_learning_rate, train.batch_size)
        # A scaler has to see the gradients before a fused step does.
        is_fused = train.precision != Precision.fp16
        optimizer = torch.optim.Adam(self.model.parameters(), lr=rate, fused=is_fused)
        low = train.min_learning_rate / train.learning_rate

        def factor(step: int) -> float:
            return float((1.0 - low) * train.decay**step + low)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps what the run is, so that no other run goes on with it, and how good it was."""
        checkpoint["identity"] = self.identity
        checkpoint["validation"] = self.validation


def _divided(batch: SketchBatch, num: int) -> list[SketchBatch]:
    """In parts of equal size and width, with every num-th sketch in each."""
    return [batch] if num == 1 else [batch.take(slice(part, None, num)) for part in range(num)]


def _figures(losses: Losses) -> Tensor:
    return torch.stack([losses.L_R, losses.L_s, losses.L_p, losses.L_KL]).detach()


def _rate_scale(scale: LearningRateScale, batch_size: int) -> float:
    """What multiplies the whole schedule of the learning rate."""
    batches = batch_size / RECIPE_BATCH_SIZE
    match scale:
        case LearningRateScale.none:
            return 1.0
        case LearningRateScale.sqrt:
            return math.sqrt(batches)
        case LearningRateScale.linear:
            return batches
