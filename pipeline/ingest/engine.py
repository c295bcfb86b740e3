"""Runs a function over many tasks, on processes of this machine or on Ray."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, TypeVar

from pipeline.config import Engine, UserError
from pipeline.ray_cluster import connect

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")
_AGAIN = "run the same command again: what is finished is kept"


@dataclass(frozen=True)
class Workers:
    """What runs the tasks, and how many of them at once."""

    engine: Engine = Engine.local
    num: int = 1
    """0 is one per CPU core of the machine or the cluster."""
    ray_address: str = ""

    def run(
        self, function: Callable[[_Task], _Result], tasks: Sequence[_Task]
    ) -> Iterator[tuple[int, _Result]]:
        """Gives the index and the result of each task, as they come.

        The first error ends it; tasks that have not begun are then dropped.

        Raises:
            UserError: what a task raises; if a worker dies; if there is no cluster.
        """
        if self.engine == Engine.ray:
            return self._run_on_ray(function, tasks)
        num = min(self.num or len(os.sched_getaffinity(0)), len(tasks))
        if num <= 1:
            return ((index, function(task)) for index, task in enumerate(tasks))
        return _run_in_processes(function, tasks, num)

    def _run_on_ray(
        self, function: Callable[[_Task], _Result], tasks: Sequence[_Task]
    ) -> Iterator[tuple[int, _Result]]:
        ray = connect(self.ray_address, "ray_address")
        remote = ray.remote(max_retries=3)(function)
        num = self.num or int(ray.cluster_resources().get("CPU", 1))
        waiting = iter(enumerate(tasks))
        running: dict[Any, int] = {}
        while True:
            # As many as are of use: the driver of a large ingest holds few references.
            for index, task in waiting:
                running[remote.remote(task)] = index
                if len(running) >= num:
                    break
            if not running:
                return
            (done, *_), _ = ray.wait(list(running))
            try:
                yield running.pop(done), ray.get(done)
            except ray.exceptions.RayTaskError as error:
                _cancel(ray, running)
                raise error.cause from None
            except ray.exceptions.RayError as error:
                _cancel(ray, running)
                raise UserError(f"Ray lost a task ({error}): {_AGAIN}") from error


def _run_in_processes(
    function: Callable[[_Task], _Result], tasks: Sequence[_Task], num: int
) -> Iterator[tuple[int, _Result]]:
    # Not forked from here: that would copy the locks of the threads that fsspec and gcsfs run.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__])
    with ProcessPoolExecutor(num, context, initializer=_end_with_parent) as pool:
        futures = {pool.submit(function, task): index for index, task in enumerate(tasks)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise UserError(
                "a process of the ingest was killed, perhaps for want of memory: use a smaller"
                f" num_workers (now {num}) and {_AGAIN}"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _end_with_parent() -> None:
    """Has this worker end when the ingest is killed.

    It would finish its part beside the ingest that is started next, and then wait for ever.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _cancel(ray: Any, running: dict[Any, int]) -> None:
    for reference in running:
        ray.cancel(reference)
