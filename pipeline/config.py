"""What a run is made of, and the bounds of every value.

Field names follow the paper where it has a name for the thing (N_z, M, w_KL, N_max, KL_min, R).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from omegaconf import MISSING

from sketch_model.config import Augmentation, ModelConfig, at_least, within

ALL_CATEGORIES = ["*"]
_FRACTIONS = [0.9, 0.05, 0.05]


class UserError(ValueError):
    """Something only the user can put right; entry points print it without a traceback."""


class Source(StrEnum):
    """Where drawings come from."""

    doodles = "doodles"
    local = "local"
    quickdraw = "quickdraw"


class Format(StrEnum):
    """How drawings are written down."""

    simplified = "simplified"
    raw = "raw"
    binary = "binary"
    npz = "npz"
    svg = "svg"


@dataclass(kw_only=True)
class SourceConfig:
    """Where the drawings of a category are read from."""

    name: Source = MISSING
    root: str = ""
    """Folder or URL laid out like gs://quickdraw_dataset; empty for doodles."""
    format: Format = Format.simplified
    """simplified, raw and binary are the bucket's; npz is magenta's; svg is a folder of SVG files
    per category."""
    quantum: float = 0.0
    """npz only: offsets are stored as multiples of this, at most 1000 of it; 0 takes integers."""
    endpoint_url: str = ""
    """Another server that speaks the Google Cloud Storage API, such as an emulator."""
    num_drawings: int = 0
    """Doodles only: how many are generated per category."""
    seed: int = 0
    """Doodles only: seed of the generator."""

    def __post_init__(self) -> None:
        at_least("source.num_drawings", self.num_drawings, 0)
        at_least("source.quantum", self.quantum, 0.0)
        if self.quantum and self.format != Format.npz:
            raise UserError(
                f"source.quantum={self.quantum} is for source.format=npz: the coordinates of"
                f" source.format={self.format} are integers"
            )
        if self.name == Source.doodles and self.format != Format.simplified:
            raise UserError(
                f"source.format={self.format} is not what source=doodles generates: write doodles"
                " as files with `python -m pipeline.doodle` and read those with source=local"
            )
        if self.name == Source.doodles and (self.root or self.endpoint_url):
            raise UserError(
                f"source.root={self.root!r} and source.endpoint_url={self.endpoint_url!r} are not"
                " read by source=doodles, which is generated: use source=local or source=quickdraw"
            )
        if self.name in (Source.local, Source.quickdraw) and (self.num_drawings or self.seed):
            raise UserError(
                f"source.num_drawings={self.num_drawings} and source.seed={self.seed} are for"
                f" source=doodles: source={self.name} reads every drawing there is"
            )


class SplitRule(StrEnum):
    """What decides which split a drawing belongs to."""

    fractions = "fractions"
    paper = "paper"
    own = "own"


class Engine(StrEnum):
    """What runs the pieces of an ingest side by side."""

    local = "local"
    ray = "ray"


@dataclass(kw_only=True)
class IngestConfig:
    """How drawings become shards."""

    N_max: int = 250
    """Rows of the longest sequence, end token included: a drawing of N_max points is too long."""
    min_strokes: int = 1
    """Drawings of fewer strokes are filtered."""
    recognized_only: bool = False
    """Whether drawings that the game did not recognize, or that do not say, are filtered."""
    countries: list[str] = field(default_factory=list)
    """Two-letter codes; drawings from elsewhere, or that do not say, are filtered. Empty: all."""
    limit: int = 0
    """Drawings kept of a category: those lowest in the order that also cuts the splits. 0: all."""
    splits: SplitRule = SplitRule.fractions
    """fractions: by each drawing's hash; paper: 70,000/2,500/2,500 of a category, by the rank of
    the hash; own: as the file says (npz only)."""
    fractions: list[float] = field(default_factory=lambda: [*_FRACTIONS])
    """Shares of the train, valid and test splits."""
    split_seed: int = 0
    max_reject_share: float = 0.01
    """More unreadable lines than this share of a category is an error."""
    part_bytes: int = 1 << 27
    """Larger files of lines are cut into parts of this size, each read alone, into own shards."""
    recordbatch_rows: int = 4096
    shard_rows: int = 262_144

    def __post_init__(self) -> None:
        at_least("ingest.N_max", self.N_max, 2)
        at_least("ingest.min_strokes", self.min_strokes, 1)
        at_least("ingest.limit", self.limit, 0)
        at_least("ingest.part_bytes", self.part_bytes, 1)
        for code in self.countries:
            if not re.fullmatch("[A-Z]{2}", code):
                raise UserError(
                    f"ingest.countries={list(self.countries)} must be two-letter codes in capitals,"
                    " such as DE"
                )
        at_least("ingest.recordbatch_rows", self.recordbatch_rows, 1)
        at_least("ingest.shard_rows", self.shard_rows, self.recordbatch_rows)
        within("ingest.max_reject_share", self.max_reject_share, 0.0, 1.0)
        if (
            len(self.fractions) != 3
            or not all(share >= 0 for share in self.fractions)
            or abs(sum(self.fractions) - 1) > 1e-9
            or self.fractions[0] == 0
        ):
            raise UserError(
                f"ingest.fractions={list(self.fractions)} must be three shares (train, valid, test)"
                " that add up to 1, with a train share above 0"
            )
        if self.splits != SplitRule.fractions and list(self.fractions) != _FRACTIONS:
            raise UserError(
                f"ingest.fractions={list(self.fractions)} is not read by ingest.splits="
                f"{self.splits}: leave it out, or use ingest.splits=fractions"
            )


