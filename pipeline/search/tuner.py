"""Ray Tune: which trial begins next, where it runs, and what is kept when the driver is killed."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler

from pipeline.config import FIGURES, QUALITY, Algorithm, Config, SearchConfig, UserError
from pipeline.ray_cluster import connect
from pipeline.search.outcome import Goal, Status, Trial
from pipeline.search.searcher import domains, make_searcher
from pipeline.search.space import Space, grid
from pipeline.search.trial import (
    FAILURE,
    IS_FINAL,
    LOG,
    OUT_OF_MEMORY,
    STEP,
    Trials,
    printing_to,
    train_and_publish,
)
from pipeline.training.interruption import Interruption

Watch = Callable[[list[Trial], Trial | None], None]
"""Told of all trials, and of the one that has ended if one has."""
_SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",  # this program prints a table of its own
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # as in jobs/ray/train.py
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # some figures are there at the end alone
    # What a trial that is stopped may take to end its MLflow run, before its process is used again.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "150",
    "TUNE_GLOBAL_CHECKPOINT_S": "2",  # what a killed driver forgets
}
_DEFAULT_REDUCTION = 3
_OF_A_TRIAL = 0.01
"""CPUs of a trial that only waits for processes; each of these asks for that much less."""
_JOIN_S = 60.0
"""How long the nodes of a cluster that was just started may take to join it."""
_tell: Callable[..., None]
_interruption: Interruption | None = None


def prepare(config: Config) -> None:
    """Joins the cluster, or starts one on this machine.

    Raises:
        UserError: if there is none at the address, or it lacks what one trial needs.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    address = config.search.ray_address
    cluster = connect(address, "search.ray_address", _SETTINGS)
    until_s = time.monotonic() + (_JOIN_S if address else 0)
    while lacking := _lacking(config, cluster.cluster_resources()):
        if time.monotonic() >= until_s:
            raise UserError(lacking)
        time.sleep(1)
    num_gpus = cluster.cluster_resources().get("GPU", 0)
    if num_gpus and not config.search.gpus_per_process:
        print(
            f"note: of the cluster's {num_gpus:g} GPUs none is reserved, and trials train on CPUs:"
            " give search.gpus_per_process",
            flush=True,
        )


def run(
    trials: Trials,
    space: Space,
    goal: Goal,
    folder: Path,
    watch: Watch,
    interruption: Interruption,
    *,
    retry: bool = False,
) -> None:
    """Runs a search to its end, or goes on with the one that `folder` has the state of.

    Args:
        trials: what they train.
        space: of their values.
        goal: what a searcher looks for.
        folder: absolute, for Tune's state.
        watch: told of all trials whenever one has changed.
        interruption: that may end it at any moment; at most two seconds of it are forgotten.
        retry: whether trials begin anew that had failed.
    """
    global _tell, _interruption
    _interruption = interruption
    _tell = _describing(trials, watch)
    for name in ("ray.tune", "ray.train", "optuna"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # the table has all errors
    trainable = _trainable(trials)
    tuner = _restore(folder, trainable, retry)
    if tuner is None:
        shutil.rmtree(folder, ignore_errors=True)
        tuner = _new_tuner(trainable, trials.config, space, goal, folder)
    tuner.fit()


def _describing(trials: Trials, watch: Watch) -> Callable[..., None]:
    """What tells `watch` of Tune's trials in our terms."""

    def tell(all_of_tune: Sequence[Any], ended: Any = None, status: str = "") -> None:
        in_order = sorted(all_of_tune, key=_place)
        described = [
            _describe(trials, trial, number, status if trial is ended else trial.status)
            for number, trial in enumerate(in_order, start=1)
        ]
        watch(described, None if ended is None else described[in_order.index(ended)])

    return tell


def _place(trial: Any) -> int:
    """In the order of beginning: Tune's own order is another one after a restart."""
    return int(trial.experiment_tag.partition("_")[0])


def _describe(trials: Trials, trial: Any, number: int, tune_status: str) -> Trial:
    result, folder = trial.last_result, trials.folder_of(trial.config)
    match tune_status:
        case "TERMINATED":
            status = Status.finished if result.get(IS_FINAL) else Status.stopped
        case "ERROR":
            status = Status.failed
        case _:
            status = Status.unfinished
    return Trial(
        number=number,
        values=dict(trial.config),
        status=status,
        folder=folder,
        step=result.get(STEP, 0),
        figures={
            name: value
            for name, value in result.items()
            if name in FIGURES or name.startswith(QUALITY)
        },
        duration_s=result.get("time_total_s", 0.0),
        error=_explain(trial, folder) if status is Status.failed else "",
    )


def _explain(trial: Any, folder: Path) -> str:
    """What a trial said at its end, or what Ray says of a process that could not."""
    failure = folder / FAILURE
    if failure.exists():
        return failure.read_text()
    error = trial.get_error()
    text = " ".join(str(error).split())
    if type(error).__name__ == "OutOfMemoryError":
        return OUT_OF_MEMORY.format(error="Ray ended its process to save the machine's others")
    return f"its process died {trial.num_failures} times ({type(error).__name__}: {text:.200})"


def num_trials(config: SearchConfig, space: Space) -> int:
    """How many there will be."""
    return len(grid(space)) if config.num_trials is None else config.num_trials


def _trainable(trials: Trials) -> Any:
    """What Tune calls with the values of a trial."""

    def trial(values: dict[str, Any]) -> None:
        # Of a Ray that srun has started: it speaks of Ray's processes, and not of trials.
        os.environ.pop("SLURM_STEP_NUM_TASKS", None)
        trials.run(values, tune.report, train_and_publish if processes == 1 else _train_on_ray)

    processes = num_processes(trials.config)
    resources = _resources(trials.config.search)
    if processes > 1:  # Ray Train reserves what the processes need
        resources = {"CPU": _OF_A_TRIAL}
    return tune.with_resources(trial, resources)


def _train_on_ray(config: Config, tags: Mapping[str, str], report: Any) -> None:
    """Several processes, on as many devices, as Ray Train starts them."""
    from ray import train
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    def work() -> None:
        with printing_to(Path(config.runs_dir) / LOG):
            train_and_publish(config, tags, train.report)

    search = config.search
    resources = _resources(search)
    resources["CPU"] = max(0.0, resources["CPU"] - _OF_A_TRIAL)
    tell_tune: Any = TuneReportCallback()  # type: ignore[no-untyped-call]
    TorchTrainer(
        work,
        torch_config=TorchConfig(timeout_s=config.trainer.timeout_s),
        scaling_config=train.ScalingConfig(
            num_workers=num_processes(config),
            use_gpu=search.gpus_per_process > 0,
            resources_per_worker=resources,
        ),
        run_config=train.RunConfig(storage_path=config.runs_dir, name="ray", callbacks=[tell_tune]),
    ).fit()


def num_processes(config: Config) -> int:
    """Of each trial."""
    return config.trainer.num_nodes * config.trainer.num_processes


def _resources(search: SearchConfig) -> dict[str, float]:
    return {"CPU": search.cpus_per_process, "GPU": search.gpus_per_process}


def _lacking(config: Config, there: Mapping[str, float]) -> str:
    """What a trial needs that the cluster does not have; empty if it has everything."""
    processes = num_processes(config)
    for name, per_process in _resources(config.search).items():
        if processes * per_process > there.get(name, 0):
            field = f"search.{name.lower()}s_per_process"
            return (
                f"a trial needs {processes * per_process:g} {name}s ({field}={per_process:g},"
                f" {processes} processes), and the cluster has {there.get(name, 0):g}: no trial"
                " would ever begin"
            )
    return ""


def _new_tuner(
    trainable: Any, config: Config, space: Space, goal: Goal, folder: Path
) -> tune.Tuner:
    search = config.search
    is_grid = search.algorithm is Algorithm.grid
    return tune.Tuner(
        trainable,
        param_space=domains(space, search.algorithm),
        tune_config=tune.TuneConfig(
            num_samples=1 if is_grid else num_trials(search, space),
            search_alg=make_searcher(search, goal, _num_at_once(config)),
            scheduler=_asha(config, folder) if search.asha else None,
            reuse_actors=True,  # importing torch takes seconds
        ),
        run_config=tune.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            failure_config=tune.FailureConfig(max_failures=search.max_failures),
            callbacks=[_Watcher()],
            verbose=0,
        ),
    )


