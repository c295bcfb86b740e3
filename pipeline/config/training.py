"""What is trained, how, on what, and where it is recorded."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

from pipeline.config.error import UserError
from sketch_model.config import Augmentation, at_least, within


@dataclass(kw_only=True)
class LossConfig:
    """The training objective, L_R + w(step) * max(L_KL, KL_min) (Ha & Eck 2017, section 3.3)."""

    w_KL: float = 0.5
    """Weight of the KL term at the end of the annealing."""
    eta_min: float = 0.02
    """Share of w_KL that applies at step 0."""
    R: float = 0.99995
    """Decay per step of what is missing to w_KL."""
    KL_min: float = 0.20
    """Floor below which L_KL gives no gradient, in nats per latent dimension."""
    pen_weights: list[float] = field(default_factory=lambda: [1.0, 1.0, 1.0])
    """What the pen loss of a row counts in training if the pen stays down, is lifted, or the
    drawing ends. Earlier work balanced the rare states by (1, 10, 100), which the paper discusses
    and does without. Validation and the choice of a model stay unweighted."""

    def __post_init__(self) -> None:
        at_least("loss.w_KL", self.w_KL, 0.0)
        within("loss.eta_min", self.eta_min, 0.0, 1.0)
        within("loss.R", self.R, 0.0, 1.0)
        at_least("loss.KL_min", self.KL_min, 0.0)
        if (
            len(self.pen_weights) != 3
            or not all(0 <= weight < math.inf for weight in self.pen_weights)
            or not any(self.pen_weights)
        ):
            raise UserError(
                f"loss.pen_weights={list(self.pen_weights)} must be three finite numbers (pen down,"
                " lifted, end of drawing) of at least 0, not all of them 0; [1,1,1] is the paper's"
                " loss"
            )


class TrainOrder(StrEnum):
    """How the drawings of an epoch are mixed."""

    full = "full"
    blocks = "blocks"


class Balance(StrEnum):
    """How often the drawings of a category come."""

    natural = "natural"
    uniform = "uniform"


class Precision(StrEnum):
    """Of the matrix products in training and validation."""

    fp32 = "fp32"
    bf16 = "bf16"
    """State, gates, losses and weights stay float32."""
    fp16 = "fp16"
    """The same, for GPUs without bf16; the loss is scaled so that small gradients survive."""

    @classmethod
    def _missing_(cls, value: object) -> Precision | None:
        """`train.precision=32` and `16`, which Hydra reads as numbers."""
        return {32: cls.fp32, 16: cls.fp16}.get(value) if isinstance(value, int) else None


class LearningRateScale(StrEnum):
    """What multiplies the learning rates of a recipe, in batches of `RECIPE_BATCH_SIZE`."""

    none = "none"
    """Nothing, whatever the batch."""
    sqrt = "sqrt"
    """The root of batch_size / RECIPE_BATCH_SIZE (Malladi et al. 2022, for Adam)."""
    linear = "linear"
    """batch_size / RECIPE_BATCH_SIZE (Goyal et al. 2017, for SGD)."""


RECIPE_BATCH_SIZE = 100
"""Sketches per step that the learning rates of both recipes are for (Ha & Eck 2017)."""


NOT_IDENTITY = (
    "max_steps",
    "validate_every",
    "patience",
    "checkpoint_every",
)
"""Fields of `train` that decide how far or how fast a run goes, not what it computes."""


@dataclass(kw_only=True)
class TrainConfig:
    """How the model is trained."""

    batch_size: int = 100
    """Sketches per optimizer step, over all processes."""
    pad_every: int = 20
    """Steps of which one computes all rows to N_max, as the reference implementation always does;
    the others leave most of what follows a sketch's end out."""
    pool: int = 20
    """Batches whose sketches are sorted by length together, for each to take some of each quarter:
    fewer have one that is much longer than the others. 1 leaves them as they come."""
    order: TrainOrder = TrainOrder.full
    """full mixes all drawings; blocks those of some hundred record batches at a time, for shards
    that are remote or larger than memory."""
    balance: Balance = Balance.natural
    """natural serves every drawing once per epoch; uniform every category equally often, so that
    drawings of small categories repeat."""
    max_steps: int = 100_000
    """Steps after which a run is finished; a larger number trains a finished run further."""
    learning_rate: float = 1e-3
    """Of Adam, at step 0."""
    decay: float = 0.9999
    """Decay per step of the learning rate towards min_learning_rate."""
    min_learning_rate: float = 1e-5
    """What the learning rate decays towards; at most learning_rate."""
    scale_learning_rate: LearningRateScale = LearningRateScale.none
    """How learning_rate and min_learning_rate follow batch_size."""
    clip_value: float = 1.0
    """Bound on each element of the gradient; 0 does not clip."""
    clip_norm: float = 0.0
    """Bound on the L2 norm of the whole gradient, instead of clip_value; 0 does not clip."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    validate_every: int = 500
    """Steps between two validations; each saves a checkpoint. max_steps must be a multiple."""
    checkpoint_every: int = 500
    """Steps between two checkpoints, beside those of validations; a killed run loses no more."""
    patience: int = 0
    """Validations without a better objective before training stops early; 0 never stops early."""
    seed: int = 0
    """Of the weights at the beginning, the order of the drawings, augmentation, z and dropout."""
    precision: Precision = Precision.fp32
    """Of the matrix products; see docs/design/training.md."""

    def __post_init__(self) -> None:
        for name in (
            *("batch_size", "pad_every", "pool"),
            *("max_steps", "validate_every", "checkpoint_every"),
        ):
            at_least(f"train.{name}", getattr(self, name), 1)
        for name in ("patience", "clip_value", "clip_norm"):
            at_least(f"train.{name}", getattr(self, name), 0)
        if self.clip_value and self.clip_norm:
            raise UserError(
                f"train.clip_value={self.clip_value} and train.clip_norm={self.clip_norm} clip one"
                " gradient in two ways: set one of them to 0"
            )
        within("train.decay", self.decay, 0.0, 1.0)
        if not 0 < self.learning_rate < math.inf:
            raise UserError(f"train.learning_rate={self.learning_rate} must be above 0 and finite")
        within("train.min_learning_rate", self.min_learning_rate, 0.0, self.learning_rate)
        if self.max_steps % self.validate_every:
            whole = -(-self.max_steps // self.validate_every) * self.validate_every
            raise UserError(
                f"train.max_steps={self.max_steps} must be a multiple of train.validate_every="
                f"{self.validate_every}, or the last steps would be neither validated nor saved:"
                f" train {whole} steps, or validate at other intervals"
            )


@dataclass(kw_only=True)
class TrainerConfig:
    """What a run is computed on: none of it changes the result, and all may change on a resume."""

    num_nodes: int = 1
    """Machines that share each batch; 0 is as many as torchrun, Slurm or Ray Train has started."""
    num_processes: int = 1
    """Processes on each machine, a device each; 0 is as many as torchrun, Slurm or Ray Train has
    started, and without them one per GPU."""
    num_threads: int = 0
    """CPU threads of each process; 0 leaves torch's choice."""
    accumulate: int = 1
    """Parts in which a process computes its share of a batch, one after the other: less memory."""
    resident: bool = False
    """Whether the train split is held in the memory of the device, every sketch of it."""
    timeout_s: int = 300
    """After which processes that wait for another give up; one that ended is noticed at once."""

    def __post_init__(self) -> None:
        for name in ("num_nodes", "num_processes", "num_threads"):
            at_least(f"trainer.{name}", getattr(self, name), 0)
        for name in ("accumulate", "timeout_s"):
            at_least(f"trainer.{name}", getattr(self, name), 1)


def check_shares(train: TrainConfig, trainer: TrainerConfig, world_size: int) -> None:
    """Raises UserError unless a batch divides into equal parts, `accumulate` per process."""
    if train.batch_size % (world_size * trainer.accumulate):
        raise UserError(
            f"train.batch_size={train.batch_size} must be a multiple of the {world_size} processes"
            f" (trainer.num_nodes={trainer.num_nodes}, trainer.num_processes="
            f"{trainer.num_processes}) times trainer.accumulate={trainer.accumulate}, which divide"
            " each batch equally"
        )


@dataclass(kw_only=True)
class TrackingConfig:
    """Where runs are recorded."""

    enabled: bool = True
    """false records nothing and needs no MLflow store."""
    uri: str = "sqlite:///mlflow.db"
    """MLflow's store: an SQLite file, or http://HOST:PORT of a server."""
    experiment: str = "sketch-rnn"
    """MLflow's experiment, which the runs are listed under."""
    log_every: int = 10
    """Steps between two records of training figures."""

    def __post_init__(self) -> None:
        at_least("tracking.log_every", self.log_every, 1)