@dataclass(kw_only=True)
class CacheConfig:
    """Where shards in a remote store are kept while they are trained on."""

    dir: str = "cache"
    """Folder on a local disk; several processes and later runs may share it."""
    size_bytes: int = 8 << 30
    """Of all files in it, at most; what was not used for longest makes room."""

    def __post_init__(self) -> None:
        at_least("cache.size_bytes", self.size_bytes, 1)


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

    @classmethod
    def _missing_(cls, value: object) -> Precision | None:
        """`train.precision=32`, which Hydra reads as a number."""
        return cls.fp32 if value == 32 else None


@dataclass(kw_only=True)
class TrainConfig:
    """How the model is trained."""

    batch_size: int = 100
    """Sketches per optimizer step, over all processes."""
    pool: int = 20
    """Batches whose sketches are sorted by length together, one of them padded to N_max.

    1 mixes all lengths and pads every batch to N_max, as the reference implementation does."""
    order: TrainOrder = TrainOrder.full
    """full mixes all drawings; blocks those of some hundred record batches at a time, for shards
    that are remote or larger than memory."""
    balance: Balance = Balance.natural
    """natural serves every drawing once per epoch; uniform every category equally often, so that
    drawings of small categories repeat."""
    max_steps: int = 100_000
    learning_rate: float = 1e-3
    decay: float = 0.9999
    """Decay per step of the learning rate towards min_learning_rate."""
    min_learning_rate: float = 1e-5
    clip_value: float = 1.0
    """Bound on each element of the gradient; 0 does not clip."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    validate_every: int = 500
    """Steps between two validations; each saves a checkpoint. max_steps must be a multiple."""
    patience: int = 0
    """Validations without a better objective before training stops early; 0 never stops early."""
    seed: int = 0
    precision: Precision = Precision.fp32
    num_threads: int = 0
    """CPU threads of the process; 0 leaves torch's choice."""
    num_processes: int = 1
    """Processes on this machine that share each batch, a device each."""
    resident: bool = False
    """Whether the train split is held in the memory of the device, every sketch of it."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "pool", "max_steps", "validate_every", "num_processes"):
            at_least(f"train.{name}", getattr(self, name), 1)
        for name in ("patience", "num_threads", "clip_value"):
            at_least(f"train.{name}", getattr(self, name), 0)
        within("train.decay", self.decay, 0.0, 1.0)
        if not 0 < self.learning_rate < math.inf:
            raise UserError(f"train.learning_rate={self.learning_rate} must be above 0 and finite")
        within("train.min_learning_rate", self.min_learning_rate, 0.0, self.learning_rate)
        if self.batch_size % self.num_processes:
            raise UserError(
                f"train.batch_size={self.batch_size} must be a multiple of train.num_processes="
                f"{self.num_processes}, which share each batch"
            )
        if self.max_steps % self.validate_every:
            whole = -(-self.max_steps // self.validate_every) * self.validate_every
            raise UserError(
                f"train.max_steps={self.max_steps} must be a multiple of train.validate_every="
                f"{self.validate_every}, or the last steps would be neither validated nor saved:"
                f" train {whole} steps, or validate at other intervals"
            )


@dataclass(kw_only=True)
class EvaluateConfig:
    """How the test split is scored."""

    latent_samples: int = 4
    """Draws of z per drawing that L_R and the bound are averaged over."""
    batch_size: int = 250

    def __post_init__(self) -> None:
        at_least("evaluate.latent_samples", self.latent_samples, 1)
        at_least("evaluate.batch_size", self.batch_size, 1)


class Split(StrEnum):
    """What a drawing is for."""

    train = "train"
    valid = "valid"
    test = "test"


@dataclass(kw_only=True)
class InspectConfig:
    """What is shown of a data set: its manifest, unless one of row, id and rejects is given."""

    row: int | None = None
    """A drawing's place in its split, counted from 0."""
    split: Split | None = None
    """The row's split; null is train."""
    id: int | None = None
    """A drawing's key_id, looked for in every split."""
    picture: str = ""
    """File for a picture of the drawings of row or id: .png or .svg."""
    rejects: int = 0
    """How many rejects of each reason are shown."""

    def __post_init__(self) -> None:
        at_least("inspect.rejects", self.rejects, 0)
        choices = {"row": self.row, "id": self.id, "rejects": self.rejects or None}
        chosen = [f"inspect.{name}" for name, value in choices.items() if value is not None]
        if len(chosen) > 1:
            raise UserError(f"{' and '.join(chosen)} are shown one at a time: give one of them")
        if self.row is not None:
            at_least("inspect.row", self.row, 0)
        elif self.split is not None:
            raise UserError(
                f"inspect.split={self.split} is of a row: give inspect.row too; inspect.id looks"
                " in every split"
            )
        if self.id is not None:
            within("inspect.id", self.id, 0, 2**64 - 1)
        if self.picture and self.row is None and self.id is None:
            raise UserError(
                f"inspect.picture={self.picture} is of drawings: give inspect.row or inspect.id too"
            )
        if self.picture and Path(self.picture).suffix not in (".png", ".svg"):
            raise UserError(f"inspect.picture={self.picture} must end in .png or .svg")


