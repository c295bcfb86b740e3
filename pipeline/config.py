"""What a run is made of: the one place where a composed Hydra config becomes dataclasses.

Every entry point hands its `DictConfig` to `load` and sees only `Config` from then on. Field names
follow the paper where it has a name for the thing (N_z, M, w_KL, N_max, KL_min, R).
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sketch_model.config import Augmentation, ModelConfig, at_least, within


class UserError(ValueError):
    """Something only the user can put right; entry points print it without a traceback."""


class Source(StrEnum):
    """Where drawings come from."""

    doodles = "doodles"
    local = "local"
    quickdraw = "quickdraw"


@dataclass(kw_only=True)
class SourceConfig:
    """Where the drawings of a category are read from."""

    name: Source = MISSING
    root: str = ""
    """Folder or URL laid out like gs://quickdraw_dataset; empty for doodles."""
    endpoint_url: str = ""
    """Another server that speaks the Google Cloud Storage API, such as an emulator."""
    num_drawings: int = 0
    """Doodles only: how many are generated per category."""
    seed: int = 0
    """Doodles only: seed of the generator."""

    def __post_init__(self) -> None:
        at_least("source.num_drawings", self.num_drawings, 0)
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


@dataclass(kw_only=True)
class IngestConfig:
    """How drawings become shards."""

    N_max: int = 250
    """Rows of the longest sequence, end token included: a drawing of N_max points is too long."""
    fractions: list[float] = field(default_factory=lambda: [0.9, 0.05, 0.05])
    """Shares of the train, valid and test splits."""
    split_seed: int = 0
    max_reject_share: float = 0.01
    """More unreadable lines than this share of a category is an error."""
    recordbatch_rows: int = 4096
    shard_rows: int = 262_144

    def __post_init__(self) -> None:
        at_least("ingest.N_max", self.N_max, 2)
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

    def __post_init__(self) -> None:
        at_least("loss.w_KL", self.w_KL, 0.0)
        within("loss.eta_min", self.eta_min, 0.0, 1.0)
        within("loss.R", self.R, 0.0, 1.0)
        at_least("loss.KL_min", self.KL_min, 0.0)


@dataclass(kw_only=True)
class TrainConfig:
    """How the model is trained."""

    batch_size: int = 100
    """Sketches per optimizer step, over all processes."""
    pool: int = 20
    """Batches whose sketches are sorted by length together, one of them padded to N_max.

    1 mixes all lengths and pads every batch to N_max, as the reference implementation does."""
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
    num_threads: int = 0
    """CPU threads of the process; 0 leaves torch's choice."""
    num_processes: int = 1
    """Processes on this machine that share each batch, a device each."""

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
    source: SourceConfig = field(default_factory=SourceConfig)
    ingest: IngestConfig = field(default_factory=IngestConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    data_dir: str = MISSING
    """Folder of the source's shards and manifests."""
    runs_dir: str = "runs"
    """Folder that holds a folder per run: checkpoints, and what resuming needs."""
    results_dir: str = MISSING
    """Folder of what this experiment delivers: model, curves, metrics, gallery."""
    restart_if_code_changed: bool = False
    """Train anew, keeping the old run aside, when the code is not what the run was made with."""

    @property
    def shards_dir(self) -> Path:
        """Folder that holds a folder of shards per category."""
        return Path(self.data_dir) / "shards"

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
        for category in self.categories:
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


def load(composed: DictConfig) -> Config:
    """Makes dataclasses of what Hydra composed.

    Raises:
        UserError: for a missing or unknown field, and for a value out of its bounds.
    """
    if OmegaConf.is_missing(composed, "name") or OmegaConf.is_missing(composed, "categories"):
        raise UserError(
            "no experiment is chosen: add +experiment=NAME (a file of conf/experiment),"
            " or give both name=... and 'categories=[...]'"
        )
    try:
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), composed))
    except OmegaConfBaseException as error:
        raise UserError(explain(error)) from error
    except ValueError as error:
        raise UserError(str(error)) from error
    for path in _additions(composed, Config):
        *parents, key = path.split(".")
        raise UserError(_unknown_field(parents, key))
    assert isinstance(config, Config)
    return config


def explain(error: BaseException) -> str:
    """One line on what is wrong with a field or its value, with the choices there are."""
    message = str(error).splitlines()[0]
    full_key = getattr(error, "full_key", None)
    if full_key is None:
        return message
    *parents, key = str(full_key).split(".")
    if key.split("[")[0] in _field_names(parents):
        return f"{full_key}: {message}"
    return _unknown_field(parents, key)


def _unknown_field(parents: list[str], key: str) -> str:
    choices = _field_names(parents)
    nearest = difflib.get_close_matches(key, choices, n=1, cutoff=0.5)
    hint = f"did you mean {'.'.join([*parents, nearest[0]])}? " if nearest else ""
    return f"{'.'.join([*parents, key])} is not a field: {hint}There are: {', '.join(choices)}"


def _additions(composed: DictConfig, schema: type, prefix: str = "") -> Iterator[str]:
    """Paths that `+path=value` added although no field has that name."""
    names = {field.name for field in fields(schema)}
    for key in map(str, composed):
        node = composed._get_node(key)
        if key not in names:
            yield f"{prefix}{key}"
        elif isinstance(node, DictConfig) and (inner := OmegaConf.get_type(node)) is not None:
            yield from _additions(node, inner, f"{prefix}{key}.")


def _field_names(parents: list[str]) -> list[str]:
    node: Any = OmegaConf.structured(Config)
    for parent in parents:
        if parent not in node:
            return []
        node = node._get_node(parent)
    return sorted(str(key) for key in node) if isinstance(node, DictConfig) else []


def to_dict(config: Any) -> dict[str, Any]:
    """Plain dictionaries, lists and strings of a dataclass, as JSON can hold them."""
    return dict(json.loads(json.dumps(asdict(config))))


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"model": {"M": 20}}` as `{"model.M": 20}`."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        path = f"{prefix}{key}"
        flat |= flatten(value, f"{path}.") if isinstance(value, dict) else {path: value}
    return flat


def fingerprint(content: Any) -> str:
    """SHA-256 of a JSON-like value, in hexadecimal, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
