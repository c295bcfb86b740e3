"""From a config to a trained model: what `train`, a search's trials and every job call."""

from __future__ import annotations

import json
import logging
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from pipeline.config import ALL_CATEGORIES, Config, Precision, UserError
from pipeline.data.dataset import ShardedSketches, check_cache
from pipeline.data.loader import EvaluationLoader, TrainingLoader
from pipeline.data.order import Order
from pipeline.data.resident import ResidentSketches
from pipeline.data.stream import Stream, make_stream
from pipeline.identity import flatten, to_dict
from pipeline.manifest import SPLITS, Manifest
from pipeline.permutation import permute
from pipeline.results import Training, data_spec, publish
from pipeline.tracking import JOURNAL, Tracker, git_tags, open_tracker, redact, reopen_tracker
from pipeline.training import failed_batch, initial_weights
from pipeline.training.callbacks import Figures, Pictures, Progress, Report
from pipeline.training.checkpoint_files import set_damaged_aside
from pipeline.training.checkpoints import Checkpoints
from pipeline.training.interruption import Interrupted, Interruption
from pipeline.training.launch import Launch, find_launch
from pipeline.training.memory import keep_freed_memory
from pipeline.training.module import NotFinite, SketchModule
from pipeline.training.processes import all_processes
from pipeline.training.run import Run, checkpoint_of, differences, open_run
from pipeline.training.trainer import make_trainer
from sketch_model.model import SketchRNN

_NUM_PICTURES = 6
_SOURCE = ("name", "format", "quantum", "num_drawings", "seed")


@dataclass(frozen=True)
class FitResult:
    """What training left behind."""

    run: Run
    is_rank_zero: bool
    was_finished: bool
    """Whether there was nothing left to train."""

    def publish(self, config: Config) -> Training:
        """Makes results of the best model and the curves; for rank zero."""
        run = self.run
        origin = {
            "num_steps": run.num_steps,
            "run_folder": str(run.folder),
            "mlflow_run_id": run.mlflow_run_id,
        }
        return publish(config, run.best_checkpoint, run.curves, origin)


def fit(
    config: Config,
    *,
    tags: Mapping[str, str] | None = None,
    report: Callable[[int, Mapping[str, float]], None] | None = None,
) -> FitResult:
    """Trains the model of a config, or goes on with its run, to the config's last step.

    Everything that resuming needs is in the run's folder; `publish` makes the model of it.

    Args:
        config: of the run.
        tags: what else its MLflow run is found by.
        report: called at each validation with its step and line of the curves, in every process.

    Raises:
        UserError: if the data are not there, the tracking store cannot be written, the run's
            folder holds another run, or the loss is not finite.
        Interrupted: at SIGTERM, SIGUSR1 or Ctrl-C, when the run is saved; the process ends with
            exit code 75, or 130 for Ctrl-C, unless somebody catches it.
    """
    launch = find_launch(config)
    interruption = Interruption()
    with interruption.watching():
        try:
            return _fit(config, launch, interruption, tags or {}, report)
        except Interrupted as signal:
            if launch.rank == 0:
                print(
                    f"interrupted by {signal}: the run is saved, and the same command goes on"
                    f" (exit code {signal.code})",
                    file=sys.stderr,
                    flush=True,
                )
            raise


def _fit(
    config: Config,
    launch: Launch,
    interruption: Interruption,
    tags: Mapping[str, str],
    report: Callable[[int, Mapping[str, float]], None] | None,
) -> FitResult:
    train = ShardedSketches(config.manifest_path, "train", config.cache)
    valid = ShardedSketches(config.manifest_path, "valid", config.cache)
    _check_data(config, launch, train, valid)
    check_cache(train, valid, _stream(config, train), config)
    rank = launch.rank
    run = open_run(config, train.manifest)
    if run.is_finished(config):
        if rank == 0:  # an outage of the tracking server may have left something to send
            _end_tracking(reopen_tracker(config.tracking, run.folder / JOURNAL), run)
        return FitResult(run, rank == 0, was_finished=True)

    _prepare_process(config)
    if rank == 0 and config.train.precision == Precision.bf16 and not _multiplies_bf16():
        print(
            "note: this device has no instructions for train.precision=bf16, which is slower here"
            " than fp32"
        )
    tracker = open_tracker(
        config.tracking,
        folder=run.folder / JOURNAL,
        rank=rank,
        run_name=run.folder.name,
        run_id=run.mlflow_run_id,
    )
    status = "FAILED"
    try:
        if rank == 0:
            run.save()
            _describe(tracker, config, run, train.manifest)
            tracker.set_tags(tags)
        with all_processes(launch, config.trainer):
            trainer = _train(config, launch, run, tracker, train, valid, interruption, report)
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        interruption.deferred = False
        if rank == 0:
            _end_tracking(tracker, run, status)
    stopped_early = trainer.global_step < config.train.max_steps
    run.num_steps = trainer.global_step
    run.stopped_early_at_patience = config.train.patience if stopped_early else None
    if rank == 0:
        run.save()
    return FitResult(run, rank == 0, was_finished=False)


def _end_tracking(tracker: Tracker, run: Run, status: str = "") -> None:
    """Sends what is left; the server may have told the run's id only now, or not yet."""
    tracker.finish(status)
    if tracker.run_id not in (None, run.mlflow_run_id):
        run.mlflow_run_id = tracker.run_id
        run.save()