@dataclass(kw_only=True)
class TrackingConfig:
    """Where runs are recorded."""

    enabled: bool = True
    uri: str = "sqlite:///mlflow.db"
    experiment: str = "sketch-rnn"
    log_every: int = 10
    """Steps between two records of training figures."""

    def __post_init__(self) -> None:
        at_least("tracking.log_every", self.log_every, 1)


@dataclass(kw_only=True)
class Config:
    """Everything one command needs to know."""

    name: str = MISSING
    """Name of the experiment: of its manifest, its runs and its results."""
    categories: list[str] = MISSING
    """Names; ["*"] is all that the source has, or, from prepare on, all that are ingested."""
    source: SourceConfig = field(default_factory=SourceConfig)
    ingest: IngestConfig = field(default_factory=IngestConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    inspect: InspectConfig = field(default_factory=InspectConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    data_dir: str = MISSING
    """Folder of the source's shards and manifests."""
    shards_dir: str = ""
    """Location of the shards, a folder per category; it may be in a bucket (gs://...). Empty is
    the folder `shards` of data_dir."""
    runs_dir: str = "runs"
    """Folder that holds a folder per run: checkpoints, and what resuming needs."""
    results_dir: str = MISSING
    """Folder of what this experiment delivers: model, curves, metrics, gallery."""
    engine: Engine = Engine.local
    """What ingest runs on: processes of this machine, or Ray."""
    num_workers: int = 0
    """Parts that are ingested at once; 0 is one per CPU core (of the cluster, with engine=ray)."""
    ray_address: str = ""
    """engine=ray only: of a running cluster; empty starts one on this machine."""
    restart_if_code_changed: bool = False
    """Train anew, keeping the old run aside, when the code is not what the run was made with."""

    @property
    def shards_location(self) -> str:
        """Folder that holds a folder of shards per category."""
        return self.shards_dir or f"{self.data_dir}/shards"

    @property
    def manifest_path(self) -> Path:
        """What the experiment's shards contain."""
        return Path(self.data_dir) / "manifests" / f"{self.name}.json"

    @property
    def model_dir(self) -> Path:
        """The trained model."""
        return Path(self.results_dir) / "model"

    @property
    def curves_path(self) -> Path:
        """Figures of each validation, as CSV."""
        return Path(self.results_dir) / "curves.csv"

    @property
    def metrics_path(self) -> Path:
        """Figures of the test split."""
        return Path(self.results_dir) / "metrics.json"

    @property
    def gallery_path(self) -> Path:
        """Drawings of the model, as a page."""
        return Path(self.results_dir) / "gallery.html"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,99}", self.name):
            raise UserError(
                f"name={self.name!r:.120} cannot name files: use at most 100 letters, digits,"
                " underscores, dots and hyphens, beginning with a letter or a digit"
            )
        at_least("num_workers", self.num_workers, 0)
        if self.ray_address and self.engine != Engine.ray:
            raise UserError(
                f"ray_address={self.ray_address} is not read by engine={self.engine}: use"
                " engine=ray"
            )
        if self.ingest.splits == SplitRule.own and self.source.format != Format.npz:
            raise UserError(
                f"ingest.splits=own needs source.format=npz: files of"
                f" source.format={self.source.format} do not say to which split a drawing belongs"
            )
        for category in self.categories:
            if list(self.categories) != ALL_CATEGORIES:
                check_category(category)
        repeated = {name for name in self.categories if self.categories.count(name) > 1}
        if repeated or not self.categories:
            raise UserError(
                f"categories={list(self.categories)} must name at least one category,"
                " each of them once"
            )


def check_category(category: str) -> str:
    """Returns the name if it can name a folder; raises UserError otherwise.

    All 345 categories of Quick, Draw! are letters, digits, spaces, hyphens and apostrophes.
    """
    if not re.fullmatch(r"[^\W_][\w '.()-]{0,99}", category) or category != category.strip(" ."):
        raise UserError(
            f"category {category!r:.120} cannot name a folder: use at most 100 letters, digits,"
            " spaces, hyphens and apostrophes, beginning with a letter or a digit"
        )
    return category
