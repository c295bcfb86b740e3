"""One optimizer step and one validation, as Lightning calls them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from pipeline.config import Config, UserError
from pipeline.permutation import derive_key
from sketch_model.batch import PackedBatch, SketchBatch, to_stroke5
from sketch_model.losses import Losses, floored_kl, kl_weight, sketch_losses
from sketch_model.model import SketchRNN
from sketch_model.randomness import LATENT, keyed_normal

OBJECTIVE = "objective"
"""What the best checkpoint is chosen by: L_R + w_KL max(L_KL, KL_min) on the valid split."""

_DROPOUT, _VALIDATION = 1, 2


class NotFinite(UserError):
    """A loss that is NaN or infinite; of a training step, `SketchModule.batch` has its batch."""


class SketchModule(pl.LightningModule):
    """A Sketch-RNN with its objective and its optimizer.

    All randomness of a step is keyed: augmentation and z by (seed, position in the order of
    training), dropout by (seed, step, rank). A resumed run needs no saved generator.
    """

    def __init__(self, config: Config, model: SketchRNN, identity: dict[str, Any]) -> None:
        super().__init__()
        self.config = config
        self.model = model
        self.identity = identity
        self.figures: dict[str, Tensor] = {}
        """Losses of the last training step; tensors, so that nobody waits for a GPU."""
        self.gradient_norm = math.nan
        """L2 norm before clipping, of the last step that `wants_gradient_norm`."""
        self.wants_gradient_norm = False
        self.stop_requested = False
        """Whether this process was asked to stop."""
        self.stop_agreed = False
        """Whether any process was, when the losses of the last step were reduced."""
        self.batch: PackedBatch | None = None
        """What this process trains on in this step; None between steps."""
        self.validation: dict[str, float] = {}
        """Figures of the last validation."""
        self._sums: Tensor | None = None

    def w_KL(self, step: int) -> float:
        """Weight of the KL term at a step."""
        loss = self.config.loss
        return kl_weight(step, w_KL=loss.w_KL, eta_min=loss.eta_min, R=loss.R)

    @property
    def KL_min(self) -> float:
        """The floor of L_KL; without a latent vector there is nothing to hold up."""
        return self.config.loss.KL_min if self.model.config.conditional else 0.0

    def training_step(self, packed: PackedBatch, batch_index: int) -> Tensor:
        """The loss of one batch: L_R + w(step) max(L_KL, KL_min), L_R with loss.pen_weights.

        Rows go to the end of the batch's longest sketch, and once per pool of batches to N_max:
        a model that never sees the rows long after an end token begins to draw again there.

        Raises:
            UserError: if it is not finite.
        """
        self.batch = packed
        config, step = self.config, self.global_step
        data = self.model.data
        batch = to_stroke5(
            packed,
            offset_scale=data.offset_scale,
            width=data.N_max if step % config.train.pool == 0 else None,
            augmentation=config.train.augmentation,
            seed=config.train.seed,
        )
        batch = self._as_wide_as_all(batch)
        generator = torch.Generator(self.device)
        generator.manual_seed(
            derive_key(config.train.seed, _DROPOUT, step, self.global_rank) >> 1  # below 2**63
        )
        losses = self._losses(batch, config.train.seed, generator, config.loss.pen_weights)
        stop = losses.L_R.new_tensor(float(self.stop_requested))
        own = torch.stack([losses.L_R, losses.L_s, losses.L_p, losses.L_KL, stop]).detach()
        joint = self.trainer.strategy.reduce(own, reduce_op="mean")  # over all processes
        assert isinstance(joint, Tensor)
        L_R, L_s, L_p, L_KL, stop = joint.unbind()
        self.stop_agreed = bool(stop)
        weight = self.w_KL(step)
        joint_loss = L_R + weight * floored_kl(L_KL, self.KL_min)
        self.figures = {"loss": joint_loss, "L_R": L_R, "L_s": L_s, "L_p": L_p, "L_KL": L_KL}
        positions = packed.positions
        self._check_finite(
            float(joint_loss),
            f"positions {int(positions.min())} to {int(positions.max())} of the order were in the"
            " batch",
        )
        return losses.L_R + weight * self._floored(losses.L_KL, L_KL)

    def _as_wide_as_all(self, batch: SketchBatch) -> SketchBatch:
        """Pads to the longest sketch of all processes, as one process with the joint batch would.

        L_p counts the rows after the end of a sketch, and they are not negligible at first.
        """
        own = batch.stroke5.shape[1]
        joint = self.trainer.strategy.reduce(torch.tensor(own, device=self.device), reduce_op="max")
        if (missing := int(joint) - own) == 0:
            return batch
        end = batch.stroke5.new_tensor([0.0, 0.0, 0.0, 0.0, 1.0])
        padding = end.expand(len(batch.stroke5), missing, 5)
        return replace(batch, stroke5=torch.cat([batch.stroke5, padding], dim=1))

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

    def _check_finite(self, loss: float, where: str) -> None:
        """Ends the run before a checkpoint is spoilt; all processes see the same loss."""
        train = self.config.train
        if not math.isfinite(loss):
            raise NotFinite(
                f"the loss is {loss} at step {self.global_step}: lower train.learning_rate (now"
                f" {train.learning_rate}) or train.clip_value ({train.clip_value}); {where}."
                " The last checkpoint is not affected"
            )

    def _floored(self, L_KL: Tensor, joint: Tensor) -> Tensor:
        """The floor applies to the mean over all processes, the gradient to each one's share."""
        excess = L_KL - L_KL.detach()  # 0, with the gradient of L_KL
        return floored_kl(joint, self.KL_min) + (excess if joint > self.KL_min else 0.0 * excess)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Measures the gradient where somebody wants to know."""
        if self.wants_gradient_norm:
            gradients = [p.grad for p in self.parameters() if p.grad is not None]
            self.gradient_norm = float(torch.nn.utils.get_total_norm(gradients))

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
        sums = self.trainer.strategy.reduce(self._sums, reduce_op="sum")
        assert isinstance(sums, Tensor)
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
        self._check_finite(self.validation[OBJECTIVE], "the validation gave it")
        self.log(OBJECTIVE, self.validation[OBJECTIVE], logger=False)

    def configure_optimizers(self) -> Any:
        """Adam, with a rate that falls per step from learning_rate to min_learning_rate."""
        train = self.config.train
        optimizer = torch.optim.Adam(self.model.parameters(), lr=train.learning_rate)
        low = train.min_learning_rate / train.learning_rate

        def factor(step: int) -> float:
            return float((1.0 - low) * train.decay**step + low)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps what the run is, so that no other run goes on with it, and how good it was."""
        checkpoint["identity"] = self.identity
        checkpoint["validation"] = self.validation
