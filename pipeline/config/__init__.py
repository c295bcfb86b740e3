"""What a run is made of, and the bounds of every value.

Field names follow the paper where it has a name for the thing (N_z, M, w_KL, N_max, KL_min, R).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import MISSING

from pipeline.config.commands import EvaluateConfig, InspectConfig, Split
from pipeline.config.drawings import (
    CacheConfig,
    Engine,
    Format,
    IngestConfig,
    Source,
    SourceConfig,
    SplitRule,
    check_category,
)
from pipeline.config.error import LostProcess, UserError, ending_at_user_errors
from pipeline.config.quality import QualityConfig
from pipeline.config.search import FIGURES, QUALITY, Algorithm, SearchConfig
from pipeline.config.training import (
    NOT_IDENTITY,
    RECIPE_BATCH_SIZE,
    Balance,
    LearningRateScale,
    LossConfig,
    Precision,
    TrackingConfig,
    TrainConfig,
    TrainerConfig,
    TrainOrder,
    check_shares,
)
from sketch_model.config import ModelConfig, at_least

__all__ = [
    "ALL_CATEGORIES",
    "FIGURES",
    "NOT_IDENTITY",
    "QUALITY",
    "RECIPE_BATCH_SIZE",
    "Algorithm",
    "Balance",
    "CacheConfig",
    "Config",
    "Engine",
    "EvaluateConfig",
    "Format",
    "IngestConfig",
    "InspectConfig",
    "LearningRateScale",
    "LossConfig",
    "LostProcess",
    "Precision",
    "QualityConfig",
    "SearchConfig",
    "Source",
    "SourceConfig",
    "Split",
    "SplitRule",
    "TrackingConfig",
    "TrainConfig",
    "TrainOrder",
    "TrainerConfig",
    "UserError",
    "check_category",
    "check_shares",
    "ending_at_user_errors",
]


ALL_CATEGORIES = ["*"]


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
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    quality: QualityConfig = field(default_factory=QualityConfig)
    inspect: InspectConfig = field(default_factory=InspectConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
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
    init_from: str = ""
    """Weights that a new run begins with: a run's folder, a checkpoint, or a model's folder."""
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
    def recogniser_dir(self) -> Path:
        """What judges drawings of this source."""
        return Path(self.quality.recogniser or f"{self.data_dir}/recogniser")

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
        # A launcher's number of processes, 0 here, is known when training begins.
        check_shares(
            self.train, self.trainer, self.trainer.num_nodes * self.trainer.num_processes or 1
        )
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