def _check_data(
    config: Config, launch: Launch, train: ShardedSketches, valid: ShardedSketches
) -> None:
    if len(valid) < launch.world_size:
        raise UserError(
            f"the valid split of {config.manifest_path} has {len(valid)} drawings, and choosing a"
            f" checkpoint takes at least one per process ({launch.world_size}): use more"
            " drawings, or a larger second share in ingest.fractions"
        )
    found, wanted = _origin(asdict(train.manifest)), _origin(to_dict(config))
    if config.categories == ALL_CATEGORIES:
        wanted["categories"] = train.manifest.categories
    if found != wanted:
        raise UserError(
            f"{config.manifest_path} is of another config: {differences(found, wanted)}."
            " Ingest and prepare again with this config"
        )


def _origin(content: dict[str, Any]) -> dict[str, Any]:
    """What decides which drawings there are; where they were read from may have changed."""
    source = {key: content["source"][key] for key in _SOURCE}
    return {key: content[key] for key in ("categories", "ingest")} | {"source": source}


def _prepare_process(config: Config) -> None:
    keep_freed_memory()
    torch.set_flush_denormal(True)  # or a CPU spends most of its time on numbers below 1e-38
    if config.trainer.num_threads:
        torch.set_num_threads(config.trainer.num_threads)
        # Without it, Lightning divides the cores among the processes, whatever was set.
        os.environ["OMP_NUM_THREADS"] = str(config.trainer.num_threads)
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # A run's folder is there before its first checkpoint, and is where it is resumed from.
    warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
    # A machine of a Slurm cluster has srun, and training need not be started by it.
    warnings.filterwarnings("ignore", "The `srun` command is available")
    # Lightning 2.6 asks torch 2.13 in an old way what a batch is made of.
    warnings.filterwarnings("ignore", ".*treespec, LeafSpec.* is deprecated")


def _multiplies_bf16() -> bool:
    """Whether the device has instructions for it; torch works without, slowly, and says nothing."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    instructions = torch.cpu.get_capabilities()
    return any(instructions.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _describe(tracker: Tracker, config: Config, run: Run, manifest: Manifest) -> None:
    """What a run is found by and made of."""
    resolved = run.folder / "config.json"
    resolved.write_text(json.dumps(redact(to_dict(config)), indent=1) + "\n")
    tracker.log_file(resolved)
    tracker.log_file(config.manifest_path, "data")
    counts = {split: manifest.num_drawings(split) for split in SPLITS}
    counts["categories"] = len(manifest.categories)
    tracker.log_dataset(config.name, manifest.fingerprint, config.shards_location, counts)
    tracker.log_params(flatten(_of_a_run(config)))
    tracker.set_tags(
        {
            "source": config.source.name,
            "generated": str(manifest.generated).lower(),
            "data.fingerprint": manifest.fingerprint,
            "code.fingerprint": run.code,
            "command": shlex.join([Path(sys.executable).name, *sys.orig_argv[1:]]),
            "run.folder": str(run.folder),
        }
        | git_tags()
    )


def _of_a_run(config: Config) -> dict[str, Any]:
    """The config without what only other commands read."""
    return {
        name: content
        for name, content in to_dict(config).items()
        if name not in ("inspect", "search")
    }


def _train(
    config: Config,
    launch: Launch,
    run: Run,
    tracker: Tracker,
    train: ShardedSketches,
    valid: ShardedSketches,
    interruption: Interruption,
    report: Callable[[int, Mapping[str, float]], None] | None,
) -> pl.Trainer:
    checkpoint = checkpoint_of(run)
    torch.manual_seed(config.train.seed)  # of the initial weights; every step is keyed
    model = SketchRNN(config.model, data_spec(config, train.manifest))
    if config.init_from and checkpoint is None:
        initial_weights.load(model, config.init_from)
    module = SketchModule(config, model, run.identity)
    figures = Figures(tracker, run.curves, len(train), config.tracking.log_every)
    callbacks = [
        figures,
        *_callbacks(config, tracker, valid),
        Checkpoints(run.folder, config.train, interruption),
    ]
    if report is not None:
        callbacks.append(Report(report, figures))
    trainer = make_trainer(config, launch, run.folder, callbacks)
    sketches: ShardedSketches | ResidentSketches = train
    if config.trainer.resident:
        sketches = ResidentSketches(train, trainer.strategy.root_device)
    order = Order(
        _stream(config, train),
        sketches.lengths_of,
        config.train.batch_size,
        config.train.pool,
        config.train.seed,
    )
    share = {"rank": trainer.global_rank, "world_size": trainer.world_size}
    if checkpoint is not None and trainer.is_global_zero:
        set_damaged_aside(run.folder, going_on_from=checkpoint)
    try:
        trainer.fit(
            module,
            TrainingLoader(sketches, order, **share),
            EvaluationLoader(valid, batch_size=config.evaluate.batch_size, **share),
            ckpt_path=checkpoint,
            weights_only=True,
        )
    except NotFinite as error:
        if (batch := module.batch) is None:
            raise
        rows = order.stream.rows(batch.positions.cpu().numpy())
        path = failed_batch.keep(run.folder, module.global_step, trainer.global_rank, batch, rows)
        raise NotFinite(f"{error}. The batch, with its rows, is kept in {path}") from error
    return trainer


def _stream(config: Config, train: ShardedSketches) -> Stream:
    return make_stream(
        train.starts,
        train.category_of_recordbatch,
        order=config.train.order,
        balance=config.train.balance,
        seed=config.train.seed,
    )


def _callbacks(config: Config, tracker: Tracker, valid: ShardedSketches) -> Iterator[Callback]:
    shown = permute(np.arange(min(_NUM_PICTURES, len(valid))), len(valid), key=0)
    yield Pictures(tracker, valid.gather(shown))
    yield Progress(config.train.max_steps)