def _num_at_once(config: Config) -> int:
    """0 if Tune finds out: it does not know what a trial of several processes takes."""
    search, processes = config.search, num_processes(config)
    if search.max_concurrent or processes == 1:
        return search.max_concurrent
    there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return min(
        int(there[name] // (processes * amount))
        for name, amount in _resources(search).items()
        if amount
    )


def _asha(config: Config, folder: Path) -> ASHAScheduler:
    search = config.search
    figure = search.asha_figure or "bound_nats"
    return _LastingAsha(
        folder / "asha.jsonl",
        time_attr=STEP,
        metric=figure,
        mode="max" if figure in search.maximize else "min",
        max_t=config.train.max_steps,
        grace_period=search.asha_grace_steps or config.train.validate_every,
        reduction_factor=search.asha_reduction or _DEFAULT_REDUCTION,
    )


class _LastingAsha(ASHAScheduler):
    """ASHA that goes on where it was: Tune restores trials and searcher, and a new scheduler, which
    would let trials go on that are behind those of before."""

    def __init__(self, path: Path, *, time_attr: str, metric: str, **settings: Any) -> None:
        super().__init__(time_attr=time_attr, metric=metric, **settings)
        self._path, self._names = path, (time_attr, metric)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_add(tune_controller, trial)
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        for line in lines:
            # A line without its end is one that a kill or a full disk has cut off.
            if line.startswith(f'["{trial.trial_id}"') and line.endswith("}]"):
                super().on_trial_result(tune_controller, trial, json.loads(line)[1])

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        seen = {name: result[name] for name in self._names if name in result}
        with self._path.open("a") as file:
            file.write("\n" + json.dumps([trial.trial_id, seen]))
        return super().on_trial_result(tune_controller, trial, result)


def _restore(folder: Path, trainable: Any, retry: bool) -> tune.Tuner | None:
    """The search that was interrupted; None if there is none, or it had begun no trial."""
    path = str(folder)
    if not tune.Tuner.can_restore(path) or not any(folder.glob("experiment_state-*")):
        return None
    return tune.Tuner.restore(path, trainable, restart_errored=retry)


class _Watcher(tune.Callback):
    """Tells the process's watch of every change. Tune pickles it, and a watch is of a process."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _Watcher, ()

    def setup(
        self,
        stop: Any = None,
        num_samples: int | None = None,
        total_num_samples: int | None = None,
        **info: Any,
    ) -> None:
        assert _interruption is not None
        _interruption.take_over()  # Tune has begun to handle the signals

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        _tell(trials)

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any
    ) -> None:
        _tell(trials)

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        _tell(trials, trial, "TERMINATED")  # which it is about to become

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        _tell(trials, trial, "ERROR")

    def on_experiment_end(self, trials: Any, **info: Any) -> None:
        _tell(trials)
