"""`python -m jobs.ray.train --folder FOLDER --num-workers 8 +experiment=NAME ...`

Ray starts a process per worker, joins them, and starts them again when one is lost, with as many as
the cluster then has room for; each of them runs what `python -m pipeline.train trainer=ddp` runs.
The run's own checkpoints are what a restart goes on from: Ray's are not used.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.exceptions import ControllerError

from pipeline.config import Config, LostProcess, UserError, check_shares, ending_at_user_errors
from pipeline.entry import compose


def main(arguments: Sequence[str] | None = None) -> None:
    """Composes the config once, here, and has the cluster train it."""
    options = parse(arguments)
    with ending_at_user_errors():
        trainer = make_trainer(compose(["trainer=ddp", *options.overrides]), options)
        _connect()
        _fit(trainer)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line: what Ray needs to know, and in `overrides` what Hydra composes."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("overrides", nargs="*", help="of the config, as for pipeline.train")
    parser.add_argument(
        "--folder",
        type=Path,
        required=True,
        help="absolute path that every node sees; relative paths of the config are within it",
    )
    parser.add_argument("--num-workers", type=int, required=True, help="processes that train")
    parser.add_argument(
        "--min-workers",
        type=int,
        help="go on with as few as these; without it, a lost worker's replacement is waited for",
    )
    parser.add_argument("--use-gpu", action="store_true", help="a GPU for each worker")
    parser.add_argument("--num-cpus", type=int, default=1, help="CPUs reserved for each worker")
    parser.add_argument(
        "--max-failures", type=int, default=30, help="losses of a worker before it gives up"
    )
    parser.add_argument(
        "--look-every-s",
        type=float,
        default=60.0,
        help="between two looks for room for more workers, which restarts all from a checkpoint",
    )
    return parser.parse_intermixed_args(arguments)


def make_trainer(config: Config, options: argparse.Namespace) -> TorchTrainer:
    """Ray's trainer of a config.

    Raises:
        UserError: if a number of workers that may come to be cannot share a batch, or the folder
            is not one that every machine can find.
    """
    if not options.folder.is_absolute():
        raise UserError(
            f"--folder={options.folder} is relative, and other machines begin elsewhere: give the"
            " absolute path of a folder that every node sees"
        )
    largest = options.num_workers
    smallest = largest if options.min_workers is None else options.min_workers
    if not 1 <= smallest <= largest:
        raise UserError(
            f"--min-workers={smallest} must be in [1, {largest}]: --num-workers is {largest}"
        )
    for num_workers in range(smallest, largest + 1):
        check_shares(config.train, config.trainer, num_workers)
    return TorchTrainer(
        lambda: _work(config, options.folder),
        torch_config=TorchConfig(timeout_s=config.trainer.timeout_s),
        scaling_config=ScalingConfig(
            num_workers=largest if smallest == largest else (smallest, largest),
            elastic_resize_monitor_interval_s=options.look_every_s,
            use_gpu=options.use_gpu,
            resources_per_worker={"CPU": options.num_cpus, "GPU": int(options.use_gpu)},
        ),
        run_config=RunConfig(
            storage_path=str(options.folder / "ray"),
            failure_config=FailureConfig(max_failures=options.max_failures),
            callbacks=[_StopAtUserError()],
        ),
    )


def _work(config: Config, folder: Path) -> None:
    """What each worker does: the command `train`, in the folder that all of them see."""
    from pipeline.train import train  # torch and Lightning: not needed by the driver

    os.chdir(folder)
    train(config)


class _StopAtUserError(UserCallback):
    """Without it, a mistake that only the user can put right is tried max_failures times."""

    def after_exception(self, run_context: object, worker_exceptions: dict[int, Exception]) -> None:
        for error in worker_exceptions.values():
            cause = getattr(error, "_base_exc", error)
            if isinstance(cause, UserError) and not isinstance(cause, LostProcess):
                raise cause


def _connect() -> None:
    # What workers print reaches the driver anyway; Ray Train would send it a second time.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")
    # It tells workers of a node's end, which ours do not ask. Ray restarts it without end if it was
    # itself on the node (ray-project/ray#53727), and its GCS then takes a whole CPU.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    if ray.is_initialized():
        return
    try:
        ray.init("auto")
    except (OSError, ValueError) as error:
        raise UserError(
            f"there is no Ray cluster here ({error}): start one with `ray start --head`, set"
            " RAY_ADDRESS=HOST:PORT, or use `ray job submit`"
        ) from error


def _fit(trainer: TorchTrainer) -> None:
    try:
        trainer.fit()
    except ControllerError as error:
        if isinstance(error.controller_failure, UserError):
            raise error.controller_failure from None
        raise


if __name__ == "__main__":
    main()
